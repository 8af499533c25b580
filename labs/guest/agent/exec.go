package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lingerTime is how long, after a command has ended, its output may stay silent before it is taken for finished: a
// daemon that the command left behind may hold the pipe for ever.
const lingerTime = 300 * time.Millisecond

// execution is one command that runs in the guest for a caller.
type execution struct {
	procs  *procs
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	pty    *os.File // nil without a terminal
	outs   []*output
	sendMu sync.Mutex
	stream io.Writer
	ended  atomic.Bool
}

// output is one stream of a command's output.
type output struct {
	from *os.File
	as   frameType
}

// serveExec runs the command that the request asks for, and returns when it has ended or the caller has gone.
func (g *guest) serveExec(stream net.Conn, r *bufio.Reader, body json.RawMessage) {
	var c Command
	if err := json.Unmarshal(body, &c); err != nil || len(c.Args) == 0 {
		writeFrame(stream, frameFailed, []byte("a command needs arguments"))
		return
	}
	e := &execution{procs: g.procs, stream: stream}
	if err := e.start(c); err != nil {
		e.refuse(c.Args[0], err)
		return
	}
	go e.readInput(r)
	e.send(frameExit, be32(uint32(e.finish())))
}

func (e *execution) send(t frameType, p []byte) error {
	e.sendMu.Lock()
	defer e.sendMu.Unlock()
	return writeFrame(e.stream, t, p)
}

// refuse answers as a shell would.
func (e *execution) refuse(name string, err error) {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	e.send(frameStderr, fmt.Appendf(nil, "sluice: %.200s: %.500s\n", name, err))
	e.send(frameExit, be32(uint32(code)))
}

// heed makes signals that whoever started this process had it ignore (nohup, a shell's &) mean something to the
// commands that it starts: what is ignored when a shell begins, it cannot trap (POSIX, 2.11).
var heed = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT) })

func (e *execution) start(c Command) error {
	heed()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	if cmd.Err != nil {
		return cmd.Err
	}
	cmd.Env = append(os.Environ(), c.Env...)
	if cmd.Dir = c.Dir; cmd.Dir == "" {
		cmd.Dir = "/root"
	}
	e.cmd = cmd
	if c.TTY {
		return e.startTTY(c.Size)
	}
	return e.startPipes()
}

func (e *execution) startTTY(size Size) error {
	master, slave, err := openTerminal(size)
	if err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	defer slave.Close()
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = slave, slave, slave
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := e.procs.start(e.cmd); err != nil {
		master.Close()
		return err
	}
	e.pty, e.stdin = master, keepOpen{master}
	e.outs = []*output{{from: master, as: frameStdout}}
	return nil
}

// keepOpen is a terminal as stdin: its end of file is a character that the user types.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

func (e *execution) startPipes() error {
	var far, near []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(append(far, near...))
			return err
		}
		if len(far) == 0 {
			r, w = w, r // stdin flows the other way
		}
		near, far = append(near, r), append(far, w)
	}
	defer closeAll(far)
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = far[0], far[1], far[2]
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := e.procs.start(e.cmd); err != nil {
		closeAll(near)
		return err
	}
	e.stdin = near[0]
	e.outs = []*output{{near[1], frameStdout}, {near[2], frameStderr}}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// finish passes on the output, waits for the command and says its exit code.
func (e *execution) finish() int {
	var copies sync.WaitGroup
	for _, o := range e.outs {
		copies.Go(func() { e.copyOut(o) })
	}
	e.procs.wait(e.cmd)
	e.ended.Store(true)
	for _, o := range e.outs {
		o.from.SetReadDeadline(time.Now().Add(lingerTime))
	}
	copies.Wait()
	e.stdin.Close()
	if status, ok := e.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return e.cmd.ProcessState.ExitCode()
}

func (e *execution) copyOut(o *output) {
	defer o.from.Close()
	buf := make([]byte, maxFrame)
	for {
		if e.ended.Load() {
			o.from.SetReadDeadline(time.Now().Add(lingerTime))
		}
		n, err := o.from.Read(buf)
		if n > 0 && e.send(o.as, buf[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// readInput takes the caller's frames until the caller goes away, which ends the command.
func (e *execution) readInput(r io.Reader) {
	in := newInbox()
	defer in.close()
	go e.feed(in)
	buf := make([]byte, maxFrame)
	for {
		t, p, err := readFrame(r, buf)
		if err == nil && t == frameStdin {
			err = in.put(p)
		}
		if err != nil {
			e.kill()
			return
		}
		switch {
		case t == frameResize && len(p) == 4 && e.pty != nil:
			resize(e.pty, Size{Rows: binary.BigEndian.Uint16(p), Cols: binary.BigEndian.Uint16(p[2:])})
		case t == frameSignal:
			e.signal(signals[string(p)])
		}
	}
}

// feed writes stdin at the command's speed and gives the caller credit for what was taken. What a command does not want
// is thrown away: it has closed its stdin, and its caller must not wait for it.
func (e *execution) feed(in *inbox) {
	defer e.stdin.Close()
	buf := make([]byte, maxFrame)
	for {
		n := in.take(buf)
		if n == 0 {
			return
		}
		e.stdin.Write(buf[:n])
		if e.send(frameTaken, be32(uint32(n))) != nil {
			return
		}
	}
}

// signals are those that a caller may send to a command; each leaves it a chance to act.
var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM,
}

// signal sends to the command's process group; 0, which stands for an unknown name, does nothing.
func (e *execution) signal(s syscall.Signal) {
	if !e.ended.Load() {
		syscall.Kill(-e.cmd.Process.Pid, s)
	}
}

func (e *execution) kill() {
	if e.ended.Load() {
		return
	}
	e.signal(syscall.SIGKILL)
	if e.pty != nil {
		e.pty.Close() // hangs up on the jobs that a shell has put into groups of their own
	}
}
