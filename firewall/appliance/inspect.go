package appliance

import (
	"fmt"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vnic/frame"
)

// InspectConfig is what the inspector is told.
type InspectConfig struct {
	Signatures  string `json:"signatures,omitempty"`   // a signature file; empty: only what is looked for without one
	BypassAfter uint64 `json:"bypass_after,omitempty"` // clean bytes of a flow; 0 is never
}

// Inspection is the far end of sessions whose frames are looked into, not routed: an inspector, and the socket by which
// frames come and go back. The zero value is ready; its methods may be called at once.
type Inspection struct {
	mu        sync.Mutex // held while frames are judged, for a batch at a time
	inspector *inspect.Inspector
	sessions  [256]*portSet
	counts    datagrams
	line      *steerLine // nil where there is no session
}

// datagrams is what the inspector does not count, since it never sees it.
type datagrams struct{ probes, refused, unsent, overrun uint64 }

// portSet is the ports of one session.
type portSet [(frame.MaxSteerPort + 1) / 64]uint64

func (s *portSet) add(p frame.PortID)      { s[p/64] |= 1 << (p % 64) }
func (s *portSet) has(p frame.PortID) bool { return s[p/64]>>(p%64)&1 == 1 }

func (s *portSet) join(other *portSet) {
	for i := range s {
		s[i] |= other[i]
	}
}

// Configure says what to look for from now on, or changes nothing.
func (n *Inspection) Configure(c InspectConfig) error {
	config, err := inspect.Load("signatures", []byte(c.Signatures))
	if err != nil {
		return err
	}
	config.BypassAfter = c.BypassAfter
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inspector == nil {
		n.inspector = inspect.New(config, time.Now())
	} else {
		n.inspector.Configure(config)
	}
	return nil
}

// Steer serves a session, or more ports of one that is served.
func (n *Inspection) Steer(spec firewall.SteerSpec) error {
	if spec.Session == 0 || !spec.Inspect {
		return fmt.Errorf("session %d: not one to inspect", spec.Session)
	}
	ports := &portSet{}
	for _, p := range spec.Ports {
		if p == 0 || p > frame.MaxSteerPort {
			return fmt.Errorf("port %d cannot be steered", p)
		}
		ports.add(p)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inspector == nil {
		n.inspector = inspect.New(inspect.Default(), time.Now())
	}
	if n.line == nil {
		line, err := openSteerLine()
		if err != nil {
			return fmt.Errorf("take steered frames: %w", err)
		}
		n.inspector.Forget() // what went on since the last session was not seen
		n.line = line
		go n.serve(line)
	}
	if old := n.sessions[spec.Session]; old != nil {
		ports.join(old)
	}
	n.sessions[spec.Session] = ports
	return nil
}

// EndSteer ends a session: what still comes for it goes nowhere. One that is not served is no error.
func (n *Inspection) EndSteer(session uint8) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[session] = nil
	for _, s := range n.sessions {
		if s != nil {
			return nil
		}
	}
	return n.hangUp()
}

// Yield lets the kernel's own tunnels have GENEVE's port; sessions to inspect go on.
func (n *Inspection) Yield() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.line == nil {
		return nil
	}
	return n.line.yield()
}

// Close ends all sessions.
func (n *Inspection) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions = [256]*portSet{}
	return n.hangUp()
}

func (n *Inspection) hangUp() error {
	if n.line == nil {
		return nil
	}
	line := n.line
	n.line = nil
	n.counts.overrun += line.overrun()
	return line.close()
}

// Report is what was counted since the inspector was configured.
func (n *Inspection) Report() inspect.Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := inspect.Report{}
	if n.inspector != nil {
		r = n.inspector.Report()
	}
	for id, s := range n.sessions {
		if s != nil {
			r.Sessions = append(r.Sessions, uint8(id))
		}
	}
	r.Probes, r.Refused, r.Unsent, r.Overrun = n.counts.probes, n.counts.refused, n.counts.unsent, n.counts.overrun
	if n.line != nil {
		r.Overrun += n.line.overrun()
	}
	return r
}

// serve answers what comes in by a line until it is closed.
func (n *Inspection) serve(line *steerLine) {
	for {
		got, err := line.receive()
		if err != nil {
			return
		}
		now := time.Now()
		n.mu.Lock()
		for i := range got {
			if d, udp, whole := line.datagram(i); whole {
				line.reply(n.answer(now, d), udp)
			} else {
				n.counts.refused++
			}
		}
		n.mu.Unlock()
		if unsent := line.flush(); unsent > 0 {
			n.mu.Lock()
			n.counts.unsent += uint64(unsent)
			n.mu.Unlock()
		}
	}
}

// answer makes of a datagram, in its own bytes, the answer to it; nil where there is none.
func (n *Inspection) answer(now time.Time, d []byte) []byte {
	var t frame.Ticket
	vni, size, has, ok := frame.ParseGeneve(d, &t)
	ports := n.sessions[vni.Session()]
	probe := vni.Port() == 0
	switch {
	case !ok || !has || size != frame.GeneveRoom || vni.Back() || t.Verdict != frame.VerdictNone || ports == nil:
	case !probe && (!ports.has(vni.Port()) || t.Port != vni.Port() || len(d) < size+frame.MinLen):
	default:
		f := frame.Frame{Buf: d, Off: size, Len: len(d) - size}
		if probe {
			n.counts.probes++
			t.Verdict = frame.VerdictPass
		} else {
			*f.Vnet() = t.Vnet // over the header's end, which is written anew
			t.Verdict = n.inspector.Judge(now, &f)
			t.Vnet = *f.Vnet()
		}
		frame.PutGeneve(d, frame.NewVNI(vni.Session(), vni.Port(), true), &t)
		return d[:size+f.Len]
	}
	n.counts.refused++
	return nil
}
