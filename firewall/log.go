package firewall

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"sluice/vnic/frame"
)

const (
	// logPerSecond is how many notes of one rule are taken in a second, and as many at once.
	logPerSecond = 10
	// logRoom is how many notes wait for their reader, and logEvery how often it looks. Together they bound the lines
	// of all rules: 128 in a second.
	logRoom  = 32
	logEvery = 250 * time.Millisecond
)

// Log carries what rules with log: true decide from the forwarding loops to whoever writes it down. Taking a note never
// waits, locks or allocates: what is more than its rule's rate, or than the reader keeps up with, is counted and not
// logged. A note has numbers and names of the policy's only, so no guest can put a line of its own into a log.
type Log struct {
	cells [logRoom]logCell
	write atomic.Uint64 // turn of the next note that is put
	read  uint64        // of the next one that is taken out; the reader's
}

// logCell holds one note. Its turn says whose it is: the writer's of the turn itself, or the reader's of one less.
type logCell struct {
	turn atomic.Uint64
	note Note
}

// Note is one decision of a rule.
type Note struct {
	At         int64 // as Context.Now
	Point      Point
	Rule       string
	Prefix     string // what the rule wants before its notes
	Action     RuleAction
	Src, Dst   frame.Addr
	Service    uint32 // what the rule saw of ports and types
	Suppressed uint64 // notes of the rule that were not taken since the last one that was
}

// LogRate is how many notes of a rule are taken in a time, and as many at once.
type LogRate struct {
	Notes int    `json:"notes"`
	Per   string `json:"per"` // second, minute or hour
}

var logUnits = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}

// limiter holds one rule to its rate.
type limiter struct {
	rate       LogRate
	whole      atomic.Int64 // when the budget is whole again, as Context.Now
	suppressed atomic.Uint64
}

// NewLog makes an empty log.
func NewLog() *Log {
	l := &Log{}
	for i := range l.cells {
		l.cells[i].turn.Store(uint64(i))
	}
	return l
}

// take notes a decision, unless there are too many.
func (l *Log) take(n Note, by *limiter) {
	if !by.allows(n.At) {
		by.suppressed.Add(1)
		return
	}
	n.Suppressed = by.suppressed.Swap(0)
	if !l.put(&n) {
		by.suppressed.Add(n.Suppressed + 1)
	}
}

// allows says whether one more note is within the rule's rate, and counts it.
func (m *limiter) allows(now int64) bool {
	each, burst := int64(time.Second)/logPerSecond, int64(time.Second)
	if m.rate.Notes > 0 {
		burst = int64(logUnits[m.rate.Per])
		each = burst / int64(m.rate.Notes)
	}
	for {
		whole := m.whole.Load()
		next := max(whole, now) + each
		if next > now+burst {
			return false
		}
		if m.whole.CompareAndSwap(whole, next) {
			return true
		}
	}
}

// put gives a note to the reader; false means that there is no room. Many may put at once: whoever moves write owns the
// cell.
func (l *Log) put(n *Note) bool {
	for {
		at := l.write.Load()
		c := &l.cells[at%logRoom]
		switch turn := c.turn.Load(); {
		case turn < at:
			return false // the reader has not been here since the last round
		case turn == at && l.write.CompareAndSwap(at, at+1):
			c.note = *n
			c.turn.Store(at + 1)
			return true
		}
	}
}

// Drain gives the notes that are there to write, in order. Only one goroutine may drain a log.
func (l *Log) Drain(write func(Note)) {
	for {
		c := &l.cells[l.read%logRoom]
		if c.turn.Load() != l.read+1 {
			return
		}
		n := c.note
		c.turn.Store(l.read + logRoom)
		l.read++
		write(n)
	}
}

// Run drains the log again and again, until the context ends.
func (l *Log) Run(ctx context.Context, write func(Note)) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.Drain(write)
		}
	}
}

// Flow is the flow that a note is about.
func (n Note) Flow() Tuple {
	t, _ := tuple(n.Src.IP(), n.Dst.IP(), n.Service)
	return t
}

// LogAttrs is a note for a structured log. port is the name of its port.
func (n Note) LogAttrs(port string) []slog.Attr {
	var out []slog.Attr
	if n.Prefix != "" {
		out = append(out, slog.String("prefix", n.Prefix))
	}
	return append(out,
		slog.String("rule", n.Rule), slog.String("action", n.Action.String()),
		slog.String("point", port+"/"+n.Point.Dir.String()), slog.String("flow", n.Flow().String()), slog.Uint64("suppressed", n.Suppressed))
}
