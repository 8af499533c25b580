package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"sluice/firewall/fault"
)

// join runs a command over a connection of its own and gives what the client sees.
func join(t *testing.T, ctx context.Context, s Streams, run runFunc) (int, error) {
	t.Helper()
	client, server := connPair(t)
	done := make(chan error, 1)
	go func() { done <- serveSession(t.Context(), server, run) }()
	code, err := joinSession(ctx, client, s)
	client.Close()
	if serr := <-done; serr != nil && err == nil {
		t.Errorf("the server's side: %v", serr)
	}
	return code, err
}

func TestSessionKeepsEveryByte(t *testing.T) {
	in := make([]byte, 3<<20) // more than the windows and buffers on the way
	rand.New(rand.NewSource(1)).Read(in)
	var out, errOut bytes.Buffer
	code, err := join(t, t.Context(), Streams{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errOut},
		func(_ context.Context, s Streams) (int, error) {
			_, err := io.Copy(s.Stdout, io.TeeReader(s.Stdin, s.Stderr))
			return 7, err
		})
	if code != 7 || err != nil {
		t.Fatalf("got %d, %v; want 7", code, err)
	}
	if !bytes.Equal(out.Bytes(), in) || !bytes.Equal(errOut.Bytes(), in) {
		t.Fatalf("%d bytes in, %d to stdout and %d to stderr, or not the same ones", len(in), out.Len(), errOut.Len())
	}
}

func TestSessionWithSlowReader(t *testing.T) {
	want := strings.Repeat("0123456789abcdef", 64<<10)
	var got bytes.Buffer
	slow := writerFunc(func(p []byte) (int, error) { // a byte at a time, so that the window fills
		for _, b := range p {
			got.WriteByte(b)
		}
		return len(p), nil
	})
	code, err := join(t, t.Context(), Streams{Stdin: iotest.ErrReader(io.EOF), Stdout: slow, Stderr: io.Discard},
		func(_ context.Context, s Streams) (int, error) {
			_, err := io.WriteString(s.Stdout, want)
			return 0, err
		})
	if code != 0 || err != nil || got.String() != want {
		t.Fatalf("got %d, %v and %d of %d bytes", code, err, got.Len(), len(want))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestSessionCommandThatReadsNothing: a command that ignores its input must not hold up signals or its end.
func TestSessionCommandThatReadsNothing(t *testing.T) {
	signals := make(chan string, 1)
	signals <- "INT"
	endless := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	code, err := join(t, t.Context(), Streams{Stdin: endless, Stdout: io.Discard, Stderr: io.Discard, Signals: signals},
		func(ctx context.Context, s Streams) (int, error) {
			if sig := <-s.Signals; sig != "INT" {
				return 0, fmt.Errorf("got signal %q", sig)
			}
			return 130, nil
		})
	if code != 130 || err != nil {
		t.Fatalf("got %d, %v; want 130", code, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSessionResizes(t *testing.T) {
	sizes := make(chan WindowSize, 2)
	sizes <- WindowSize{24, 80}
	sizes <- WindowSize{50, 132}
	code, err := join(t, t.Context(), Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Resizes: sizes},
		func(ctx context.Context, s Streams) (int, error) {
			first, second := <-s.Resizes, <-s.Resizes
			if (first != WindowSize{24, 80} || second != WindowSize{50, 132}) {
				return 0, fmt.Errorf("got %v and %v", first, second)
			}
			return 0, nil
		})
	if code != 0 || err != nil {
		t.Fatal(code, err)
	}
}

func TestSessionSaysWhyThereIsNoExitCode(t *testing.T) {
	_, err := join(t, t.Context(), Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard},
		func(context.Context, Streams) (int, error) {
			return 0, fault.Errorf(fault.Lacks, "the guest has no agent")
		})
	if fault.ClassOf(err) != fault.Lacks || err == nil || err.Error() != "the guest has no agent" {
		t.Fatalf("got %v of class %d", err, fault.ClassOf(err))
	}
}

// TestSessionEndsTheCommandOfAClientThatLeaves also when the client leaves on purpose.
func TestSessionEndsTheCommandOfAClientThatLeaves(t *testing.T) {
	left := errors.New("left")
	ctx, leave := context.WithCancelCause(t.Context())
	killed := make(chan struct{})
	_, err := join(t, ctx, Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard},
		func(ctx context.Context, s Streams) (int, error) {
			leave(left)
			<-ctx.Done()
			close(killed)
			return 0, ctx.Err()
		})
	if !errors.Is(err, left) {
		t.Fatalf("got %v; want why the client left", err)
	}
	<-killed
}

func TestSessionWhenTheLabEnds(t *testing.T) {
	client, server := connPair(t)
	ctx, end := context.WithCancel(t.Context())
	go func() {
		serveSession(ctx, server, func(ctx context.Context, s Streams) (int, error) {
			end()
			<-ctx.Done()
			server.Close()
			return 0, ctx.Err()
		})
	}()
	_, err := joinSession(t.Context(), client, Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if !errors.Is(err, errSessionCut) {
		t.Fatalf("got %v; want %v", err, errSessionCut)
	}
}

// TestSessionRefusesWhatIsNoInput: whatever a client says on the control stream beside signals and sizes ends its say.
func TestSessionRefusesWhatIsNoInput(t *testing.T) {
	for _, line := range []string{
		`{"signal":"KILL"}`, `{"signal":9}`, `{}`, `[]`, `garbage`, `{"resize":{"rows":-1,"cols":1}}`, `{"signal":"INT"` + strings.Repeat(" ", maxControlLine) + `}`,
	} {
		signals, resizes := make(chan string, 2), make(chan WindowSize, 2)
		readInputs(t.Context(), strings.NewReader(line+"\n"+`{"signal":"INT"}`+"\n"), signals, resizes)
		if len(signals)+len(resizes) > 0 {
			t.Errorf("%.40q was taken, or what came after it", line)
		}
	}
}

// FuzzSession plays a client that sends anything: the session must end, and the command with it.
func FuzzSession(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	var opened []byte // the four streams of a session: yamux window updates that begin one each
	for id := byte(1); id <= 7; id += 2 {
		opened = append(opened, 0, 1, 0, 1, 0, 0, 0, id, 0, 0, 0, 0)
	}
	f.Add(opened)
	f.Add(append(opened, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 'h', 'i')) // the last frame on stdin
	f.Fuzz(func(t *testing.T, sent []byte) {
		client, server := connPair(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			serveSession(t.Context(), server, func(ctx context.Context, s Streams) (int, error) {
				io.Copy(s.Stdout, s.Stdin)
				return 0, nil
			})
		})
		go io.Copy(io.Discard, client)
		client.Write(sent)
		client.Close()
		wg.Wait()
	})
}

// FuzzSessionInput plays a client that has a session and says anything on its control stream.
func FuzzSessionInput(f *testing.F) {
	f.Add([]byte(`{"signal":"INT"}` + "\n"))
	f.Add([]byte(`{"resize":{"rows":24,"cols":80}}` + "\n" + `{"signal":"KILL"}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		signals, resizes := make(chan string, len(said)), make(chan WindowSize, len(said))
		readInputs(t.Context(), bytes.NewReader(said), signals, resizes)
		close(signals)
		for s := range signals {
			if !sessionSignals[s] {
				t.Errorf("signal %q got through", s)
			}
		}
	})
}
