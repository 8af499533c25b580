package firewall

import (
	"fmt"
	"slices"

	"sluice/firewall/classifier"
	"sluice/firewall/flat"
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

// UnmarshalText reads a name.
func (a *RuleAction) UnmarshalText(b []byte) error {
	i := slices.Index(actionNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("no action %q", b)
	}
	*a = RuleAction(i)
	return nil
}

// Policy is what the user wrote, with every noun resolved against an inventory. It is immutable once loaded, but for
// the rules' counters, which outlive programs.
type Policy struct {
	File    string     // where it came from, for messages
	Source  []byte     // as written
	Default RuleAction // for what no rule matches
	Rules   []Rule     // in order: the first match decides
	Exclude []string   // guests that the policy is not for, as written
	// Midstream lets a flow of TCP begin with an ACK: for connections whose beginning the engine has not seen.
	Midstream bool
	// Liberal lets pass what lies outside TCP's windows.
	Liberal  bool
	Limits   Limits // of each vNIC
	FailOpen FailOpen
	Helpers  []Helper // that read connections in slow

	inv      *Inventory
	groups   []*noun
	services []*noun
	content  uint64    // hash of what the policy decides
	stamp    uint32    // a short name of the content, in flows
	counters []counter // by rule, the default first

	// What a packet is decided by lies in one run of bytes (flat.go), and all of these are views of it.
	flat     []byte
	timeouts *[states]uint32
	actions  []ruleAction // by rule: a rule itself is too large to be fetched for each packet
	excluded []uint8      // by port: 1 where the policy is not for it
	guards   []vnicGuard  // by port
	addrs    []frame.Addr // what guards have parts of
	links    []flat.Part  // by port: the addresses of its segment, in ranges
	ranges   classifier.AddrSet
	owners   owners // by address, wherever it is
	places   owners // by segment and address, with what follows from MACs, and the gateways
	classes  *classifier.Classifier
	// stateless finds the packets that stateless rules are about; nil where there are none.
	stateless *classifier.Classifier

	helpersLine, helpersCol int // in the file
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
	Stateless bool       `json:"stateless,omitempty"` // makes no flow: each packet is asked about, and replies need a rule of their own
	Log       bool       `json:"log,omitempty"`
	LogPrefix string     `json:"log_prefix,omitempty"`
	LogRate   LogRate    `json:"log_rate,omitzero"` // the zero value is logPerSecond
	Section   string     `json:"section,omitempty"`
	Line      int        `json:"line"` // in the policy's file
	Col       int        `json:"col"`

	match classifier.Match
}

// anything matches every packet everywhere.
var anything = classifier.Match{From: classifier.AnyAddr, To: classifier.AnyAddr, Services: classifier.AnyService, Dirs: bothDirs}

const bothDirs = 1<<FromGuest | 1<<ToGuest

var dirsOf = map[string]uint8{"out": 1 << FromGuest, "in": 1 << ToGuest, "in-out": bothDirs}
