package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vswitch"
)

// scene is everything that one attempt at a task has to look at: the checks of one placement.
type scene struct {
	ctx       context.Context
	lab       Lab
	options   *Options
	answers   map[string][]string
	checks    []Check
	placement firewall.Placement // in which it is tried
	sights    map[Kind]int       // where a check's sights begin
	before    vswitch.Stats
	after     vswitch.Stats
	watched   vswitch.Watched
	tried     map[*Reach]tried
	ran       map[*Run]ran
	ownMoves  []uint64 // epochs of the changes that the runner has made itself
}

type tried struct {
	results []probe.Result
	err     error
}

type ran struct {
	out  Output
	took time.Duration
	err  error
}

// look does all that sends, between two looks at the counters and under a watch, and then judges every check.
func (s *scene) look() ([]Finding, error) {
	if gone, err := s.gone(); gone != "" || err != nil {
		return s.without(gone), err
	}
	if err := s.lab.Watch(s.ctx, s.placeSights()); err != nil {
		return nil, err
	}
	var err error
	if s.before, err = s.lab.Stats(s.ctx); err != nil {
		return nil, err
	}
	s.send()
	if s.after, err = s.lab.Stats(s.ctx); err != nil {
		return nil, err
	}
	if s.watched, err = s.lab.Watched(s.ctx); err != nil {
		return nil, err
	}
	var out []Finding
	for _, c := range s.checks {
		f := c.Kind.judge(s)
		f.Check, f.Line = c.Kind.String(), c.Line
		_, f.answer = c.Kind.(*Answer)
		if c.Placement != nil {
			f.Check += " in " + c.Placement.String()
		}
		if !f.Passed {
			f.Reason = s.where(c) + f.Reason
			if c.Placement == nil && !s.placement.Enforces() && wantsEnforcement(c.Kind) {
				f.Look = "sluice place"
			}
		}
		if c.ID != "" {
			f.Facts = append(f.Facts, c.ID+map[bool]string{true: "-passed", false: "-failed"}[f.Passed])
		}
		out = append(out, f)
	}
	return out, s.ctx.Err()
}

// gone is the first machine that a check looks at and that has ended: it has no vNIC now. Empty is none.
func (s *scene) gone() (string, error) {
	var wanted []string
	for _, c := range s.checks {
		switch k := c.Kind.(type) {
		case *Seen:
			wanted = append(wanted, guestOf(k.At))
		case *Run:
			if k.In != "" {
				wanted = append(wanted, k.In)
			}
		}
	}
	if len(wanted) == 0 {
		return "", nil
	}
	st, err := s.lab.Stats(s.ctx)
	if err != nil {
		return "", err
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(st.Ports, func(p vswitch.PortStats) bool { return guestOf(p.Name) == name }) {
			return name, nil
		}
	}
	return "", nil
}

// without is what is found where a machine has ended: nothing is tried, and no hint fits. Only the appliance's drills
// end one.
func (s *scene) without(gone string) []Finding {
	out := make([]Finding, len(s.checks))
	for i, c := range s.checks {
		out[i] = Finding{Check: c.Kind.String(), Line: c.Line, Reason: gone + " is not running", Look: "sluice appliance restart", final: true}
	}
	return out
}

// guestOf is whose a port or an insertion point is.
func guestOf(at string) string {
	guest, _, _ := strings.Cut(at, "/")
	return guest
}

// where says in which placement a check has failed, if that is not the lab's own, or if nobody can have enforced there.
func (s *scene) where(c Check) string {
	_, flow := c.Kind.(*Reach)
	switch c.Kind.(type) {
	case *Walk, *Seen:
		flow = true
	}
	switch {
	case c.Placement != nil:
		return "in " + c.Placement.String() + ": "
	case !flow:
		return ""
	case !s.placement.Enforces() && wantsEnforcement(c.Kind):
		return "in placement off nobody enforces: "
	case s.options.Own != nil && *s.options.Own != s.placement:
		return "in placement " + s.placement.String() + ": "
	}
	return ""
}

// wantsEnforcement says whether a check can only hold where somebody enforces the policy.
func wantsEnforcement(k Kind) bool {
	switch k := k.(type) {
	case *Reach:
		return k.Expect == Dropped || k.Expect == Rejected
	case *Walk:
		return k.Verdict == "drop" || k.Verdict == "reject" || k.Rule != ""
	case *Seen:
		return k.Max != nil
	}
	return false
}

