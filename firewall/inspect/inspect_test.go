package inspect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/vnic/frame"
)

func TestEicarInOneSegment(t *testing.T) {
	for _, ends := range [][2]end{{client, server}, {{client6, 40000}, {server6, 80}}} {
		r := newRig(t, "")
		a, b := ends[0], ends[1]
		r.shake(a, b)
		r.expect("request", tcp(a, b, ackFlag, clientISN+1, serverISN+1, []byte("GET / HTTP/1.0\r\n\r\n")), frame.VerdictPass)
		f := tcp(b, a, ackFlag, serverISN+1, clientISN+19, append([]byte("HTTP/1.0 200 OK\r\n\r\n"), virus...))
		r.expect("virus", f, frame.VerdictReset)
		var k frame.Key
		if reason := frame.Parse(f, &k); reason != frame.ReasonNone || k.PayloadLen != 0 || k.SrcPort != 80 || k.Seq != serverISN+1 || f.Len != int(k.Payload) {
			t.Errorf("what is left of it: %v, %+v", reason, k)
		}
		r.expect("more of the flow", tcp(b, a, ackFlag, serverISN+200, clientISN+19, []byte("x")), frame.VerdictReset)
		r.expect("another flow", tcp(end{a.addr, 40001}, b, ackFlag, 1, 1, []byte("POST x")), frame.VerdictPass)
		rep := r.Report()
		if rep.Matches[0] != (Count{"eicar", 1}) || len(rep.Sightings) != 1 ||
			rep.Sightings[0].What != "eicar" || rep.Verdicts["reset"] != 2 {
			t.Errorf("%+v", rep)
		}
	}
}

// TestEicarSplit cuts the string at every offset, and at every pair of offsets, in order.
func TestEicarSplit(t *testing.T) {
	for i := 1; i < len(virus); i++ {
		for j := i; j < len(virus); j++ {
			r := newRig(t, "")
			r.shake(client, server)
			seq := uint32(serverISN + 1)
			verdicts := []frame.Verdict{}
			for _, part := range [][]byte{append([]byte("before"), virus[:i]...), virus[i:j], append(bytes.Clone(virus[j:]), "after"...)} {
				verdicts = append(verdicts, r.judge(tcp(server, client, ackFlag, seq, clientISN+1, part)))
				seq += uint32(len(part))
			}
			if verdicts[0] != frame.VerdictPass || verdicts[1] != frame.VerdictPass || verdicts[2] != frame.VerdictReset {
				t.Fatalf("cut at %d and %d: %v", i, j, verdicts)
			}
		}
	}
}

func TestWords(t *testing.T) {
	const file = `
signatures:
  - {name: d, text: dropme, action: drop}
  - {name: r, text: resetme, action: reset}
  - {name: q, hex: '71 75 61 72 61 6e 74 69 6e 65', action: quarantine}
  - {name: x, regex: 'user=[a-z]{1,8}&', action: drop}
  - {name: web, text: webonly, protocol: tcp, port: [80, 8000-8010]}
  - {name: dns, text: dnsonly, protocol: udp, port: 53, action: drop}
`
	r := newRig(t, file)
	dns, other, web := end{serverAddr, 53}, end{serverAddr, 9}, end{serverAddr, 8005}
	for _, c := range []struct {
		what string
		f    *frame.Frame
		want frame.Verdict
	}{
		{"drop", udp(client, other, []byte("a dropme b")), frame.VerdictDrop},
		{"the flow goes on", udp(client, other, []byte("fine")), frame.VerdictPass},
		{"regex", udp(client, other, []byte("?user=bob&x")), frame.VerdictDrop},
		{"regex that does not match", udp(client, other, []byte("?user=bobbobbobbob&x")), frame.VerdictPass},
		{"dns to another port", udp(client, other, []byte("dnsonly")), frame.VerdictPass},
		{"dns", udp(client, dns, []byte("dnsonly")), frame.VerdictDrop},
		{"dns answer", udp(dns, client, []byte("dnsonly")), frame.VerdictDrop},
		{"dns over TCP", tcp(client, dns, ackFlag, 1, 1, []byte("dnsonly")), frame.VerdictPass},
		{"web by UDP", udp(client, web, []byte("webonly")), frame.VerdictPass},
		{"web", tcp(client, web, ackFlag, 1, 1, []byte("webonly")), frame.VerdictReset},
		{"quarantine", udp(end{clientAddr, 1}, other, []byte("a quarantine")), frame.VerdictQuarantine},
		{"after it", udp(end{clientAddr, 1}, other, []byte("fine")), frame.VerdictQuarantine},
		{"the other way", udp(other, end{clientAddr, 1}, []byte("fine")), frame.VerdictQuarantine},
		{"reset by UDP", udp(end{clientAddr, 2}, other, []byte("resetme")), frame.VerdictReset},
		{"ICMP", ip(clientAddr, serverAddr, frame.ProtoICMP, append(make([]byte, 8), "resetme"...)), frame.VerdictReset},
		{"another protocol", ip(clientAddr, serverAddr, 47, []byte("dropme")), frame.VerdictDrop},
		{"no IP", frame.From(append([]byte{2, 1, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0x88, 0xb5}, "dropme"...)), frame.VerdictDrop},
		{"no IP, nothing in it", frame.From(append([]byte{2, 1, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0x88, 0xb5}, "fine"...)), frame.VerdictPass},
	} {
		r.expect(c.what, c.f, c.want)
	}
}

