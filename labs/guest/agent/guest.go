package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/firewall/appliance/admin"
)

// guest is the guest's half: it does what a host asks over its line.
type guest struct {
	procs     *procs
	services  *services
	appliance *appliance.Appliance
	desk      *admin.Desk
	inspector *appliance.Inspection
	ownKernel bool // QEMU: modules and the clock are the guest's own

	execs      sync.WaitGroup // commands that run for a caller
	mu         sync.Mutex     // held while the guest is being configured
	configured bool
}

func newGuest(ownKernel bool) *guest {
	p := newProcs()
	return &guest{
		procs:     p,
		services:  newServices(p),
		appliance: &appliance.Appliance{Run: p.run},
		desk:      admin.NewDesk("/"),
		inspector: &appliance.Inspection{},
		ownKernel: ownKernel,
	}
}

// serveHosts answers one host after another on a port.
func (g *guest) serveHosts(p *port) error {
	for {
		if err := p.waitHost(); err != nil {
			return fmt.Errorf("wait for a host: %w", err)
		}
		if err := g.serveLine(p); err != nil && !errors.Is(err, io.EOF) {
			slog.Warn("session ended", "error", err)
		}
	}
}

// serveLine answers one host until it goes.
func (g *guest) serveLine(line io.ReadWriteCloser) error {
	r, err := greetHost(line)
	if err != nil {
		return err
	}
	session, err := yamux.Server(struct {
		io.Reader
		io.WriteCloser
	}{r, line}, sessionConfig())
	if err != nil {
		return err
	}
	defer session.Close()
	for {
		s, err := session.Accept()
		if err != nil {
			return nil
		}
		go g.serveStream(s)
	}
}

// serveStream does one call.
func (g *guest) serveStream(s net.Conn) {
	defer s.Close()
	r := bufio.NewReaderSize(s, maxFrame)
	var req request
	if err := readLine(r, &req); err != nil {
		writeLine(s, reply{Error: "bad request: " + err.Error()})
		return
	}
	if req.Call == callExec {
		g.execs.Add(1)
		defer g.execs.Done()
		g.serveExec(s, r, req.Body)
		return
	}
	if req.Call == callDesk {
		g.serveDesk(s, r, req.Body)
		return
	}
	end := reply{End: true}
	if err := g.do(req, r, func(v any) error { return writeBody(s, v) }); err != nil {
		end.Error = err.Error()
		end.Error = end.Error[:min(len(end.Error), maxError)]
		end.Unsupported = errors.Is(err, errors.ErrUnsupported)
	}
	writeLine(s, end)
}

func writeBody(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeLine(w, reply{Body: b})
}

// do is every call that is one question; it answers through send. rest is what follows the question.
func (g *guest) do(req request, rest io.Reader, send func(any) error) error {
	switch req.Call {
	case callInfo:
		return send(g.info())
	case callConfigure:
		return with(req.Body, g.configure)
	case callNeighbours:
		return with(req.Body, appliance.AddNeighbours)
	case callNFT:
		return g.takeRuleset(rest, req.Body)
	case callFlows:
		return g.sendFlows(send)
	case callPutFlows:
		return withFlows(req.Body, send, g.appliance.PutFlows)
	case callDeleteFlows:
		return withFlows(req.Body, send, g.appliance.DeleteFlows)
	case callFlushFlows:
		return g.appliance.FlushFlows()
	case callStats:
		s, err := g.appliance.Stats()
		if err != nil {
			return err
		}
		return send(s)
	case callSteer:
		return with(req.Body, g.steer)
	case callEndSteer:
		return with(req.Body, g.endSteer)
	case callInspect:
		return with(req.Body, g.inspector.Configure)
	case callInspections:
		return send(g.inspector.Report())
	}
	return fmt.Errorf("no call %q", req.Call)
}

// steer begins to serve a session, or more ports of it.
func (g *guest) steer(spec firewall.SteerSpec) error {
	if spec.Inspect {
		return g.inspector.Steer(spec)
	}
	if err := g.inspector.Yield(); err != nil {
		return err
	}
	return g.appliance.Steer(spec)
}

// endSteer ends a session, whoever serves it.
func (g *guest) endSteer(session uint8) error {
	return errors.Join(g.inspector.EndSteer(session), g.appliance.EndSteer(session))
}

// with reads a call's argument and does it.
func with[T any](body json.RawMessage, do func(T) error) error {
	var arg T
	if err := json.Unmarshal(body, &arg); err != nil {
		return fmt.Errorf("bad request: %w", err)
	}
	return do(arg)
}

func (g *guest) sendFlows(send func(any) error) error {
	flows, err := g.appliance.Flows()
	if err != nil {
		return err
	}
	return inBatches(flows, func(some []firewall.FlowRecord) error { return send(packFlows(some)) })
}

// withFlows does something with the flows of a request and answers with what came of it.
func withFlows[T any](body json.RawMessage, send func(any) error, do func([]firewall.FlowRecord) (T, error)) error {
	return with(body, func(packed []byte) error {
		flows, err := unpackFlows(packed)
		if err != nil {
			return err
		}
		result, err := do(flows)
		if err != nil {
			return err
		}
		return send(result)
	})
}

func (g *guest) info() Info {
	var u unix.Utsname
	var si unix.Sysinfo_t
	unix.Uname(&u)
	unix.Sysinfo(&si)
	host, _ := os.Hostname()
	g.mu.Lock()
	defer g.mu.Unlock()
	return Info{
		Version:    Version,
		Hostname:   host,
		Kernel:     unix.ByteSliceToString(u.Release[:]),
		Uptime:     time.Duration(si.Uptime) * time.Second,
		Configured: g.configured,
		Services:   g.services.names(),
	}
}