// placeSights gathers what has to be watched, and remembers whose each is.
func (s *scene) placeSights() (all []vswitch.Sight) {
	s.sights = map[Kind]int{}
	for _, c := range s.checks {
		s.sights[c.Kind] = len(all)
		switch k := c.Kind.(type) {
		case *Reach:
			all = append(all, k.sights()...)
		case *Seen:
			all = append(all, k.sight(k.At))
		}
	}
	return all
}

// seenBy is what a check's sights have counted, from its first one on.
func (s *scene) seenBy(k Kind) []vswitch.Seen { return s.watched.Seen[s.sights[k]:] }

// send tries all reach checks at once, in one call a guest and deadline; then it runs the commands, one by one.
func (s *scene) send() {
	s.tried, s.ran = map[*Reach]tried{}, map[*Run]ran{}
	type batch struct {
		guest  string
		within time.Duration
	}
	batches := map[batch][]*Reach{}
	for _, c := range s.checks {
		if r, ok := c.Kind.(*Reach); ok {
			b := batch{r.From.Name, r.Within}
			batches[b] = append(batches[b], r)
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for b, reaches := range batches {
		all.Go(func() {
			var targets []probe.Target
			for _, r := range reaches {
				targets = append(targets, r.Targets()...)
			}
			results, err := s.lab.Probe(s.ctx, b.guest, targets, b.within)
			if err == nil && len(results) != len(targets) {
				err = fmt.Errorf("%d of %d attempts came back", len(results), len(targets))
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range reaches {
				t := tried{err: err}
				if n := len(r.Targets()); err == nil {
					t.results, results = results[:n], results[n:]
				}
				s.tried[r] = t
			}
		})
	}
	all.Wait()
	for _, c := range s.checks {
		if r, ok := c.Kind.(*Run); ok {
			begun := time.Now()
			out, err := r.run(s.ctx, s.lab)
			s.ran[r] = ran{out, time.Since(begun), err}
		}
	}
}

// receipts are those of the student's changes that a check means, oldest first; in a submission, of one that the runner
// makes.
func (s *scene) receipts(c *Receipt) (out []vswitch.Receipt, err error) {
	now, history, err := s.lab.Placement(s.ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range history {
		if c.fits(r) && !slices.Contains(s.options.OwnMoves, r.Epoch) && !slices.Contains(s.ownMoves, r.Epoch) {
			out = append(out, r)
		}
	}
	if len(out) > 0 || !s.options.Submission {
		return out, nil
	}
	for range c.Changes {
		r, err := s.change(c, now)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// change makes the change that a receipt check is about, under its load, and leaves the placement as it was.
func (s *scene) change(c *Receipt, now firewall.Placement) (r vswitch.Receipt, err error) {
	from, to := now, now
	if c.From != nil {
		from = *c.From
	}
	if c.To != nil {
		to = *c.To
	}
	defer func() { err = errors.Join(err, s.move(now)) }()
	if err := s.move(from); err != nil {
		return r, err
	}
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	if c.Load != nil {
		if err := s.load(ctx, *c.Load); err != nil {
			return r, err
		}
	}
	r, err = s.lab.Place(s.ctx, to, vswitch.PlaceOptions{Handover: vswitch.Handover(c.Handover)})
	s.ownMoves = append(s.ownMoves, r.Epoch)
	return r, err
}

// loadBefore is how long the load runs before the change, so that its flow is known. loadFor is how long it would run.
const (
	loadBefore = 700 * time.Millisecond
	loadFor    = "10s"
)

// load starts a stream in a guest; it ends with ctx.
func (s *scene) load(ctx context.Context, f Flow) error {
	to := probe.Target{}
	for _, t := range (&Reach{Flow: f}).Targets() {
		to = t
		break
	}
	address := fmt.Sprintf("%s:%d", to.Addr, f.Port)
	if to.Addr.Is6() {
		address = fmt.Sprintf("[%s]:%d", to.Addr, f.Port)
	}
	argv := []string{"sluice", "stream", "chat", address, "--for", loadFor}
	if f.Proto == "udp" {
		argv = []string{"sluice", "stream", "send", address, "--count", "20000"}
	}
	ended := make(chan error, 1)
	go func() {
		out, err := s.lab.Exec(ctx, f.From.Name, argv)
		if err == nil && out.Code != 0 {
			err = fmt.Errorf("the load %s ended: %s", f, lastLine(out))
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(loadBefore):
		return nil
	}
}

// move changes the placement, where it is another.
func (s *scene) move(to firewall.Placement) error {
	now, _, err := s.lab.Placement(s.ctx)
	if err != nil || now == to {
		return err
	}
	r, err := s.lab.Place(s.ctx, to, vswitch.PlaceOptions{})
	s.ownMoves = append(s.ownMoves, r.Epoch)
	return err
}
