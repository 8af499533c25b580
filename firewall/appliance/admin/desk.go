package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"sluice/firewall"
)

// place says where in the appliance things lie.
type place struct {
	file   string // the policy that is edited, unless another is named
	socket string // of the desk; its folder is root's alone
}

// PolicyFile is the file that the administrator works on.
const PolicyFile = "/etc/sluice/policy.yaml"

// under is the place below a folder: / in an appliance.
func under(root string) place {
	return place{file: filepath.Join(root, PolicyFile), socket: filepath.Join(root, "run/sluice/policy.sock")}
}

// Asker brings a request to the host and waits for its answer.
type Asker func(Request) (Answer, error)

// Desk is the agent's half: it holds what is in force and passes on what the command asks.
type Desk struct {
	at place

	mu        sync.Mutex
	open      *Session
	listening net.Listener
}

// Session is one time in which the desk is open.
type Session struct {
	opening Opening
	ask     Asker
	turn    sync.Mutex // one request at a time
}

// NewDesk makes a desk, which is closed. Its files lie below root.
func NewDesk(root string) *Desk { return &Desk{at: under(root)} }

var (
	errClosed = errors.New("no policy is administered here: the placement is not push (on the host: sluice place push)")
	errBroken = errors.New("the line to the switch broke before it answered; see `policy status`")
)

// Open lays an edition on the desk, in place of an earlier session's. A file that nobody has edited becomes the
// edition's.
func (d *Desk) Open(o Opening, ask Asker) (*Session, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(o.Edition); err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	if d.listening == nil {
		l, err := listen(d.at.socket)
		if err != nil {
			return nil, fmt.Errorf("open the desk: %w", err)
		}
		d.listening = l
		go d.serve(l)
	}
	d.open = &Session{opening: o, ask: ask}
	return d.open, nil
}

// Close ends a session, unless a later one has taken its place.
func (d *Desk) Close(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == s {
		d.open = nil
	}
}

// look is the session that is open.
func (d *Desk) look() (*Session, Opening, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		return nil, Opening{}, errClosed
	}
	return d.open, d.open.opening, nil
}

// request passes a request on. What was pushed lies on the desk afterwards.
func (d *Desk) request(req Request) (Answer, error) {
	s, _, err := d.look()
	if err != nil {
		return Answer{}, err
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	ans, err := s.ask(req)
	if err != nil {
		return Answer{}, fmt.Errorf("%w (%w)", errBroken, err)
	}
	if p := req.Push; p != nil && ans.Error == "" {
		d.took(firewall.Edition{File: p.File, Source: p.Source, Generation: ans.Generation})
	}
	return ans, nil
}

// took notes what is in force now.
func (d *Desk) took(e firewall.Edition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil || d.open.opening.Edition.Generation >= e.Generation {
		return // a later session knows better
	}
	d.open.opening.Edition = e
	if err := d.refresh(e); err != nil { // it is in force all the same
		slog.Warn("write the policy in force", "error", err)
	}
}

// refresh writes an edition into the policy's file, unless somebody has edited that since it was written.
func (d *Desk) refresh(e firewall.Edition) error {
	if err := os.MkdirAll(filepath.Dir(d.at.file), 0o700); err != nil {
		return err
	}
	if !pristine(d.at.file) {
		return nil
	}
	if err := write(d.at.file, e.Source); err != nil {
		return err
	}
	return writeBase(d.at.file, base{e.Generation, sum(e.Source)})
}
