package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The command and the desk talk over a unix socket that root alone reaches: one line of JSON each way, then it is
// closed.

// localRequest is what the command asks of the desk.
type localRequest struct {
	Look    bool    `json:"look,omitempty"` // only what lies on the desk; the host is not asked
	Request Request `json:"request"`
}

// localReply is what the desk says.
type localReply struct {
	Opening *Opening `json:"opening,omitempty"`
	Answer  *Answer  `json:"answer,omitempty"`
	Error   string   `json:"error,omitempty"`
}

const (
	maxLocal  = 1 << 20          // bytes of one line
	localWait = 10 * time.Second // for the command's line
)

// listen makes the desk's socket, in a folder that only root may enter.
func listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // before there is a socket in it
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve answers commands for as long as the socket is there.
func (d *Desk) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go d.serveOne(c)
	}
}

func (d *Desk) serveOne(c net.Conn) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(localWait))
	var req localRequest
	if err := readLine(c, &req); err != nil {
		return
	}
	json.NewEncoder(c).Encode(d.reply(req))
}

func (d *Desk) reply(req localRequest) (r localReply) {
	var err error
	if req.Look {
		var o Opening
		_, o, err = d.look()
		r.Opening = &o
	} else {
		var a Answer
		a, err = d.request(req.Request)
		r.Answer = &a
	}
	if err != nil {
		return localReply{Error: err.Error()}
	}
	return r
}

// call is the command's half.
func (at place) call(req localRequest) (r localReply, err error) {
	c, err := net.Dial("unix", at.socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return r, errClosed
	}
	if err != nil {
		return r, err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return r, err
	}
	if err := readLine(c, &r); err != nil {
		return r, err
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	if req.Look && r.Opening == nil || !req.Look && r.Answer == nil {
		return r, errors.New("the desk's answer is empty")
	}
	return r, nil
}

// look asks what lies on the desk.
func (at place) look() (Opening, error) {
	r, err := at.call(localRequest{Look: true})
	if err != nil {
		return Opening{}, err
	}
	return *r.Opening, nil
}

// ask asks the host.
func (at place) ask(req Request) (Answer, error) {
	r, err := at.call(localRequest{Request: req})
	if err != nil {
		return Answer{}, err
	}
	return *r.Answer, nil
}

// readLine reads one line of bounded length.
func readLine(c net.Conn, v any) error {
	line, err := bufio.NewReader(io.LimitReader(c, maxLocal)).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
