package firewall

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Failure is how the appliance fails a placement that needs it. They are told apart because they come and go differently.
type Failure uint8

// The failures. The zero Failure is none.
const (
	Healthy    Failure = iota
	Absent             // its machine has ended
	Hung               // it is there, and does not answer
	Backlogged         // it answers late, or its queue is full
	TableFull          // it answers, but takes no new flow
	failures
)

var failureNames = [failures]string{"ok", "absent", "hung", "backlogged", "table-full"}

func (f Failure) String() string { return failureNames[f] }

// MarshalText writes the name.
func (f Failure) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads a name.
func (f *Failure) UnmarshalText(b []byte) error {
	i := slices.Index(failureNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("no failure %q", b)
	}
	*f = Failure(i)
	return nil
}

// FailOpen says, by Failure, whether frames pass the appliance by while it lasts. Closed is the default: what the appliance cannot look at
// goes nowhere.
type FailOpen [failures]bool

// Bypassed is the placement that is left of one whose appliance is passed by.
func (p Placement) Bypassed() Placement {
	switch p {
	case Slow, Tunnel:
		return Off
	case Inspect:
		return Fast
	}
	return p
}

// failure reads fail: open, or fail: {absent: closed, hung: open, ...}.
func (l *loader) failure(n ast.Node) {
	if m, isMap := n.(*ast.MappingNode); !isMap || m == nil {
		open := l.open(n)
		for f := Absent; f < failures; f++ {
			l.p.FailOpen[f] = open
		}
		return
	}
	for _, e := range l.entries(n, "fail") {
		i := slices.Index(failureNames[:], e.name)
		if i <= 0 {
			l.unknown(e, "fail", failureNames[1:]...)
			continue
		}
		l.p.FailOpen[i] = l.open(e.value)
	}
}

func (l *loader) open(n ast.Node) bool {
	w, ok := l.word(n, "fail")
	if ok && w != "open" && w != "closed" {
		l.fail(n, "write open or closed", "fail cannot be %q", w)
	}
	return w == "open"
}
