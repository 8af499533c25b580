package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"sluice/vswitch/control"
)

// terminal is the user's terminal while a guest has it: every key goes to the guest, Ctrl-C too.
type terminal struct {
	fd  int
	old *term.State
}

func takeTerminal(f *os.File) (*terminal, error) {
	fd := int(f.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return &terminal{fd: fd, old: old}, nil
}

func (t *terminal) giveBack() { term.Restore(t.fd, t.old) }

// size is zero where the terminal does not know it.
func (t *terminal) size() control.WindowSize {
	cols, rows, err := term.GetSize(t.fd)
	if err != nil {
		return control.WindowSize{}
	}
	return control.WindowSize{Rows: uint16(rows), Cols: uint16(cols)}
}

// resizes tells of each change of the size until ctx is done.
func (t *terminal) resizes(ctx context.Context) <-chan control.WindowSize {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan control.WindowSize)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case out <- t.size():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// escapeKey leaves a console: Ctrl-], as in telnet.
const escapeKey = 0x1d

// escapeReader reads a terminal up to the escape key.
type escapeReader struct {
	from    io.Reader
	escaped func()
	done    bool
}

func (r *escapeReader) Read(p []byte) (int, error) {
	if r.done {
		return 0, io.EOF
	}
	n, err := r.from.Read(p)
	if i := bytes.IndexByte(p[:n], escapeKey); i >= 0 {
		r.done = true
		r.escaped()
		return i, io.EOF
	}
	return n, err
}
