package course

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
)

// maxSubmissions bounds a class.
const maxSubmissions = 2000

// mark is a row: one student's work on one lab.
type mark struct {
	Student   string         `json:"student"`
	Lab       string         `json:"lab"`
	Points    int            `json:"points"`
	Of        int            `json:"of"`
	Passed    bool           `json:"passed"`
	Undecided bool           `json:"undecided,omitempty"` // the machine was too busy to say: the points are none
	Hints     int            `json:"hint_points"`         // what hints cost that were asked for; the points are without them
	DrawnFor  string         `json:"drawn_for"`           // whose version of the lab was judged
	Error     string         `json:"error,omitempty"`     // why the work could not be judged at all
	Remarks   []string       `json:"remarks,omitempty"`   // on the cover sheet
	Results   []check.Result `json:"tasks"`
	Evidence  string         `json:"evidence"`                   // a folder
	Missing   []string       `json:"evidence_missing,omitempty"` // what was met and is not kept
}

// grading is one `lab grade`.
type grading struct {
	judges          Judges
	of, guests      string
	where, drawnBy  string
	jobs            int
	labs            map[string]*labfile.Lab // by name
	note            func(format string, args ...any)
	several         bool // labs
	done, submitted int
	mu              sync.Mutex
}

func gradeCommand(judges Judges) *cobra.Command {
	g := &grading{judges: judges, labs: map[string]*labfile.Lab{}}
	cmd := &cobra.Command{
		Use:   "grade FOLDER",
		Short: "Check many submissions, and write a row for each student and lab",
		Long: `Check every submission in a folder: each folder in it is a student's, and its name is the student's. It is a submission, or holds one for
each lab. The lab is deployed anew for each, with the parameters that were drawn for the student and the student's files. What was met on the way is
kept as evidence: frames, walks, receipts, commands.

Which lab they are of, whose parameters count and which hints were asked for is what sluice lab submit has put into them. The lab may also be
what FOLDER, or a folder below a student's, is called; --of overrides it, and is needed for a lab that is not built in. Where a submission does
not say whose parameters count and the lab has some, it is refused, or --drawn-by says whose.

-o csv and junit have a row for each student and lab; table, json and yaml are taken, too. Exit codes: 0 all passed, 1 something failed, or was
undecided as the machine was too busy, 2 bad input, 3 this machine lacks something.`,
		Example:     "  sluice lab grade handed-in -o csv > marks.csv\n  sluice lab grade handed-in --of ./my-lab --drawn-by folder",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{cli.MoreFormats: "junit csv"},
		RunE:        func(cmd *cobra.Command, args []string) error { return g.run(cmd, args[0]) },
	}
	cmd.Flags().StringVar(&g.of, "of", "", "the lab, built in or a folder: only submissions to it, and those that do not say")
	cmd.Flags().StringVar(&g.guests, "guests", labfile.KindAuto, "what guests are: qemu, netns or auto")
	commands.CompleteGuestsFlag(cmd)
	cmd.Flags().StringVar(&g.where, "evidence", "", "the folder for evidence (default: FOLDER-evidence)")
	cmd.Flags().StringVar(&g.drawnBy, "drawn-by", "", "whose parameters count where a submission does not say: folder (its name's) or nobody")
	cli.CompleteFlags(cmd, commands.CompleteLabFlag, "of")
	cli.CompleteFlag(cmd, "drawn-by", drawnByFolder, drawnByNobody)
	cmd.MarkFlagDirname("evidence")
	cmd.Flags().IntVar(&g.jobs, "jobs", 0, "how many are judged side by side (default: by the processors)")
	return cmd
}

