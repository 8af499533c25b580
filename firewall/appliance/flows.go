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

// Flows reads the flows that conntrack holds, of the protocols that a FlowRecord can carry. The switch's probes are none.
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
		if f, ok := toRecord(&entries[i]); ok && len(flows) < MaxFlows && !firewall.SteerNet.Contains(f.Dst.Addr()) {
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// PutFlows makes an entry for each flow, or refreshes the one that is there, and says how many of them conntrack holds
// now. A flow that no entry can be made of is an error, and so is a full table; the others are there all the same.
func (a *Appliance) PutFlows(flows []firewall.FlowRecord) (int, error) {
	// EBUSY: the entry is there and has seen more than we know of, an answer for instance.
	return a.write(putEntry, flows, func(err error) (held, fine bool) {
		busy := errors.Is(err, unix.EBUSY)
		return busy, busy
	})
}

// DeleteFlows removes flows and says how many were there.
func (a *Appliance) DeleteFlows(flows []firewall.FlowRecord) (int, error) {
	return a.write(deleteEntry, flows, func(err error) (known, fine bool) {
		return false, errors.Is(err, unix.ENOENT)
	})
}

// write does one thing with every flow and counts those with which it was done. judge says of a refusal whether it counts
// as done all the same, and whether it is no error.
func (a *Appliance) write(v ctVerb, flows []firewall.FlowRecord, judge func(error) (counts, fine bool)) (int, error) {
	if len(flows) > MaxFlows {
		return 0, fmt.Errorf("%d flows are more than %d", len(flows), MaxFlows)
	}
	entries := make([]conntrack.Flow, len(flows))
	for i := range flows {
		var err error
		if entries[i], err = toEntry(&flows[i]); err != nil {
			return 0, refused(&flows[i], err)
		}
	}
	said, err := a.send(v, entries)
	done := 0
	for i, e := range said {
		counts, fine := e == nil, e == nil
		if e != nil {
			counts, fine = judge(e)
		}
		if counts {
			done++
		}
		if !fine && err == nil {
			err = refused(&flows[i], e)
		}
	}
	return done, err
}

// send gives entries to the kernel. A socket that failed may hold answers to what is over, so it is not used again.
func (a *Appliance) send(v ctVerb, entries []conntrack.Flow) (said []error, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
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
