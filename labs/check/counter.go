package check

import (
	"fmt"
	"math"
	"strings"

	"sluice/vswitch"
)

// Counter is one of the switch's counters. Exactly one of Port, Rule, Reason and Share says which.
type Counter struct {
	Port   string // a vNIC, or a guest for all of its; the appliance, too
	Rule   string
	Reason string // frames dropped in the whole switch
	Share  string // fast or slow: of the guests' frames, those that the engine alone has handled, or those that met the appliance
	Count  string // which figure of a port, a rule or a side; empty is the side's share
	Change bool   // by how much the task's own traffic changed it, instead of what it is
	Is     Condition
}

// PortCounts, RuleCounts and SideCounts are the figures of a port, of a rule, and of the slow side (the fast side has
// what is left). A port also has dropped/REASON.
var (
	PortCounts = map[string]func(vswitch.PortStats) uint64{
		"in-frames": func(p vswitch.PortStats) uint64 { return p.InFrames }, "in-bytes": func(p vswitch.PortStats) uint64 { return p.InBytes },
		"out-frames": func(p vswitch.PortStats) uint64 { return p.OutFrames }, "out-bytes": func(p vswitch.PortStats) uint64 { return p.OutBytes },
		"batches": func(p vswitch.PortStats) uint64 { return p.Batches }, "wake-ups": func(p vswitch.PortStats) uint64 { return p.Wakes },
		"copies": func(p vswitch.PortStats) uint64 { return p.Copies }, "macs": func(p vswitch.PortStats) uint64 { return uint64(p.MACs) },
		"generation": func(p vswitch.PortStats) uint64 { return p.Generation },
		"dropped": func(p vswitch.PortStats) (n uint64) {
			for _, d := range p.Dropped {
				n += d
			}
			return n
		},
	}
	RuleCounts = map[string]func(vswitch.RuleStats) uint64{
		"frames": func(r vswitch.RuleStats) uint64 { return r.Frames }, "bytes": func(r vswitch.RuleStats) uint64 { return r.Bytes },
	}
	SideCounts = map[string]func(vswitch.Share) (all, slow uint64){
		"frames": func(s vswitch.Share) (all, slow uint64) { return s.Frames, s.Slow },
		"bytes":  func(s vswitch.Share) (all, slow uint64) { return s.Bytes, s.SlowBytes },
	}
)

// name is the counter in words.
func (c *Counter) name() string {
	change := ""
	if c.Change {
		change = ", by the task's own traffic"
	}
	switch {
	case c.Port != "":
		return c.Count + " of port " + c.Port + change
	case c.Rule != "":
		return c.Count + " of rule " + c.Rule + change
	case c.Reason != "":
		return "frames dropped by reason " + c.Reason + change
	case c.Count != "":
		return c.Count + " of the " + c.Share + " side" + change
	}
	return "the " + c.Share + " share" + change
}

// isShare says whether the figure is a share of all, and no number of things.
func (c *Counter) isShare() bool { return c != nil && c.Share != "" && c.Count == "" }

func (c *Counter) String() string { return c.name() + " " + c.Is.String() }

func (c *Counter) judge(s *scene) Finding {
	v, err := c.value(s)
	switch {
	case err != nil:
		return Finding{Reason: fmt.Sprintf("%s: %v", c.name(), err), Look: "sluice stats"}
	case !c.Is.Holds(v):
		return Finding{Reason: c.found(v), Look: "sluice stats", doubt: c.Change}
	}
	return passed()
}

// found says what was counted, and what it should be.
func (c *Counter) found(v float64) string {
	whose := "that guests sent since the placement was changed"
	if c.Change {
		whose = "of the task's own traffic"
	}
	side := map[string]string{"fast": "never met the appliance (the fast side)", "slow": "met the appliance (the slow side)"}[c.Share]
	switch {
	case c.Share != "" && c.Count == "":
		return fmt.Sprintf("%s %% of the frames %s %s; it should be %s", figure(math.Round(v*1000)/10), whose, side, c.Is.words())
	case c.Share != "":
		return fmt.Sprintf("%s %s %s; there should be %s", counted(v, strings.TrimSuffix(c.Count, "s")), whose, side, c.Is.many())
	}
	return fmt.Sprintf("%s is %s; it should be %s", c.name(), figure(v), c.Is.words())
}

func (c *Counter) value(s *scene) (float64, error) {
	if c.Share != "" {
		return c.side(s), nil
	}
	after, err := c.of(s.after)
	if err != nil || !c.Change {
		return float64(after), err
	}
	before, err := c.of(s.before)
	return float64(after) - float64(before), err
}

// side is a figure of the fast or the slow side: each frame once, as a guest sent it.
func (c *Counter) side(s *scene) float64 {
	counts := SideCounts[c.Count]
	if counts == nil {
		counts = SideCounts["frames"]
	}
	all, slow := counts(s.after.Share)
	if c.Change {
		allBefore, slowBefore := counts(s.before.Share)
		all, slow = all-allBefore, slow-slowBefore
	}
	mine := all - slow
	if c.Share == "slow" {
		mine = slow
	}
	switch {
	case c.Count != "":
		return float64(mine)
	case all == 0 && c.Share == "fast":
		return 1
	case all == 0:
		return 0
	}
	return float64(mine) / float64(all)
}

func (c *Counter) of(st vswitch.Stats) (n uint64, err error) {
	found := c.Reason != ""
	switch {
	case c.Reason != "":
		n = st.Dropped[c.Reason]
	case c.Rule != "":
		for _, r := range st.Rules {
			if r.Rule == c.Rule {
				n, found = n+RuleCounts[c.Count](r), true
			}
		}
	default:
		for _, p := range st.Ports {
			if p.Name == c.Port || guestOf(p.Name) == c.Port {
				n, found = n+c.ofPort(p), true
			}
		}
	}
	if !found {
		return 0, fmt.Errorf("there is no such rule or port now")
	}
	return n, nil
}

func (c *Counter) ofPort(p vswitch.PortStats) uint64 {
	if reason, ok := strings.CutPrefix(c.Count, "dropped/"); ok {
		return p.Dropped[reason]
	}
	return PortCounts[c.Count](p)
}
