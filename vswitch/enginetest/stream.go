package enginetest

import (
	"encoding/binary"
	"sync"
	"time"

	"sluice/vnic/frame"
)

// stream sends numbered UDP frames that the policy allows, TCP segments of an established connection, and frames that
// the policy denies, until it is stopped.
type stream struct {
	r       *rig
	numbers uint32 // sent
	segment uint32 // TCP bytes sent
	stop    chan struct{}
	stopped sync.WaitGroup
}

const (
	deniedPort  = 23
	segmentSize = 100
)

func (r *rig) startStream() *stream {
	r.t.Helper()
	s := &stream{r: r, stop: make(chan struct{})}
	hello := packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPSyn, seq: 0}
	r.client.send(r.client.to(r.server, false, hello).build())
	r.server.next("SYN", isProto(frame.ProtoTCP, 80))
	answer := packet{proto: frame.ProtoTCP, sport: 80, dport: 4000, flags: frame.TCPSyn | frame.TCPAck, ack: 1}
	r.server.send(r.server.to(r.client, false, answer).build())
	r.client.next("SYN ACK", isProto(frame.ProtoTCP, 4000))
	s.segment = 1
	s.stopped.Go(s.run)
	return s
}

func (s *stream) run() {
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.burst()
	}
}

func (s *stream) burst() {
	c, v := s.r.client, s.r.server
	number := binary.BigEndian.AppendUint32(nil, s.numbers)
	c.send(c.to(v, s.numbers%2 == 1, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201, payload: number}).build())
	c.send(c.to(v, false, packet{
		proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPAck, seq: s.segment, ack: 1, payload: make([]byte, segmentSize),
	}).build())
	denied := packet{proto: frame.ProtoTCP, sport: uint16(s.numbers)%1000 + 5000, dport: deniedPort, flags: frame.TCPSyn}
	c.send(c.to(v, false, denied).build())
	c.send(c.to(v, true, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build())
	s.numbers++
	s.segment += segmentSize
}

// outcome is what arrived of a stream.
type outcome struct {
	numbersLost, segmentsLost, denied int
}

// end stops the stream, waits for its last frame, and says what arrived.
func (s *stream) end() (o outcome) {
	close(s.stop)
	s.stopped.Wait()
	c, v := s.r.client, s.r.server
	c.send(c.to(v, false, packet{proto: frame.ProtoUDP, sport: 8, dport: 5201, payload: []byte("end")}).build())
	numbers, segments := map[uint32]bool{}, map[uint32]bool{}
	for last := false; !last; {
		f, k := v.next("end", func(*frame.Key) bool { return true })
		switch {
		case k.DstPort == deniedPort:
			o.denied++
		case k.Proto == frame.ProtoTCP && k.PayloadLen > 0:
			segments[k.Seq] = true
		case k.SrcPort == 7:
			numbers[binary.BigEndian.Uint32(f.Eth()[k.Payload:])] = true
		}
		last = k.SrcPort == 8
	}
	o.numbersLost = int(s.numbers) - len(numbers)
	o.segmentsLost = int((s.segment-1)/segmentSize) - len(segments)
	return o
}
