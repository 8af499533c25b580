package walk

import (
	"slices"
	"sync/atomic"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Config is what an engine is given by the switch above it.
type Config struct {
	Clock func() int64         // monotonic ns: the time of the whole switch
	Flows firewall.FlowsConfig // bounds of the flow table
	Log   *firewall.Log        // takes what logged rules decide
	// Probed takes the payload of what looks like a probe and comes back from the appliance, and says whether it is
	// one. Failed is told that a port's NIC cannot be read any more. Any goroutine may call both.
	Probed func(payload []byte, now int64) bool
	Failed func(frame.PortID, error)
	// Shortcuts is the engine's own, not the switch's; nil where it takes none.
	Shortcuts Shortcuts
}

// Core is what the goroutines of an engine share, and what outlives every plan: the flows, the FDB, the gateway's
// neighbours, the sessions and the counters. Its methods may be called at once from many goroutines, but those that say
// otherwise.
type Core struct {
	Config
	fdb        *fdb
	neighbours *neighbours
	flows      *firewall.Flows
	watch      atomic.Pointer[Watch] // what checks have asked for; nil mostly
	counters   atomic.Pointer[[]*counters]
	sessions   [256]atomic.Pointer[session] // by number; nil where no plan names it
}

// NewCore makes empty tables. An error says that there is no memory for the flows.
func NewCore(c Config) (*Core, error) {
	flows, err := firewall.NewFlows(c.Flows)
	if err != nil {
		return nil, err
	}
	core := &Core{Config: c, fdb: newFDB(), neighbours: newNeighbours(), flows: flows}
	if c.Shortcuts != nil {
		core.fdb.changed, core.neighbours.changed = c.Shortcuts.Changed, func() { c.Shortcuts.Changed(0) }
	}
	core.counters.Store(&[]*counters{{}})
	return core, nil
}

// Now is the time in monotonic ns, as the whole switch counts it.
func (c *Core) Now() int64 { return c.Clock() }

// Prepare makes room for what a plan names: counters for its ports, a passage for each guest in its sessions. An engine
// calls it before the plan is in force, and Retire once no frame walks by an older one. Neither is called twice at
// once.
func (c *Core) Prepare(p *Plan) {
	all := slices.Clone(*c.counters.Load())
	for len(all) < len(p.Ports) {
		all = append(all, nil)
	}
	for _, q := range p.Ports {
		if q.ID != 0 && all[q.ID] == nil {
			all[q.ID] = &counters{}
		}
	}
	c.counters.Store(&all)
	for _, s := range p.sessions() {
		if s.ID != 0 {
			c.sessions[s.ID].Store(c.sessions[s.ID].Load().covering(p.Ports))
		}
	}
}

// Retire lets go of the sessions that a plan does not name.
func (c *Core) Retire(p *Plan) {
	var named [256]bool
	for _, s := range p.sessions() {
		named[s.ID] = true
	}
	for id := range c.sessions {
		if !named[id] {
			c.sessions[id].Store(nil)
		}
	}
}

// sessions are those that a plan names.
func (p *Plan) sessions() []Session {
	all := append([]Session{p.Steering.Out}, p.Steering.In[:]...)
	if p.Beside != nil {
		all = append(all, p.Beside.sessions()...)
	}
	return all
}

// PortFailed notes that a port's NIC cannot be read any more, and tells the switch.
func (c *Core) PortFailed(id frame.PortID, err error) {
	if n := c.countersOf(id); n != nil {
		n.down.Store(true)
		c.Failed(id, err)
	}
}

// Flows is the flow table.
func (c *Core) Flows() *firewall.Flows { return c.flows }

// Rules is what the rules of a program have counted.
func (c *Core) Rules(p *firewall.Program) []firewall.RuleInfo { return p.Rules(c.flows) }

// Expire lets the flow table forget what is over.
func (c *Core) Expire() { c.flows.Expire(c.Now()) }

// Counters is what a port has counted since it was attached; ok is false where there is no such port. Port 0 is the
// switch itself.
func (c *Core) Counters(id frame.PortID) (n Counters, ok bool) {
	if live := c.countersOf(id); live != nil {
		return live.read(), true
	}
	return Counters{}, false
}

func (c *Core) countersOf(id frame.PortID) *counters {
	if all := *c.counters.Load(); int(id) < len(all) {
		return all[id]
	}
	return nil
}

// Returned counts the frames that have come back from the appliance in a session.
func (c *Core) Returned(session uint8) uint64 {
	if s := c.sessions[session].Load(); s != nil {
		return s.returned.Load()
	}
	return 0
}

// Forget forgets what was learnt from a port, and its counters, once no plan has it. Port 0 stands for all that was
// learnt from any; counters stay then.
func (c *Core) Forget(id frame.PortID) {
	if id == 0 {
		c.fdb.clear()
		c.neighbours.clear()
		return
	}
	c.fdb.removePort(id)
	c.neighbours.removePort(id)
	all := slices.Clone(*c.counters.Load())
	if int(id) < len(all) {
		all[id] = nil
	}
	c.counters.Store(&all)
}

// MACs calls fn with each MAC that is remembered: its segment, the port behind which it lives, and for how long it has
// been silent.
func (c *Core) MACs(p *Plan, fn func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration)) {
	c.fdb.each(p.Segments, c.Now(), fn)
}

// Touch notes that a port has sent with its own MAC at a time that may have passed.
func (c *Core) Touch(seg frame.SegmentID, m frame.MAC, port frame.PortID, seen int64) {
	c.fdb.touch(MACKey(seg, m), port, seen)
}

// Neighbours calls fn with what ARP and ND have said of who has an address.
func (c *Core) Neighbours(fn func(frame.SegmentID, frame.Addr, frame.MAC)) {
	for k, e := range *c.neighbours.known.Load() {
		fn(k.segment, k.addr, e.mac())
	}
}

// Watch counts the frames that fit, from now on and instead of those of an earlier watch; nil counts none.
func (c *Core) Watch(w *Watch) { c.watch.Store(w) }