// TestRegexAcrossSegments cuts what a regular expression matches at every offset, in order and out of order.
func TestRegexAcrossSegments(t *testing.T) {
	const file = "signatures: [{name: x, regex: 'user=[a-z]{1,800}&', action: drop}]"
	text := []byte("...user=" + strings.Repeat("bob", 200) + "&...")
	for cut := 9; cut < len(text)-3; cut++ {
		for _, swap := range []bool{false, true} {
			r := newRig(t, file)
			r.shake(client, server)
			one := tcp(client, server, ackFlag, clientISN+1, serverISN+1, text[:cut])
			two := tcp(client, server, ackFlag, clientISN+1+uint32(cut), serverISN+1, text[cut:])
			if swap {
				one, two = two, one
			}
			r.expect("the first", one, frame.VerdictPass)
			if !swap {
				r.expect("ACK", tcp(server, client, ackFlag, serverISN+1, clientISN+1+uint32(cut), nil), frame.VerdictPass)
			}
			r.expect("the second", two, frame.VerdictDrop)
		}
	}
}

func TestBypassAfter(t *testing.T) {
	r := newRig(t, "")
	r.config.BypassAfter = 100
	r.shake(client, server)
	b := []byte("GET " + strings.Repeat("x", 46))
	r.expect("50 bytes", tcp(client, server, ackFlag, clientISN+1, serverISN+1, b), frame.VerdictPass)
	r.expect("100 bytes", tcp(client, server, ackFlag, clientISN+51, serverISN+1, b), frame.VerdictClean)
	r.expect("a virus after that", tcp(server, client, ackFlag, serverISN+1, clientISN+101, virus), frame.VerdictClean)
	if m := r.Report().Memory; m != 0 {
		t.Errorf("%d bytes are remembered of a clean flow", m)
	}
	r.expect("the same ends anew", tcp(client, server, frame.TCPSyn, 1<<30, 0, nil), frame.VerdictPass)
	r.expect("its answer", tcp(server, client, frame.TCPSyn|ackFlag, 1<<30, 1<<30+1, nil), frame.VerdictPass)
	r.expect("a virus in that", tcp(server, client, ackFlag, 1<<30+1, 1<<30+1, virus), frame.VerdictReset)
}

// TestAfterReset lets the same two ends have another conversation, and no more of the first.
func TestAfterReset(t *testing.T) {
	r := newRig(t, "")
	r.shake(client, server)
	half := len(virus) / 2
	first := uint32(serverISN + 1)
	r.expect("half", tcp(server, client, ackFlag, first, clientISN+1, virus[:half]), frame.VerdictPass)
	r.expect("ACK", tcp(client, server, ackFlag, clientISN+1, first+uint32(half), nil), frame.VerdictPass)
	rest := func() *frame.Frame {
		return tcp(server, client, ackFlag, first+uint32(half), clientISN+1, virus[half:])
	}
	r.expect("rest", rest(), frame.VerdictReset)
	r.expect("rest again", rest(), frame.VerdictReset)
	r.expect("the client's", tcp(client, server, ackFlag, clientISN+1, first+uint32(half), []byte("x")), frame.VerdictReset)
	r.expect("SYN", tcp(client, server, frame.TCPSyn, 1<<28, 0, nil), frame.VerdictPass)
	r.expect("rest after SYN", rest(), frame.VerdictReset)
	r.expect("SYN-ACK", tcp(server, client, frame.TCPSyn|ackFlag, 1<<29, 1<<28+1, nil), frame.VerdictPass)
	r.expect("rest after SYN-ACK", rest(), frame.VerdictReset)
	r.expect("ACK of the new one", tcp(client, server, ackFlag, 1<<28+1, 1<<29+1, nil), frame.VerdictPass)
	r.expect("rest after that", rest(), frame.VerdictDrop) // out of the new window
	r.expect("new bytes", tcp(server, client, ackFlag, 1<<29+1, 1<<28+1, []byte("fine")), frame.VerdictPass)
	r.expect("a virus again", tcp(server, client, ackFlag, 1<<29+5, 1<<28+1, virus), frame.VerdictReset)
}

