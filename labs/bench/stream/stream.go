// Package stream sends numbered datagrams, lines and knocks between guests and says what became of them. It runs inside
// guests, as a hidden command of the one binary, for whoever measures from outside: the demo, the tests, the labs. It
// knows nothing of the switch.
package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a receiver says of a stream of numbered datagrams.
type Result struct {
	Sent       int     `json:"sent"` // as the sender says at the end
	Received   int     `json:"received"`
	Lost       int     `json:"lost"`
	Duplicated int     `json:"duplicated"`
	Reordered  int     `json:"reordered"` // arrived after one with a higher number
	GapMS      float64 `json:"gap_ms"`    // the longest pause between two arrivals
}

// A datagram is a magic number, its own number from 0, and how many there are in all; the last two are 4 bytes,
// big-endian. One whose number is the count says that the stream is over; it is sent several times, and not counted.
const (
	magic    = 0x51ce0001
	length   = 64
	farewell = 5
	maxCount = 1 << 24
)

// send sends count datagrams to address at a steady rate a second. It does not notice what becomes of them.
func send(address string, rate, count int) error {
	if rate < 1 || count < 1 || count > maxCount {
		return fmt.Errorf("send %d datagrams at %d a second: give 1 to %d, at 1 or more", count, rate, maxCount)
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	begun, every := time.Now(), time.Second/time.Duration(rate)
	var b [length]byte
	binary.BigEndian.PutUint32(b[:], magic)
	binary.BigEndian.PutUint32(b[8:], uint32(count))
	for i := range count + farewell {
		// Against the clock, not from one to the next: a late one does not make the rest late.
		time.Sleep(time.Until(begun.Add(time.Duration(i) * every)))
		binary.BigEndian.PutUint32(b[4:], uint32(min(i, count)))
		if _, err := conn.Write(b[:]); err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// refused is what an ICMP error for an earlier datagram says: a fact about the way, not about this socket.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES)
}

// listen opens the socket of a receiver.
func listen(port int) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return nil, err
	}
	if err := growBuffer(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// growBuffer makes room for what arrives in a burst after a pause: what is lost here would be charged to the switch.
// Only root may go beyond the system's limit (SO_RCVBUFFORCE, socket(7)); guests' commands run as root.
func growBuffer(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	const bytes = 8 << 20
	return raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
			_ = conn.SetReadBuffer(bytes)
		}
	})
}

// receive counts one stream, from its first datagram until its farewell or until nothing has come for idle. It waits
// for the first one for as long as wait.
func receive(conn *net.UDPConn, wait, idle time.Duration) (Result, error) {
	var c count
	b := make([]byte, 2048)
	conn.SetReadDeadline(time.Now().Add(wait))
	for {
		n, err := conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if c.total == 0 {
				return Result{}, fmt.Errorf("no datagram came within %v", wait)
			}
			return c.result(), nil
		}
		if err != nil {
			return Result{}, err
		}
		if n != length || binary.BigEndian.Uint32(b) != magic {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(idle))
		if c.add(int(binary.BigEndian.Uint32(b[4:])), int(binary.BigEndian.Uint32(b[8:])), time.Now()) {
			return c.result(), nil
		}
	}
}

// count is what has come of one stream.
type count struct {
	total   int
	seen    []bool
	highest int
	last    time.Time
	r       Result
}

// add takes the datagram number i of total; it says whether the stream is over.
func (c *count) add(i, total int, now time.Time) (over bool) {
	if total < 1 || total > maxCount || i < 0 || i > total || c.total != 0 && total != c.total {
		return false
	}
	if c.total == 0 {
		c.total, c.seen, c.highest = total, make([]bool, total), -1
	}
	if i == total {
		return true
	}
	if !c.last.IsZero() {
		c.r.GapMS = max(c.r.GapMS, float64(now.Sub(c.last))/float64(time.Millisecond))
	}
	c.last = now
	switch {
	case c.seen[i]:
		c.r.Duplicated++
		return false
	case i < c.highest:
		c.r.Reordered++
	}
	c.seen[i], c.highest = true, max(c.highest, i)
	c.r.Received++
	return false
}

func (c *count) result() Result {
	c.r.Sent, c.r.Lost = c.total, c.total-c.r.Received
	return c.r
}
