package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Before a session the two halves agree on where it begins, because the line between them outlives both: what an
// earlier client left in it must not be taken for part of this one.
//
//	host:  "\nsluice-hello VERSION NONCE\n"   again and again until it is answered
//	guest: "\nsluice-ready VERSION NONCE\n"   once for a nonce
//	host:  "\nsluice-go VERSION NONCE\n"      and then the session, in both directions
//
// Each begins with a newline, to end whatever half a line lies before it.
const (
	wordHello = "sluice-hello"
	wordReady = "sluice-ready"
	wordGo    = "sluice-go"
)

const (
	helloEvery = 50 * time.Millisecond // a guest that is still booting hears only a later one
	maxStale   = 4 << 20               // bytes skipped in search of an answer: more than the queues between the halves hold
	maxLine    = 256                   // bytes of a line that is looked at
)

var errNoHello = errors.New("no agent answered")

func greeting(word, nonce string) string {
	return fmt.Sprintf("\n%s %d %s\n", word, Version, nonce)
}

// parseGreeting takes a line apart; ok is false for anything that is not exactly a greeting.
func parseGreeting(line []byte) (word string, version int, nonce string, ok bool) {
	if !bytes.HasPrefix(line, []byte("sluice-")) || len(line) > maxLine {
		return "", 0, "", false
	}
	n, err := fmt.Sscanf(string(line), "%s %d %s\n", &word, &version, &nonce)
	if err != nil || n != 3 || "\n"+string(line) != fmt.Sprintf("\n%s %d %s\n", word, version, nonce) {
		return "", 0, "", false
	}
	return word, version, nonce, true
}

// greetings reads lines until accept says stop, skipping at most limit bytes of anything else.
func greetings(r *bufio.Reader, limit int, accept func(word string, version int, nonce string) (stop bool, err error)) error {
	for seen := 0; seen <= limit; {
		line, err := r.ReadSlice('\n')
		seen += len(line)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return err
		}
		word, version, nonce, ok := parseGreeting(line)
		if !ok {
			continue
		}
		if stop, err := accept(word, version, nonce); stop || err != nil {
			return err
		}
	}
	return errNoHello
}

// greetGuest is the host's part. The reader it returns holds what came after the answer.
func greetGuest(ctx context.Context, conn net.Conn) (*bufio.Reader, error) {
	nonce := strings.ToLower(rand.Text())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	helloed := make(chan error, 1)
	answered := make(chan struct{})
	go func() { helloed <- sayHello(ctx, conn, nonce, answered) }()

	r := bufio.NewReaderSize(conn, 64<<10)
	err := greetings(r, maxStale, func(word string, version int, n string) (bool, error) {
		if word != wordReady || n != nonce {
			return false, nil
		}
		if version != Version {
			return false, fmt.Errorf("the agent speaks version %d, this program %d", version, Version)
		}
		return true, nil
	})
	close(answered)
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errNoHello, context.Cause(ctx))
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if err := <-helloed; err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, greeting(wordGo, nonce)); err != nil {
		return nil, err
	}
	return r, nil
}

// sayHello repeats itself until answered, so that no hello comes after the session's first byte.
func sayHello(ctx context.Context, conn net.Conn, nonce string, answered <-chan struct{}) error {
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(conn, greeting(wordHello, nonce)); err != nil {
			return err
		}
		select {
		case <-answered:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// greetHost is the guest's part: it waits for a host as long as it takes.
func greetHost(line io.ReadWriter) (*bufio.Reader, error) {
	r := bufio.NewReaderSize(line, 64<<10)
	last := ""
	for {
		err := greetings(r, maxStale, func(word string, _ int, nonce string) (bool, error) {
			switch {
			case word == wordGo && nonce == last:
				return true, nil
			case word == wordHello && nonce != last:
				last = nonce
				_, err := io.WriteString(line, greeting(wordReady, nonce))
				return false, err
			}
			return false, nil
		})
		if !errors.Is(err, errNoHello) {
			return r, err
		}
	}
}
