package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"

	"sluice/firewall/appliance/admin"
)

var errHostGone = errors.New("the host has gone")

// deskStream is the guest's half of an open desk: a guest can open no stream, so the host holds one open for what is
// pushed. Each request goes up as a line, and its answer comes down as one.
type deskStream struct {
	stream  net.Conn
	opened  chan struct{} // the host has been told
	answers chan admin.Answer
	ended   chan struct{}
}

// serveDesk opens the appliance's desk until the host ends it.
func (g *guest) serveDesk(stream net.Conn, r *bufio.Reader, body json.RawMessage) {
	d := &deskStream{stream, make(chan struct{}), make(chan admin.Answer), make(chan struct{})}
	defer close(d.ended)
	var session *admin.Session
	err := with(body, func(o admin.Opening) (err error) {
		session, err = g.desk.Open(o, d.ask)
		return err
	})
	if err != nil {
		writeLine(stream, reply{Error: err.Error()})
		return
	}
	defer g.desk.Close(session)
	if writeBody(stream, true) != nil {
		return
	}
	close(d.opened)
	for {
		var a admin.Answer
		if err := readLine(r, &a); err != nil {
			return
		}
		d.answers <- a // somebody waits: the host only answers
	}
}

// ask is an admin.Asker; the desk has one request at a time.
func (d *deskStream) ask(req admin.Request) (a admin.Answer, err error) {
	select {
	case <-d.opened:
	case <-d.ended:
		return a, errHostGone
	}
	if err := writeBody(d.stream, req); err != nil {
		return a, err
	}
	select {
	case a = <-d.answers:
		return a, nil
	case <-d.ended:
		return a, errHostGone
	}
}
