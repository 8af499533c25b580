package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
)

// hostile joins a client to an agent that greets, and then does what the test says with its end of the line.
func hostile(t *testing.T, do func(line io.ReadWriteCloser)) *Client {
	t.Helper()
	return join(t, func(line net.Conn) {
		r, err := greetHost(line)
		if err != nil {
			return
		}
		do(struct {
			io.Reader
			io.WriteCloser
		}{r, line})
	})
}

// TestHostileLine has an agent break the session's rules: the session ends, and says why, so that the line can be taken
// up anew. A session that lived on would be one that no call gets through.
func TestHostileLine(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"takes no more streams":        muxMessage(0, 3, 0, 0, ""),
		"takes no more, with an error": muxMessage(0, 3, 0, 1, ""),
		"pings":                        muxMessage(0, 2, 1, 7, ""),
		"opens a stream":               muxMessage(0, muxWindow, muxSYN, 0, ""),
		"garbage":                      []byte("sluice-ready sluice-ready sluice-ready\n"),
		"a long message":               muxMessage(0, muxData, 0, 1<<31, ""),
	} {
		t.Run(name, func(t *testing.T) {
			c := hostile(t, func(line io.ReadWriteCloser) {
				line.Write(bytes)
				io.Copy(io.Discard, line)
			})
			select {
			case <-c.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("the session lives on")
			}
			if !errors.Is(c.Err(), errForbidden) {
				t.Errorf("it ended with %v, want that the agent broke the protocol", c.Err())
			}
			if _, err := c.Info(t.Context()); err == nil {
				t.Error("a call on it goes well")
			}
		})
	}
}

// TestDataForNobody has an agent send data for streams that were never opened, and windows that grow beyond all bounds:
// the host holds none of it, and calls go on.
func TestDataForNobody(t *testing.T) {
	c := hostile(t, func(line io.ReadWriteCloser) {
		for range 200 {
			for _, m := range [][]byte{muxMessage(0, muxData, 0, 1<<10, string(make([]byte, 1<<10))), muxMessage(0, muxWindow, 0, 1<<31, "")} {
				m[7] = 99 // the stream
				line.Write(m)
			}
		}
		session, err := yamux.Server(line, sessionConfig())
		if err != nil {
			return
		}
		for {
			s, err := session.Accept()
			if err != nil {
				return
			}
			go newGuest(false).serveStream(s)
		}
	})
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := c.Info(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestNobodyAcknowledges has an agent that reads and never answers: the session opens no stream beyond so many that
// nobody has acknowledged, and still each call ends when its caller says so.
func TestNobodyAcknowledges(t *testing.T) {
	c := hostile(t, func(line io.ReadWriteCloser) { io.Copy(io.Discard, line) })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var calls sync.WaitGroup
	for range 200 {
		calls.Go(func() {
			if _, err := c.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want that time is up", err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { calls.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("calls outlive their contexts")
	}
}

// TestHugeAnswers has an agent answer with more, and longer, messages than a call takes.
func TestHugeAnswers(t *testing.T) {
	for name, line := range map[string]string{
		"no end of a line":  string(make([]byte, 64<<10)),
		"no end of answers": `{"body":1}` + "\n",
		"nested":            `{"body":` + string(deep('[', 900<<10)) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := hostile(t, func(conn io.ReadWriteCloser) {
				session, err := yamux.Server(conn, sessionConfig())
				if err != nil {
					return
				}
				s, err := session.Accept()
				for err == nil {
					_, err = io.WriteString(s, line)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := c.Info(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("error %v; want one of the answer, in time", err)
			}
		})
	}
}

func deep(c byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = c
	}
	return b
}

// TestWaitHost holds that a guest without a host waits for one, and does not look again and again. A pseudo-terminal is
// the port: nobody has its other end open at first.
func TestWaitHost(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	open().Close() // from now on it reports POLLHUP
	edges, err := watchEdges(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(edges)
	changes := make([]unix.EpollEvent, 1)
	for i, want := range []int{1, 0, 0} { // how it is at first is a change, and then nothing happens
		if got, err := unix.EpollWait(edges, changes, 0); got != want || err != nil {
			t.Fatalf("look %d: %d changes, %v; want %d", i, got, err, want)
		}
	}
	waited := make(chan error)
	go func() { waited <- (&port{fd, edges}).waitHost() }()
	host := open()
	defer host.Close()
	if _, err := host.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
}

// TestGuardOnNothing: a line that simply ends is nobody's fault.
func TestGuardOnNothing(t *testing.T) {
	host, line := net.Pipe()
	line.Close()
	g := newGuard(bufio.NewReader(host), host)
	if _, err := g.Read(make([]byte, 16)); !errors.Is(err, io.EOF) || errors.Is(g.why(), errForbidden) {
		t.Errorf("%v, %v", err, g.why())
	}
}
