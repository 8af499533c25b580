package firewall

import (
	"fmt"
	"slices"

	"sluice/firewall/document"
)

// Failure is how the appliance fails a placement that needs it. They are told apart because they come and go
// differently.
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

// FailOpen says, by Failure, whether frames pass the appliance by while it lasts. Closed is the default: what the
// appliance cannot look at goes nowhere.
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
func (l *loader) failure(n *document.Node) {
	if !n.Is(document.Map) {
		open := l.open(n)
		for f := Absent; f < failures; f++ {
			l.p.FailOpen[f] = open
		}
		return
	}
	for _, e := range l.Entries(n, "fail") {
		i := slices.Index(failureNames[:], e.Name)
		if i <= 0 {
			l.Unknown(e, "fail", failureNames[1:]...)
			continue
		}
		l.p.FailOpen[i] = l.open(e.Value)
	}
}

func (l *loader) open(n *document.Node) bool {
	w, ok := l.Word(n, "fail")
	if ok && w != "open" && w != "closed" {
		l.Fail(n, "write open or closed", "fail cannot be %q", w)
	}
	return w == "open"
}
