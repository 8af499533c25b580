// Package firewall turns what the user wrote (a policy) into what an engine walks (a program), keeps the state of
// flows, and says verdicts. It also renders the same policy to nftables. Which rule a packet matches first,
// firewall/classifier finds. It moves no frames, opens no sockets, and does not know what a segment's FDB is, or where
// an appliance is: of the tunnel it renders the addresses that vnic/frame has. The language of policies, and how they
// are decided, are in docs/policy.md.
package firewall

import (
	"fmt"
	"slices"
	"strings"

	"sluice/vnic/frame"
)

// Placement says where the policy is enforced.
type Placement uint8

// The placements.
const (
	Off     Placement = iota // nobody
	Fast                     // the engine, at each insertion point
	Slow                     // the appliance, which routes between the segments
	Tunnel                   // the appliance; the engine steers every frame to it
	Push                     // the engine; the policy comes from inside the appliance
	Inspect                  // both: the engine drops, the appliance looks into what passed
)

var placementNames = []string{"off", "fast", "slow", "tunnel", "push", "inspect"}

func (p Placement) String() string { return placementNames[p] }

// MarshalText writes the name.
func (p Placement) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a name, as ParsePlacement does.
func (p *Placement) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePlacement(string(b))
	return err
}

// Enforces says whether anybody enforces the policy in this placement.
func (p Placement) Enforces() bool { return p != Off }

// EngineEnforces says whether the engine drops what the policy denies.
func (p Placement) EngineEnforces() bool { return p == Fast || p == Push || p == Inspect }

// Steers says whether the engine sends what a guest may send to the appliance, which gives it back.
func (p Placement) Steers() bool { return p == Tunnel || p == Inspect }

// Tracks says whether the appliance's conntrack decides which flows are known.
func (p Placement) Tracks() bool { return p == Slow || p == Tunnel }

// Visits says whether frames meet the appliance.
func (p Placement) Visits() bool { return p.Steers() || p == Slow }

// NeedsAppliance says whether the placement is nothing without an appliance.
func (p Placement) NeedsAppliance() bool { return p != Off && p != Fast }

// ParsePlacement reads a placement's name.
func ParsePlacement(s string) (Placement, error) {
	for i, n := range placementNames {
		if s == n {
			return Placement(i), nil
		}
	}
	last := len(placementNames) - 1
	return Off, fmt.Errorf("no placement %q: %s or %s", s, strings.Join(placementNames[:last], ", "), placementNames[last])
}

// PlacementNames are the names of all placements.
func PlacementNames() []string { return slices.Clone(placementNames) }

// Dir is the direction at an insertion point, as the guest sees it.
type Dir uint8

// The two directions.
const (
	FromGuest Dir = iota // the guest sends
	ToGuest              // the guest receives
)

func (d Dir) String() string { return [...]string{"from-guest", "to-guest"}[d] }

// Point is an insertion point.
type Point struct {
	Port frame.PortID
	Dir  Dir
}

// Action is what an engine does with a frame. The zero Action is Drop, so that what was forgotten fails closed.
type Action uint8

// The four verbs of an engine.
const (
	Drop  Action = iota
	Pass         // on its way
	Steer        // to the service port that the plan names, instead; it may come back
	Copy         // on its way, and a copy to Verdict.Port
)

func (a Action) String() string { return [...]string{"drop", "pass", "steer", "copy"}[a] }

// VerdictFlag says more of a verdict.
type VerdictFlag uint8

// The flags of a Verdict.
const (
	VerdictReject VerdictFlag = 1 << iota // dropped, and to be answered: TCP reset, else ICMP administratively prohibited
	VerdictLog                            // the rule asks for a log line
	VerdictNew                            // the frame began a flow
	VerdictKnown                          // the frame belongs to a known flow
	VerdictReply                          // in the direction opposite to the flow's first frame
)

// Verdict is what an insertion point says of one frame.
type Verdict struct {
	Action Action
	Flags  VerdictFlag
	Reason frame.Reason // set where Action is Drop
	Port   frame.PortID // set where Action is Copy
	Rule   uint32       // 1 + index in Program.Rules; 0 where no rule was asked
}

// Context is what Check needs and what does not change within a batch.
type Context struct {
	Now   int64        // monotonic time in ns
	Flows *Flows       // the state; may not be nil
	Dry   bool         // look, but change nothing: for Trace
	From  frame.PortID // of the vNIC that has sent the frame: whose share of what is remembered of fragments it takes
	// Eth is the frame that the key was parsed from, for the little that a key does not hold: the packet inside an ICMP
	// error, and the identification of a fragment. Where it is nil, such frames fit no flow.
	Eth []byte
	Rec func(Step)
	Log *Log // takes what rules with log: true decide; may be nil
	// Settled is set where a check did nothing but to take a frame of a known flow into account: its flow's entry. The
	// caller empties it before.
	Settled Place

	partial   bool // the key is of a first fragment
	stateless bool // the frame becomes no flow
	copied    entry
}

// own gives an entry that may be changed: where nothing may change, a copy.
func (cx *Context) own(e *entry) *entry {
	if !cx.Dry {
		return e
	}
	cx.copied = *e
	return &cx.copied
}

// Step is one step of an explanation. Rec is nil while forwarding.
type Step struct {
	What   string `json:"what"`            // "parse", "flow", "rule", "default", ...
	Detail string `json:"detail"`          // one line for a person
	Rule   string `json:"rule,omitempty"`  // the rule's name
	Where  string `json:"where,omitempty"` // FILE:LINE of the rule
}
