package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// talk is what became of one TCP connection on which numbered lines go to an echo and come back, one at a time.
type talk struct {
	Lines   int     `json:"lines"`    // that came back whole, in order
	PauseMS float64 `json:"pause_ms"` // the longest that a line took
	Broken  string  `json:"broken"`   // why the connection ended early; empty is well
}

// chat sends a line every so often until ctx is done, and waits for each to come back, at most patience.
func chat(ctx context.Context, address string, every, patience time.Duration) (talk, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return talk{}, err
	}
	defer conn.Close()
	var t talk
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

// knocks is what became of new TCP connections, each of its own.
type knocks struct {
	Tried  int `json:"tried"`
	Opened int `json:"opened"`
}

// knock begins a new TCP connection every so often until ctx is done, and gives each up after patience.
func knock(ctx context.Context, address string, every, patience time.Duration) (knocks, error) {
	var k knocks
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
