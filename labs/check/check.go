// Package check judges what a student has made of a lab: tasks, what each of them checks, and what is said of it. It is
// pure: it meets a lab only through the interface Lab, and judges what that tells. How a task is written in a lab file,
// how a lab is deployed, where tries and answers are kept and how a report is printed are not its business.
package check

import (
	"context"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vswitch"
)

// Task is something that a student is to reach, and how to see that it is.
type Task struct {
	ID     string
	Title  string
	Points int
	Needs  []string // tasks that must have passed before
	Checks []Check
	Hints  []Hint
	Wait   time.Duration // how long the checks may take to come true
	Hold   time.Duration // how long they must stay true then
}

// Check is one thing to look at.
type Check struct {
	ID        string // for hints; may be empty
	Line      int    // in the lab file
	Placement *firewall.Placement
	Kind      Kind
}

// InPlace says whether what a check finds depends on the placement that its lab is in: the check names none itself, and
// looks at something that differs from placement to placement.
func (c Check) InPlace() bool {
	switch c.Kind.(type) {
	case *Answer, *Policy, *Receipt, *Speed:
		return false
	}
	return c.Placement == nil
}

// Hint is help for a student who has failed a task. Every student gets it, unless When or After say otherwise. One that
// costs points is given only to a student who asks for it.
type Hint struct {
	When  string // a fact that was observed; see Task.Facts
	After int    // failed tries
	Cost  int    // points
	Text  string
}

// Kind is what a check looks at: *Reach, *Seen, *Walk, *Flows, *Receipt, *Counter, *Answer, *Speed,
// *Policy or *Run.
type Kind interface {
	// String is the check in words.
	String() string
	// judge says whether the check holds in the scene.
	judge(*scene) Finding
}

// Finding is what one check has found.
type Finding struct {
	Check  string   `json:"check"`
	Line   int      `json:"line"` // in the lab file
	Passed bool     `json:"passed"`
	Reason string   `json:"reason,omitempty"` // why it did not pass
	Look   string   `json:"look,omitempty"`   // where to look
	Facts  []string `json:"facts,omitempty"`  // what was observed, for hints
	final  bool     // waiting does not change it
	doubt  bool     // it may be so only because the machine was too slow
	answer bool     // it is about what the student answered
}

// Lab is a running lab as checks meet it.
type Lab interface {
	// Probe tries targets from inside a guest, all at once.
	Probe(ctx context.Context, guest string, targets []probe.Target, within time.Duration) ([]probe.Result, error)
	// Download fetches from a guest's service http, inside another guest, for so long.
	Download(ctx context.Context, guest string, from probe.Target, during time.Duration) (probe.Download, error)
	// Exec runs a command in a guest.
	Exec(ctx context.Context, guest string, argv []string) (Output, error)
	// Script runs a script of the lab's own folder, on the machine that the lab runs on.
	Script(ctx context.Context, file string) (Output, error)
	// Watch counts frames from now on, and Watched is what it has counted.
	Watch(ctx context.Context, sights []vswitch.Sight) error
	Watched(ctx context.Context) (vswitch.Watched, error)
	Stats(ctx context.Context) (vswitch.Stats, error)
	Flows(ctx context.Context) ([]firewall.FlowRecord, error)
	// InForce is the policy in force.
	InForce(ctx context.Context) (*firewall.Policy, error)
	Trace(ctx context.Context, r vswitch.TraceRequest) (vswitch.TraceResult, error)
	// Placement is where the policy is enforced, and the receipts of the changes so far, oldest first.
	Placement(ctx context.Context) (firewall.Placement, []vswitch.Receipt, error)
	Place(ctx context.Context, to firewall.Placement, o vswitch.PlaceOptions) (vswitch.Receipt, error)
}

// Output is what a command wrote, as much of it as is kept, and its exit code.
type Output struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Code   int    `json:"code"`
}

// passed is a finding without a fault.
func passed(facts ...string) Finding { return Finding{Passed: true, Facts: facts} }