func (g *grading) run(cmd *cobra.Command, folder string) error {
	g.note = func(f string, a ...any) { note(cmd, f, a...) }
	write, err := marksWriter(cmd)
	if err != nil {
		return err
	}
	if err := labfile.CheckKind(g.guests); err != nil {
		return err
	}
	if g.drawnBy != "" && g.drawnBy != drawnByFolder && g.drawnBy != drawnByNobody {
		return fault.Errorf(fault.BadInput, "--drawn-by %q: give folder or nobody", g.drawnBy)
	}
	list, err := g.list(folder)
	if err != nil {
		return err
	}
	if g.where == "" {
		g.where = filepath.Clean(folder) + "-evidence"
	}
	if err := apart(g.where, folder); err != nil {
		return err
	}
	marks, err := g.all(cmd.Context(), list)
	if err != nil {
		return err
	}
	if err := write(g.order(list), marks); err != nil {
		return err
	}
	for _, m := range marks {
		if !m.Passed {
			return &cli.ExitError{Code: int(fault.Failed)}
		}
	}
	return nil
}

// apart is an error for evidence among the submissions: it would take the place of what was handed in, and be taken for
// a student's.
func apart(where, folder string) error {
	if rel, err := filepath.Rel(running.RealPath(folder), running.RealPath(where)); err == nil && filepath.IsLocal(rel) {
		return fault.Errorf(fault.BadInput, "--evidence %s is among the submissions, whose files it would replace: give a folder outside of %s", where, folder)
	}
	return nil
}

// list gathers what is to be judged, and loads the labs.
func (g *grading) list(folder string) ([]handed, error) {
	students, err := submissions(folder)
	if err != nil {
		return nil, err
	}
	var of *labfile.Lab
	if g.of != "" {
		if of, err = labfile.Load(g.of); err != nil {
			return nil, err
		}
		g.labs[of.Name] = of
	}
	list, err := gather(folder, students, of)
	if err != nil {
		return nil, err
	}
	for _, h := range list {
		if h.lab == "" || g.labs[h.lab] != nil {
			continue
		}
		l, err := labfile.Load(h.lab)
		if err != nil {
			return nil, err
		}
		g.labs[h.lab] = l
	}
	for name, l := range g.labs {
		if g.judges[labs.BuiltinName(l.Ref)] == nil {
			if err := hasTask(l, ""); err != nil {
				return nil, err
			}
		}
		if g.of == "" {
			g.note("submissions to %s", name)
		}
	}
	g.several, g.submitted = len(g.labs) > 1, len(list)
	return list, nil
}

// order lists the labs in the order in which they come first.
func (g *grading) order(list []handed) (out []*labfile.Lab) {
	seen := map[string]bool{}
	for _, h := range list {
		if l := g.labs[h.lab]; l != nil && !seen[h.lab] {
			seen[h.lab] = true
			out = append(out, l)
		}
	}
	return out
}

// submissions are the folders in a folder, by name.
func submissions(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "open submissions: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	if len(out) == 0 || len(out) > maxSubmissions {
		return nil, fault.Errorf(fault.BadInput, "%s has %d folders with submissions; 1 to %d are taken", folder, len(out), maxSubmissions)
	}
	return out, nil
}

// all judges several submissions side by side, and those that were undecided once more, one by one. Only what the
// machine lacks ends it: a work that cannot be judged is a mark, too.
func (g *grading) all(whole context.Context, list []handed) ([]mark, error) {
	marks := make([]mark, len(list))
	var mu sync.Mutex
	var failed error
	ctx, stop := context.WithCancel(whole)
	defer stop()
	next := make(chan int)
	var all sync.WaitGroup
	for range min(len(list), g.sideBySide()) {
		all.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					continue
				}
				m, err := g.one(ctx, list[i])
				mu.Lock()
				if marks[i] = m; err != nil && failed == nil {
					failed = err
					stop() // whatever comes then failed because of that
				}
				mu.Unlock()
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	all.Wait()
	for i := range marks {
		if failed == nil && ctx.Err() == nil && marks[i].Undecided {
			g.note("%s was undecided: once more, alone", list[i].student)
			marks[i], failed = g.one(ctx, list[i])
		}
	}
	for i := range marks { // what a lab is worth that is judged by others, its other rows know
		for _, m := range marks {
			if m.Lab == marks[i].Lab {
				marks[i].Of = max(marks[i].Of, m.Of)
			}
		}
	}
	if whole.Err() != nil {
		const cut = "interrupted: %d of %d were judged, and no marks are written; what was met of those lies in %s"
		return nil, fault.Errorf(fault.Failed, cut, g.done, g.submitted, g.where)
	}
	return marks, failed
}

