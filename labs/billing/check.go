package billing

import (
	"fmt"
	"io"
	"io/fs"
)

// Result is what became of one task.
type Result struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Passed bool   `json:"passed"`
	Points int    `json:"points"`
	Of     int    `json:"of"`
	Reason string `json:"reason"`         // what was found
	Look   string `json:"look,omitempty"` // where to look, if it failed
}

// Report is what became of an answer.
type Report struct {
	Lab    string   `json:"lab"`
	Answer string   `json:"answers"`
	Passed bool     `json:"passed"`
	Points int      `json:"points"`
	Of     int      `json:"of"`
	Tasks  []Result `json:"tasks"`
}

// Check checks an answer. What is right is worked out here, from the tasks' scenarios.
func (t *Tasks) Check(a *Answer) Report {
	r := Report{Lab: t.Name, Answer: a.File, Passed: true}
	for _, task := range t.List {
		passed, reason := kinds[task.Kind].check(task, a)
		res := Result{ID: task.ID, Title: task.Title, Passed: passed, Of: task.Points, Reason: reason}
		if passed {
			res.Points = task.Points
		} else {
			res.Look = task.Look
		}
		r.Tasks = append(r.Tasks, res)
		r.Points, r.Of = r.Points+res.Points, r.Of+res.Of
		r.Passed = r.Passed && passed
	}
	return r
}

func (r Report) failed() (n int) {
	for _, t := range r.Tasks {
		if !t.Passed {
			n++
		}
	}
	return n
}

func (r Report) write(w io.Writer) {
	width := 0
	for _, t := range r.Tasks {
		width = max(width, len(t.ID))
	}
	for _, t := range r.Tasks {
		word := "PASS"
		if !t.Passed {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s  %-*s  %7s  %s\n", word, width, t.ID, fmt.Sprintf("%d/%d", t.Points, t.Of), t.Reason)
		if t.Look != "" {
			fmt.Fprintf(w, "      look: %s\n", t.Look)
		}
	}
	fmt.Fprintf(w, "%d of %d points\n", r.Points, r.Of)
}

// CheckAnswers checks answers by the tasks in a lab's folder, whoever wrote them and wherever they lie: file is for
// messages.
func CheckAnswers(lab fs.FS, file string, text []byte) (Report, error) {
	a, err := parseAnswer(file, text)
	if err != nil {
		return Report{}, err
	}
	tasks, err := readBounded(lab, tasksFile)
	if err != nil {
		return Report{}, fmt.Errorf("read %s: %w", tasksFile, err)
	}
	t, err := parseTasks(tasksFile, tasks, lab)
	if err != nil {
		return Report{}, err
	}
	return t.Check(a), nil
}
