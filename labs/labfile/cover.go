package labfile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firewall/document"
	"sluice/firewall/fault"
)

// Cover is the cover sheet of a submission: what whoever grades it has to know beside the work. `sluice lab submit`
// writes it.
type Cover struct {
	Lab     string
	Student string            // whose version of the lab it is; empty is nobody's
	Params  map[string]string // as drawn for the student
	Hints   []CoverHint       // that were asked for, in the lab's order
	Edited  bool              // it is not as it was written
}

// CoverHint is a hint that was asked for.
type CoverHint struct {
	Task string
	Hint int // its place in the task's list, from 0
	Cost int // points
}

// CoverFile is the name of the cover sheet in a submission.
const CoverFile = "submission.yaml"

// ReadCover reads the cover sheet of a folder; nil where there is none.
func ReadCover(folder string) (*Cover, error) {
	root, err := openSubmission(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.Lstat(CoverFile); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	shown := filepath.Join(folder, CoverFile)
	text, err := ReadBounded(root.FS(), CoverFile)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "read %s: %w", shown, err)
	}
	return parseCover(shown, text)
}

func parseCover(shown string, text []byte) (*Cover, error) {
	r := newReader(shown, text)
	c, seal := &Cover{Params: map[string]string{}}, ""
	if n := r.parse(); n != nil {
		r.Fields(n, "the cover sheet", map[string]func(*document.Node){
			"lab":     func(v *document.Node) { c.Lab = r.name(v, "the lab's name") },
			"student": func(v *document.Node) { c.Student = r.bounded(v, "the student", maxWord) },
			"params": func(v *document.Node) {
				for _, e := range r.Entries(v, "params") {
					c.Params[e.Name] = r.bounded(e.Value, "param "+e.Name, maxWord)
				}
			},
			"hints": func(v *document.Node) { c.Hints = r.coverHints(v) },
			"seal":  func(v *document.Node) { seal = r.bounded(v, "the seal", maxWord) },
		})
		if !r.Failed() && c.Lab == "" {
			r.fail(n, "the cover sheet names no lab; have it written anew by sluice lab submit")
		}
	}
	c.Edited = seal != c.seal()
	return c, r.failure()
}

func (r *reader) coverHints(n *document.Node) (out []CoverHint) {
	for _, v := range r.List(n, "hints") {
		var h CoverHint
		r.Fields(v, "a hint", map[string]func(*document.Node){
			"task": func(v *document.Node) { h.Task = r.name(v, "the task") },
			"hint": func(v *document.Node) { h.Hint = r.number(v, "hint", 0, maxHints) },
			"cost": func(v *document.Node) { h.Cost = r.number(v, "cost", 0, 1000) },
		})
		out = append(out, h)
		if len(out) > maxTasks*maxHints {
			r.fail(v, "more than %d hints; have it written anew by sluice lab submit", maxTasks*maxHints)
		}
		if r.Failed() {
			return nil
		}
	}
	return out
}

// body is the sheet without its seal. Values are JSON, which is YAML.
func (c *Cover) body() string {
	quote := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	var b strings.Builder
	fmt.Fprintf(&b, "lab: %s\nstudent: %s\n", c.Lab, quote(c.Student))
	if len(c.Params) > 0 {
		b.WriteString("params:\n")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		fmt.Fprintf(&b, "  %s: %s\n", name, quote(c.Params[name]))
	}
	if len(c.Hints) > 0 {
		b.WriteString("hints:\n")
	}
	for _, h := range c.Hints {
		fmt.Fprintf(&b, "  - {task: %s, hint: %d, cost: %d}\n", h.Task, h.Hint, h.Cost)
	}
	return b.String()
}

// seal tells a sheet that was changed by hand. It keeps nobody out who reads this line: what a student says of
// themselves stays their word.
func (c *Cover) seal() string {
	m := hmac.New(sha256.New, []byte("sluice submission"))
	m.Write([]byte(c.body()))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// Text is the sheet as a file.
func (c *Cover) Text() []byte {
	return fmt.Appendf(nil, "# For who grades, from sluice lab submit: whose version of the lab it is, and which hints were asked for. An edit is seen.\n%sseal: %s\n", c.body(), c.seal())
}

// Fits says what keeps a cover sheet from being one of this lab: its name, or parameters that are not those of its
// student. A student who writes another name there gets that one's parameters, and whoever grades sees the name.
func (c *Cover) Fits(l *Lab, name string) error {
	if c.Lab != name {
		return fault.Errorf(fault.BadInput, "%s says that it is of lab %s, not of %s", CoverFile, c.Lab, name)
	}
	for _, p := range slices.Sorted(maps.Keys(l.Params)) {
		if c.Params[p] != l.Params[p] {
			return fault.Errorf(fault.BadInput, "%s says that %s was %q for %s, and in this lab it is %q: the lab was another, or the line was changed; let it be submitted anew",
				CoverFile, p, c.Params[p], OrNobody(c.Student), l.Params[p])
		}
	}
	return nil
}

// OrNobody is a student in a message; nobody where a lab is nobody's.
func OrNobody(student string) string {
	if student == "" {
		return "nobody"
	}
	return student
}

// Bought are the hints that were asked for, by task.
func (c *Cover) Bought() map[string][]int {
	out := map[string][]int{}
	if c != nil {
		for _, h := range c.Hints {
			out[h.Task] = append(out[h.Task], h.Hint)
		}
	}
	return out
}
