package firewall

import (
	"fmt"
	"net/netip"

	"sluice/vnic/frame"
)

// RuleAction is what a rule, or the default, says of a flow.
type RuleAction uint8

// The actions of a rule. The zero RuleAction is RuleDrop, so that what was forgotten fails closed.
const (
	RuleDrop   RuleAction = iota // silently
	RuleAllow                    // and the flow's replies
	RuleReject                   // answered: TCP reset, else ICMP administratively prohibited
)

var actionNames = [...]string{"drop", "allow", "reject"}

func (a RuleAction) String() string { return actionNames[a] }

// MarshalText writes the name.
func (a RuleAction) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Policy is what the user wrote, with every noun resolved against an inventory. It is immutable once loaded, but for
// the rules' counters, which outlive programs.
type Policy struct {
	File    string     // where it came from, for messages
	Source  []byte     // as written
	Default RuleAction // for what no rule matches
	Rules   []Rule     // in order: the first match decides

	inv *Inventory
}

// Rule is one rule of a policy.
type Rule struct {
	Name      string     `json:"name"`
	From      []string   `json:"from"`                 // as written
	To        []string   `json:"to"`                   // as written
	Service   []string   `json:"service"`              // as written; empty is any
	Direction string     `json:"direction"`            // in, out or in-out
	AppliedTo []string   `json:"applied_to,omitempty"` // guests, as written; empty is every vNIC
	Action    RuleAction `json:"action"`
	Log       bool       `json:"log,omitempty"`
	Line      int        `json:"line"` // in the policy's file
}

// Tuple is the first packet of a flow, as rules see it.
type Tuple struct {
	Proto    uint8          // IANA number
	Src, Dst netip.AddrPort // ports are 0 where the protocol has none
	ICMPType uint8          // ICMP and ICMPv6 only
	ICMPCode uint8
}

// Decision is what the policy says of a flow, and where.
type Decision struct {
	Action RuleAction
	Rule   uint32 // 1 + index in Policy.Rules; 0 is the default
	Point  Point  // the insertion point that decided; where both allow, the last
}

// Evaluate says what the policy decides of a flow's first packet along its whole way: at from-guest of the vNIC that owns
// Src, then at to-guest of the vNIC that owns Dst. It is pure: no state, no counters, and no placement. An address that no
// vNIC owns meets the rules that apply everywhere.
func (p *Policy) Evaluate(t Tuple) Decision { return Decision{} }

// EvaluateAt says what the policy decides of a flow's first packet at one insertion point. It is pure.
func (p *Policy) EvaluateAt(at Point, t Tuple) Decision { return Decision{Point: at} }

// PortOf finds the vNIC that owns an address; 0 means that no vNIC of the inventory does.
func (p *Policy) PortOf(a netip.Addr) frame.PortID { return 0 }

// Load reads a policy. file is for messages only; every noun must be in inv. The error is an ErrorList: each error has
// a line and a column, and says what to do.
func Load(file string, src []byte, inv *Inventory) (*Policy, error) {
	return nil, fmt.Errorf("load %s: not ready", file)
}

// NFTOptions are what the rendering cannot know from the policy.
type NFTOptions struct {
	Comment string // put into the script's first line, for people
}

// NFT renders the policy as one nft script: a single transaction that replaces the table `inet sluice`. It gives to
// forwarded packets the verdicts that both insertion points give together.
func (p *Policy) NFT(o NFTOptions) (string, error) { return "", nil }

// Finding is one thing that Lint has to say of a policy.
type Finding struct {
	Kind   string `json:"kind"` // shadowed, unused-group, unused-service, ...
	Rule   string `json:"rule,omitempty"`
	Line   int    `json:"line"`
	Col    int    `json:"col"`
	Detail string `json:"detail"` // one line for a person
}

// Lint lists what is allowed but looks wrong.
func (p *Policy) Lint() []Finding { return nil }
