package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Talk is what became of one TCP connection on which numbered lines go to an echo and come back, one at a time.
type Talk struct {
	Lines   int     `json:"lines"`    // that came back whole, in order
	PauseMS float64 `json:"pause_ms"` // the longest that a line took
	Broken  string  `json:"broken"`   // why the connection ended early; empty is well
}

// Chat sends a line every so often until ctx is done, and waits for each to come back, at most patience.
func Chat(ctx context.Context, address string, every, patience time.Duration) (Talk, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return Talk{}, err
	}
	defer conn.Close()
	var t Talk
	answers := bufio.NewReader(conn)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		begun := time.Now()
		conn.SetDeadline(begun.Add(patience))
		if err := echoed(conn, answers, fmt.Sprintf("line %d\n", i)); err != nil {
			t.Broken = err.Error()
			return t, nil
		}
		t.Lines++
		t.PauseMS = max(t.PauseMS, float64(time.Since(begun))/float64(time.Millisecond))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return t, nil
		}
	}
}

func echoed(w io.Writer, r *bufio.Reader, line string) error {
	if _, err := io.WriteString(w, line); err != nil {
		return err
	}
	got, err := r.ReadString('\n')
	if err == nil && got != line {
		err = fmt.Errorf("sent %q, and %q came back", line, got)
	}
	return err
}

// Knocks is what became of new TCP connections, each of its own.
type Knocks struct {
	Tried  int `json:"tried"`
	Opened int `json:"opened"`
}

// Knock begins a new TCP connection every so often until ctx is done, and gives each up after patience.
func Knock(ctx context.Context, address string, every, patience time.Duration) (Knocks, error) {
	var k Knocks
	opened := make(chan bool, 1024)
	d := net.Dialer{Timeout: patience}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		k.Tried++
		go func() {
			conn, err := d.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			opened <- err == nil
		}()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for range k.Tried {
		if <-opened {
			k.Opened++
		}
	}
	if k.Tried == 0 {
		return k, errors.New("no time to knock")
	}
	return k, nil
}

// Listen opens the socket of a receiver.
func Listen(port int) (*net.UDPConn, error) {
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
