// Package admin is the administrator's place inside the appliance while the placement is push: a desk on which the
// policy in force lies, and the command `policy`, which edits it there, lints it and pushes it down to the switch.
//
// It is not this package's business how what is pushed reaches the host (the agent), nor whether it comes into force
// (the switch, which reads every byte of it again).
package admin

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"sluice/firewall"
	"sluice/firewall/fault"
)

// The bounds of what is pushed. Reading a policy costs the host time and memory, and the appliance is not trusted: the
// worst that has been found for 256 KiB took 6 s and 2.7 GB, and most of it grows with the square of the size.
const (
	MaxSource = 256 << 10 // bytes; about 3,000 rules
	maxFile   = 256       // bytes of a file's name
)

// Opening is what the host gives to the desk: the policy in force, and what a policy may refer to.
type Opening struct {
	Edition   firewall.Edition    `json:"edition"`
	Inventory *firewall.Inventory `json:"inventory"`
}

// Check says whether the desk has room for it.
func (o *Opening) Check() error {
	if n := len(o.Edition.Source); n > MaxSource {
		return fmt.Errorf("the policy has %d bytes; one that is administered in the appliance has at most %d: take another placement for it, or groups", n, MaxSource)
	}
	return nil
}

// Request is what the desk asks of the host: to push, or how things are.
type Request struct {
	Push *Push `json:"push,omitempty"` // nil only asks
}

// Push is a policy on its way to the switch.
type Push struct {
	File   string `json:"file"` // for messages; the host opens nothing
	Source []byte `json:"source"`
	Base   uint64 `json:"base,omitempty"` // the generation that it was made from
	Force  bool   `json:"force,omitempty"`
}

// Check says whether the request is one that the command makes: both sides ask, the host because it trusts nobody.
func (r *Request) Check() error {
	p := r.Push
	switch {
	case p == nil:
		return nil
	case len(p.File) == 0 || len(p.File) > maxFile || !utf8.ValidString(p.File) || !fault.IsSafe(p.File, ""):
		return fmt.Errorf("the file's name must be printable, and of at most %d bytes", maxFile)
	case p.Force != (p.Base == 0):
		return errors.New("a push names the generation that it was made from, or is forced")
	}
	return checkSource(p.Source)
}

// checkSource takes text only: it comes to terminals and logs.
func checkSource(src []byte) error {
	switch {
	case len(src) > MaxSource:
		return fmt.Errorf("the policy has %d bytes; at most %d are taken from an appliance: use groups, or apply it on the host in another placement", len(src), MaxSource)
	case !utf8.Valid(src):
		return errors.New("the policy is not UTF-8")
	case !fault.IsSafe(string(src), "\n\t\r"):
		return errors.New("the policy has control characters, or ones that cannot be seen")
	}
	return nil
}

// Answer is what the host says to a request.
type Answer struct {
	Generation uint64     `json:"generation"` // in force now
	Realized   []Realized `json:"realized,omitempty"`
	Rules      int        `json:"rules,omitempty"`     // of what was pushed
	FlowsCut   int        `json:"flows_cut,omitempty"` // that it denies
	Error      string     `json:"error,omitempty"`     // nothing has changed, and why
	BadInput   bool       `json:"bad_input,omitempty"` // it is the policy that is wrong
}

// Realized is the generation in force at one vNIC.
type Realized struct {
	VNIC       string `json:"vnic"`
	Generation uint64 `json:"generation"`
}