func TestAnomalies(t *testing.T) {
	seq := uint32(clientISN + 1)
	seg := func(flags uint8, seq uint32, s string) *frame.Frame {
		return tcp(client, server, flags, seq, serverISN+1, []byte(s))
	}
	cut := seg(ackFlag, seq, "GET /")
	cut.Len -= 2
	later := seg(ackFlag, seq, "GET /")
	later.Eth()[frame.MinLen+7] = 100
	frame.SetIPv4Checksum(later.Eth()[frame.MinLen:])
	for _, c := range []struct {
		name string
		f    *frame.Frame
		want frame.Verdict
	}{
		{"malformed", cut, frame.VerdictDrop},
		{"fragment", later, frame.VerdictDrop},
		{"flags", seg(frame.TCPFin, seq, ""), frame.VerdictDrop},
		{"flags", seg(0, seq, "GET /"), frame.VerdictDrop},
		{"syn-data", tcp(client, server, frame.TCPSyn, 1<<30, 0, []byte("x")), frame.VerdictDrop},
		{"urgent", seg(ackFlag|frame.TCPUrg, seq, "GET /"), frame.VerdictDrop},
		{"out-of-window", seg(ackFlag, seq+maxWindow, "x"), frame.VerdictDrop},
		{"out-of-window", seg(ackFlag, seq-maxWindow-1, "x"), frame.VerdictDrop},
		{"not-http", seg(ackFlag, seq, "get /"), frame.VerdictPass},
		{"not-http", seg(ackFlag, seq, " GET"), frame.VerdictPass},
	} {
		r := newRig(t, "")
		r.shake(client, server)
		r.expect(c.name, c.f, c.want)
		if r.anomaly(c.name) != 1 {
			t.Errorf("%s: %+v", c.name, r.Report().Anomalies)
		}
	}
	r := newRig(t, "anomalies: {not-http: quarantine, after-fin: pass}")
	r.shake(client, server)
	r.expect("HTTP", seg(ackFlag, seq, "GET /"), frame.VerdictPass)
	r.expect("the same again", seg(ackFlag, seq, "GET /"), frame.VerdictPass)
	r.expect("FIN", seg(ackFlag|frame.TCPFin, seq+5, ""), frame.VerdictPass)
	r.expect("after FIN", seg(ackFlag, seq+5, "x"), frame.VerdictPass)
	if r.anomaly("after-fin") != 1 || r.anomaly("not-http") != 0 {
		t.Errorf("%+v", r.Report().Anomalies)
	}
	r.expect("other bytes", seg(ackFlag, seq, "PUT /"), frame.VerdictReset)
	if r.anomaly("retransmission") != 1 {
		t.Errorf("%+v", r.Report().Anomalies)
	}
	r = newRig(t, "anomalies: {not-http: quarantine}")
	r.shake(client, server)
	r.expect("not HTTP", seg(ackFlag, seq, "SSH-2"), frame.VerdictQuarantine)
	r.expect("after it", seg(ackFlag, seq, "GET /"), frame.VerdictQuarantine)
}

// TestWindowBelievesTheReceiver: an acknowledgement is what moves the window, and a SYN or RST does not.
func TestWindowBelievesTheReceiver(t *testing.T) {
	half := len(virus) / 2
	first := uint32(serverISN + 1)
	rest := first + uint32(half)
	for _, c := range []struct {
		name    string
		between *frame.Frame
	}{
		{"RST", tcp(server, client, frame.TCPRst, first, 0, nil)},
		{"RST with ACK", tcp(server, client, frame.TCPRst|ackFlag, rest, clientISN+1, nil)},
		{"SYN-ACK", tcp(server, client, frame.TCPSyn|ackFlag, rest-1, clientISN+1, nil)},
		{"SYN-ACK from afar", tcp(server, client, frame.TCPSyn|ackFlag, rest+1<<30, clientISN+1, nil)},
		{"SYN", tcp(server, client, frame.TCPSyn, rest-1, 0, nil)},
		{"an ACK of nothing", tcp(server, client, ackFlag, rest, clientISN+1<<30, nil)},
		{"FIN", tcp(server, client, frame.TCPFin|ackFlag, rest, clientISN+1, nil)},
		{"an hour, almost", nil},
	} {
		for _, acked := range []bool{false, true} {
			r := newRig(t, "anomalies: {after-fin: pass}")
			r.shake(client, server)
			r.expect("half", tcp(server, client, ackFlag, first, clientISN+1, virus[:half]), frame.VerdictPass)
			if acked {
				r.expect("ACK", tcp(client, server, ackFlag, clientISN+1, rest, nil), frame.VerdictPass)
			}
			if c.between != nil {
				f := &frame.Frame{}
				f.CopyFrom(c.between)
				r.judge(f)
			} else {
				r.now = r.now.Add(longTime * time.Second)
				r.table.tick(longTime)
			}
			got := r.judge(tcp(server, client, ackFlag, rest, clientISN+1, virus[half:]))
			if got != frame.VerdictReset && got != frame.VerdictDrop {
				t.Errorf("%s, acknowledged %v: the rest: %s", c.name, acked, verdictName(got))
			}
		}
	}
}

