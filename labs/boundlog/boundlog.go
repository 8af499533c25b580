// Package boundlog is a log file that never outgrows its bound: where it would, the older half of it goes. A guest that
// writes to its console without end fills no disk, and who reads the end of a log reads no more than that. What is
// written is not its business.
package boundlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// gone is the first line of a log that has lost older ones.
const gone = "[older lines are gone]\n"

// Log is a file of bounded size. Any number of goroutines may write to it at once.
type Log struct {
	mu   sync.Mutex
	file *os.File
	most int64
}

// Open opens a log for most bytes, at least 1024, and makes it if it is not there. It goes on where an older one ended;
// only its owner may read it.
func Open(path string, most int64) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return &Log{file: f, most: max(most, 1024)}, nil
}

// Write appends p, whole or, where that alone is more than half a log, the end of it.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	if over := int64(n) - l.most/2; over > 0 {
		p = p[over:]
	}
	info, err := l.file.Stat() // others may append too: a program whose standard error it is
	if err != nil {
		return 0, err
	}
	if info.Size()+int64(len(p)) > l.most {
		if err := l.shrink(info.Size()); err != nil {
			return 0, fmt.Errorf("shrink the log: %w", err)
		}
	}
	if _, err := l.file.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}

// shrink leaves a quarter of what the log may hold, from the beginning of a line where there is one.
func (l *Log) shrink(size int64) error {
	kept := make([]byte, min(size, l.most/4))
	n, err := l.file.ReadAt(kept, size-int64(len(kept)))
	if err != nil && err != io.EOF {
		return err
	}
	kept = kept[:n]
	if _, rest, whole := bytes.Cut(kept, []byte("\n")); whole {
		kept = rest
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.Write(append([]byte(gone), kept...))
	return err
}

// Fill writes what it reads until there is no more. A log that cannot be written, on a full disk, holds nobody up: what
// is read is lost.
func (l *Log) Fill(from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = l.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Tail is the end of a file, at most most bytes of it.
func Tail(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-most), most))
}