// sideBySide is how many labs are judged at once: VMs take a processor each to boot, namespaces mostly wait.
func (g *grading) sideBySide() int {
	switch {
	case g.jobs > 0:
		return g.jobs
	case g.guests == labfile.KindNetns:
		return min(runtime.NumCPU(), 8)
	}
	return max(1, runtime.NumCPU()/2)
}

// one judges one submission, writes the evidence and tells of it.
func (g *grading) one(ctx context.Context, h handed) (mark, error) {
	l := g.labs[h.lab]
	m := mark{Student: h.student, Lab: h.lab, Evidence: filepath.Join(g.where, h.student)}
	if g.several || l == nil {
		m.Evidence = filepath.Join(m.Evidence, cmp.Or(h.lab, "no-lab"))
	}
	var err error
	if h.fault != nil || l == nil {
		m, err = m.written(&evidence{}, h.fault)
	} else {
		s := &submission{ref: l.Ref, how: running.Options{Guests: g.guests}, work: labfile.Work{Folder: h.folder}, graded: h.student, drawnBy: g.drawnBy, judges: g.judges,
			note: func(string, ...any) {}} // what is done stands in the evidence
		m, err = s.mark(ctx, m)
		m.Remarks = s.remarks(len(l.Params) > 0)
	}
	if m.Of == 0 && l != nil {
		m.Of = pointsIn(l)
	}
	if err != nil { // it is no mark
		return m, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done++
	g.note("%d of %d: %s, %s: %s", min(g.done, g.submitted), g.submitted, fault.Clean(h.student), cmp.Or(h.lab, "no lab"), m.words())
	return m, err
}

func pointsIn(l *labfile.Lab) (n int) {
	for _, t := range l.Tasks {
		n += t.Points
	}
	return n
}

// mark judges the work and writes the evidence.
func (s *submission) mark(ctx context.Context, m mark) (mark, error) {
	_, report, met, err := s.judge(ctx)
	m.Points, m.Of, m.Passed, m.Results, m.Undecided, m.Hints = report.Points, max(m.Of, report.Of), report.Passed && err == nil, report.Results, report.Undecided, report.Hints
	m.DrawnFor = s.work.Student
	if ctx.Err() != nil || err != nil && fault.ClassOf(err) == fault.Lacks {
		return m, cmp.Or(err, context.Cause(ctx))
	}
	return m.written(met, err)
}

// written puts the evidence beside a mark. What a student has done wrong is bad input; whatever else has failed was not
// theirs.
func (m mark) written(met *evidence, err error) (mark, error) {
	if err != nil {
		m.Error, m.Points, m.Passed = err.Error(), 0, false
		m.Undecided = fault.ClassOf(err) != fault.BadInput
	}
	if m.Undecided {
		m.Points = 0
	}
	if err := met.write(m.Evidence, m); err != nil {
		return m, fault.Errorf(fault.Failed, "write the evidence of %s: %w", m.Student, errors.Unwrap(err))
	}
	return m, nil
}

// words are a mark in a line of progress.
func (m mark) words() string {
	_, why := m.faults()
	switch {
	case m.Undecided:
		return "undecided: " + fault.Clean(why)
	case m.Error != "":
		return "0 points: " + fault.Clean(why)
	}
	return fmt.Sprintf("%d of %s", m.Points, pointsOf(m.Of))
}

// faults are the tasks that have not passed, and why the first has not.
func (m mark) faults() (failed []string, why string) {
	lines := strings.Split(m.Error, "\n")
	if why = lines[0]; len(lines) > 1 {
		why += "; " + strings.TrimSpace(lines[len(lines)-1]) // what to do stands last
	}
	for _, r := range m.Results {
		if !r.Passed {
			failed = append(failed, r.ID)
			if why == "" {
				why = r.Reason
			}
		}
	}
	return failed, why
}
