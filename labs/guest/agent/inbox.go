package agent

import (
	"bytes"
	"sync"
)

// inbox holds stdin that has come and that the command has not read yet, so that the frames behind it (a resize, the
// caller's end) are seen all the same. A caller that minds the window never fills it.
type inbox struct {
	mu    sync.Mutex
	some  sync.Cond
	buf   bytes.Buffer
	ended bool
}

func newInbox() *inbox {
	in := &inbox{}
	in.some.L = &in.mu
	return in
}

// put adds bytes; none at all is the end of file.
func (in *inbox) put(p []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.buf.Len()+len(p) > stdinWindow {
		return errTooLong
	}
	in.buf.Write(p)
	in.ended = in.ended || len(p) == 0
	in.some.Signal()
	return nil
}

// close is put's end of file, for a caller that has gone.
func (in *inbox) close() { in.put(nil) }

// take waits for bytes; 0 is the end of file.
func (in *inbox) take(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.buf.Len() == 0 && !in.ended {
		in.some.Wait()
	}
	n, _ := in.buf.Read(p)
	return n
}
