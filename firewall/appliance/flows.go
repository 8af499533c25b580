package appliance

import (
	"errors"
	"fmt"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// conn is the line to conntrack, opened at first use. a.mu is held.
func (a *Appliance) conn() (*conntrack.Conn, error) {
	if a.flows == nil {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return nil, fmt.Errorf("open conntrack: %w", err)
		}
		a.flows = c
	}
	return a.flows, nil
}

// Flows reads the flows that conntrack holds. The switch's probes are none.
func (a *Appliance) Flows() ([]firewall.FlowRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.conn()
	if err != nil {
		return nil, err
	}
	entries, err := c.Dump(nil)
	if err != nil {
		return nil, fmt.Errorf("read conntrack: %w", err)
	}
	flows := make([]firewall.FlowRecord, 0, len(entries))
	for i := range entries {
		if f := toRecord(&entries[i]); len(flows) < MaxFlows && !frame.TunnelNet.Contains(f.Dst.Addr()) {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// PutFlows makes an entry for each flow, or refreshes the one that is there, and says which of them conntrack did not
// take: those of a protocol of which it needs to know more than a FlowRecord holds (SCTP's tags), and those for which
// it has no room. The others are there.
func (a *Appliance) PutFlows(flows []firewall.FlowRecord) (c firewall.Carried, err error) {
	said, err := a.write(putEntry, flows)
	if err != nil {
		return c, err
	}
	if err := a.putAnew(flows, said); err != nil {
		return c, err
	}
	for i, e := range said {
		if e == nil || errors.Is(e, unix.EBUSY) { // EBUSY: the entry is there and has seen more than we know of, an answer for instance
			continue
		}
		if len(c.Left) == 0 {
			c.Why = refused(&flows[i], e).Error()
		}
		c.Left = append(c.Left, i)
		c.Full = c.Full || errors.Is(e, unix.ENOMEM) // nf_conntrack_alloc, where there are nf_conntrack_max
	}
	return c, nil
}

// putAnew makes those entries anew that were there and cannot be refreshed, because a helper is to read them that they
// began without. It puts into said what the kernel says of them.
func (a *Appliance) putAnew(flows []firewall.FlowRecord, said []error) error {
	var again []firewall.FlowRecord
	var places []int
	for i, e := range said {
		if errors.Is(e, unix.EOPNOTSUPP) {
			again, places = append(again, flows[i]), append(places, i)
		}
	}
	if len(again) == 0 {
		return nil
	}
	if _, err := a.write(deleteEntry, again); err != nil {
		return err
	}
	now, err := a.write(putEntry, again)
	for i, e := range now {
		said[places[i]] = e
	}
	return err
}

// DeleteFlows removes flows and says how many were there. One that cannot be removed is an error; the others are gone
// all the same.
func (a *Appliance) DeleteFlows(flows []firewall.FlowRecord) (n int, err error) {
	said, err := a.write(deleteEntry, flows)
	for i, e := range said {
		switch {
		case e == nil:
			n++
		case !errors.Is(e, unix.ENOENT) && err == nil:
			err = refused(&flows[i], e)
		}
	}
	return n, err
}

// write does one thing with every flow, and gives for each what was said of it. An error means that nothing is known of
// any.
func (a *Appliance) write(v ctVerb, flows []firewall.FlowRecord) ([]error, error) {
	if len(flows) > MaxFlows {
		return nil, fmt.Errorf("%d flows are more than %d", len(flows), MaxFlows)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	said := make([]error, len(flows))
	var entries []conntrack.Flow
	var places []int
	for i := range flows {
		e, err := toEntry(&flows[i])
		if err != nil {
			said[i] = err
			continue
		}
		h, _ := firewall.ReaderOf(flows[i].First(), a.helpers)
		e.Helper.Name = h.Name
		entries, places = append(entries, e), append(places, i)
	}
	answers, err := a.writeEntries(v, entries)
	if err != nil {
		return nil, err
	}
	for i, e := range answers {
		said[places[i]] = e
	}
	return said, nil
}

// writeEntries gives entries to the kernel. A socket that failed may hold answers to what is over, so it is not used
// again. a.mu is held.
func (a *Appliance) writeEntries(v ctVerb, entries []conntrack.Flow) (said []error, err error) {
	if a.writer == nil {
		if a.writer, err = dialWriter(); err != nil {
			return nil, err
		}
	}
	if said, err = a.writer.do(v, entries); err != nil {
		a.writer.close()
		a.writer = nil
	}
	return said, err
}

func refused(f *firewall.FlowRecord, err error) error {
	return fmt.Errorf("flow of protocol %d from %s to %s: %w", f.Proto, f.Src, f.Dst, err)
}

// FlushFlows removes every flow.
func (a *Appliance) FlushFlows() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.conn()
	if err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("flush conntrack: %w", err)
	}
	return nil
}
