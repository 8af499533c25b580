package appliance

import (
	"errors"
	"fmt"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"sluice/firewall"
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

// Flows reads the flows that conntrack holds, of the protocols that a FlowRecord can carry.
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
		if f, ok := toRecord(&entries[i]); ok && len(flows) < MaxFlows {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// PutFlows makes an entry for each flow, or refreshes the one that is there, and says how many of them conntrack holds
// now. A flow that no entry can be made of is an error, and so is a full table; those before it stay.
func (a *Appliance) PutFlows(flows []firewall.FlowRecord) (int, error) {
	if len(flows) > MaxFlows {
		return 0, fmt.Errorf("%d flows are more than %d", len(flows), MaxFlows)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.conn()
	if err != nil {
		return 0, err
	}
	for i := range flows {
		if err := put(c, &flows[i]); err != nil {
			return i, fmt.Errorf("carry %s to %s: %w", flows[i].Src, flows[i].Dst, err)
		}
	}
	return len(flows), nil
}

func put(c *conntrack.Conn, r *firewall.FlowRecord) error {
	f, err := toEntry(r)
	if err != nil {
		return err
	}
	if err = c.Create(f); errors.Is(err, unix.EEXIST) {
		err = c.Update(f)
	}
	return err
}

// DeleteFlows removes flows and says how many were there.
func (a *Appliance) DeleteFlows(flows []firewall.FlowRecord) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.conn()
	if err != nil {
		return 0, err
	}
	known := 0
	for i := range flows {
		f, err := toEntry(&flows[i])
		if err == nil {
			err = c.Delete(conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply})
		}
		switch {
		case err == nil:
			known++
		case !errors.Is(err, unix.ENOENT):
			return known, fmt.Errorf("forget %s to %s: %w", flows[i].Src, flows[i].Dst, err)
		}
	}
	return known, nil
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
