package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// guard stands between a guest's bytes and the session on the host: it lets through only what a peer that answers
// needs. A guest may not open streams (the host would have to hold them), ping (each ping costs the host a goroutine
// until it is answered) or say that it takes no more streams: the session would live on, and no call would ever get
// through. What is forbidden ends the session, and the line is taken up anew.
type guard struct {
	r    io.Reader
	conn io.WriteCloser
	head []byte // of the message on its way to the session, not yet read by it
	body uint32 // bytes of its payload still to come

	mu     sync.Mutex
	broken error // why the session gets no more
}

// The header of yamux: version 0, type, flags (2 bytes), stream (4), length (4), all big-endian.
const (
	muxVersion  = 0
	muxHeader   = 12
	muxData     = 0
	muxWindow   = 1
	muxSYN      = 1
	maxMuxFrame = 1 << 20 // bytes; no window is larger
)

var errForbidden = errors.New("the agent broke the protocol")

func newGuard(r io.Reader, conn io.WriteCloser) *guard {
	return &guard{r: r, conn: conn}
}

func (g *guard) Read(p []byte) (int, error) {
	if len(g.head) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			g.note(err)
			return 0, err
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	if uint64(len(p)) > uint64(g.body) {
		p = p[:g.body]
	}
	n, err := g.r.Read(p)
	g.body -= uint32(n)
	if err != nil {
		g.note(err)
	}
	return n, err
}

// note keeps the first reason: the session says only that it has ended.
func (g *guard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil {
		g.broken = err
	}
}

// why is the reason for the session's end, as far as the guest gave one.
func (g *guard) why() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken
}

// next reads one header and judges it.
func (g *guard) next() error {
	h := make([]byte, muxHeader)
	if _, err := io.ReadFull(g.r, h); err != nil {
		return err
	}
	kind, flags, length := h[1], binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint32(h[8:])
	switch {
	case h[0] != muxVersion:
		return fmt.Errorf("message of version %d: %w", h[0], errForbidden)
	case kind != muxData && kind != muxWindow:
		return fmt.Errorf("message of type %d: %w", kind, errForbidden)
	case flags&muxSYN != 0:
		return fmt.Errorf("opens a stream: %w", errForbidden)
	case kind == muxData && length > maxMuxFrame:
		return fmt.Errorf("message of %d bytes: %w", length, errForbidden)
	}
	if g.head = h; kind == muxData {
		g.body = length
	}
	return nil
}

func (g *guard) Write(p []byte) (int, error) { return g.conn.Write(p) }
func (g *guard) Close() error                { return g.conn.Close() }
