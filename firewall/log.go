package firewall

import (
	"context"
	"log/slog"
	"sync/atomic"

	"sluice/vnic/frame"
)

// Log carries what rules with log: true decide from the forwarding loops to whoever writes it down. Taking a note never waits and never
// allocates: what is more than its rate, or than its reader keeps up with, is counted and not logged. A note has numbers and names of
// the policy's only, so no guest can put a line of its own into a log.
type Log struct {
	notes      chan Note
	each       int64        // ns of budget that one note takes
	burst      int64        // ns
	whole      atomic.Int64 // when the budget is whole again
	suppressed atomic.Uint64
}

// Note is one decision of a rule.
type Note struct {
	At         int64 // as Context.Now
	Point      Point
	Rule       string
	Action     RuleAction
	Src, Dst   frame.Addr
	Service    uint32 // what the rule saw of ports and types
	Suppressed uint64 // notes not taken since the last one that was
}

// NewLog makes a log that takes at most perSecond notes, a second's worth of them at once.
func NewLog(perSecond int) *Log {
	return &Log{notes: make(chan Note, perSecond), each: 1e9 / int64(perSecond), burst: 1e9}
}

// take notes a decision, unless there are too many.
func (l *Log) take(n *Note) {
	for {
		whole := l.whole.Load()
		next := max(whole, n.At) + l.each
		if next > n.At+l.burst {
			l.suppressed.Add(1)
			return
		}
		if l.whole.CompareAndSwap(whole, next) {
			break
		}
	}
	out := *n
	out.Suppressed = l.suppressed.Swap(0)
	select {
	case l.notes <- out:
	default:
		l.suppressed.Add(out.Suppressed + 1)
	}
}

// Suppressed is how many notes were not taken since the last one that was.
func (l *Log) Suppressed() uint64 { return l.suppressed.Load() }

// Run gives the notes to write, in order, until the context ends.
func (l *Log) Run(ctx context.Context, write func(Note)) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-l.notes:
			write(n)
		}
	}
}

// LogAttrs is a note for a structured log. port is the name of its port.
func (n Note) LogAttrs(port string) []slog.Attr {
	t, _ := tuple(n.Src.IP(), n.Dst.IP(), n.Service)
	return []slog.Attr{
		slog.String("rule", n.Rule), slog.String("action", n.Action.String()),
		slog.String("point", port+"/"+n.Point.Dir.String()), slog.String("flow", t.String()), slog.Uint64("suppressed", n.Suppressed),
	}
}