// TestSynOnceMore: an honest end's SYN that comes late wipes nothing that it may have got since.
func TestSynOnceMore(t *testing.T) {
	half := len(virus) / 2
	const synAck = frame.TCPSyn | ackFlag
	one, two := virus[:half], virus[half:]
	down := func(seq uint32, b []byte) *frame.Frame { return tcp(server, client, ackFlag, seq, clientISN+1, b) }
	up := func(seq uint32, b []byte) *frame.Frame { return tcp(client, server, ackFlag, seq, serverISN+1, b) }
	syn := func() *frame.Frame { return tcp(client, server, frame.TCPSyn, clientISN, 0, nil) }
	answer := func(isn uint32) *frame.Frame { return tcp(server, client, synAck, isn, clientISN+1, nil) }
	for _, c := range []struct {
		name   string
		before []*frame.Frame
		rest   *frame.Frame
	}{
		{"the client's SYN, sent before it had the answer", []*frame.Frame{syn(), answer(serverISN), down(serverISN+1, one), syn(), up(clientISN+1, nil)},
			down(serverISN+1+uint32(half), two)},
		{"the server's answer", []*frame.Frame{syn(), answer(serverISN), up(clientISN+1, one), answer(serverISN)}, up(clientISN+1+uint32(half), two)},
		{"the server's answer, that it counts on a cookie", []*frame.Frame{syn(), answer(serverISN), syn(), up(clientISN+1, one), answer(serverISN + 77)},
			up(clientISN+1+uint32(half), two)},
	} {
		r := newRig(t, "")
		for n, f := range c.before {
			r.expect(fmt.Sprintf("%s: frame %d", c.name, n), f, frame.VerdictPass)
		}
		r.expect(c.name, c.rest, frame.VerdictReset)
	}
}

// TestRstThenMore: a receiver that had said that it takes no more, and then is sent bytes that pass, is remembered for
// long.
func TestRstThenMore(t *testing.T) {
	r := newRig(t, "")
	r.shake(client, server)
	seq := uint32(serverISN + 1)
	r.expect("x", tcp(server, client, ackFlag, seq, clientISN+1, []byte("x")), frame.VerdictPass)
	r.expect("RST", tcp(client, server, frame.TCPRst, clientISN+1, 0, nil), frame.VerdictPass)
	r.expect("half", tcp(server, client, ackFlag, seq+1, clientISN+1, virus[:30]), frame.VerdictPass)
	r.now = r.now.Add(longTime * time.Second)
	r.table.tick(longTime)
	r.expect("rest", tcp(server, client, ackFlag, seq+31, clientISN+1, virus[30:]), frame.VerdictReset)
}

// TestPickUp begins to look at a conversation that runs.
func TestPickUp(t *testing.T) {
	r := newRig(t, "")
	seg := func(seq uint32, b []byte) *frame.Frame { return tcp(server, client, ackFlag, seq, 1, b) }
	r.expect("the first that is seen", seg(2000, []byte("bbbb")), frame.VerdictPass)
	r.expect("what was sent before", seg(1996, []byte("aaaa")), frame.VerdictPass)
	r.expect("half", seg(1900, virus[:30]), frame.VerdictPass)
	r.expect("ACK of what was not seen", tcp(client, server, ackFlag, 1, 1850, nil), frame.VerdictPass)
	r.expect("the other half", seg(1930, virus[30:]), frame.VerdictReset)

	r = newRig(t, "")
	r.expect("one", seg(2000, []byte("bbbb")), frame.VerdictPass)
	r.expect("ACK beyond it", tcp(client, server, ackFlag, 1, 1<<20, nil), frame.VerdictPass)
	r.expect("where the receiver is", seg(1<<20, []byte("cccc")), frame.VerdictPass)
	r.expect("acknowledged long ago", seg(1<<20-2000, []byte("dddd")), frame.VerdictPass)
}

// TestLongIsland has half a string at the end of bytes that came before their time, more than the longest string.
func TestLongIsland(t *testing.T) {
	r := newRig(t, "")
	r.shake(client, server)
	seq := uint32(serverISN + 1)
	island := append(bytes.Repeat([]byte("x"), 200), virus[:30]...)
	r.expect("island", tcp(server, client, ackFlag, seq+10, 1, island), frame.VerdictPass)
	r.expect("what lies before it", tcp(server, client, ackFlag, seq, 1, []byte("0123456789")), frame.VerdictPass)
	r.expect("the rest", tcp(server, client, ackFlag, seq+10+230, 1, virus[30:]), frame.VerdictReset)
}
