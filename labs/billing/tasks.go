package billing

import (
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"
)

// TasksSchema is the JSON schema of tasks, for editors.
//
//go:embed schema/tasks.schema.json
var TasksSchema []byte

// Tasks is what answers are checked against. No figure stands in it: what is right is worked out from its scenarios.
type Tasks struct {
	File string
	Name string
	List []Task
}

// Task is one thing to answer.
type Task struct {
	ID       string
	Title    string
	Points   int
	Kind     string // one of the keys of kinds
	Scenario *Scenario
	Order    Order // the one that answers are compared with; nil for the kind order, which finds the best
	Look     string
}

const (
	maxTasks  = 20
	maxPoints = 100
)

// LoadTasks reads and checks a task file and the scenarios that it names, which lie in its folder.
func LoadTasks(path string) (*Tasks, error) {
	text, shown, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseTasks(shown, text, os.DirFS(filepath.Dir(path)))
}

func parseTasks(file string, text []byte, beside fs.FS) (*Tasks, error) {
	t := &Tasks{File: file}
	l := &taskReader{tasks: t, beside: beside, scenarios: map[string]*Scenario{}}
	err := read(file, text, "a task file", func(r *reader, n *yaml.Node) {
		l.reader = r
		r.fields(n, "the task file", map[string]func(*yaml.Node){
			"name":  func(v *yaml.Node) { t.Name = r.name(v, "the name") },
			"tasks": l.list,
		}, "name", "tasks")
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

type taskReader struct {
	*reader
	tasks     *Tasks
	beside    fs.FS
	scenarios map[string]*Scenario
}

func (l *taskReader) list(n *yaml.Node) {
	seen := map[string]bool{}
	for _, v := range l.items(n, "tasks", 1, maxTasks) {
		var t Task
		l.fields(v, "a task", map[string]func(*yaml.Node){
			"id":       func(v *yaml.Node) { t.ID = l.name(v, "the task's id") },
			"title":    func(v *yaml.Node) { t.Title = l.text(v, "the title") },
			"points":   func(v *yaml.Node) { t.Points = l.number(v, "points", 1, maxPoints) },
			"check":    func(v *yaml.Node) { t.Kind = l.oneOf(v, "check", kindNames...) },
			"scenario": func(v *yaml.Node) { t.Scenario = l.scenario(v) },
			"order":    func(v *yaml.Node) { t.Order = l.order(v) },
			"look":     func(v *yaml.Node) { t.Look = l.text(v, "look") },
		}, "id", "title", "points", "check", "scenario", "look")
		if seen[t.ID] {
			l.fail(v, "give each task an id of its own", "there is a task %s above", t.ID)
		}
		if l.err == nil && (t.Order == nil) != (t.Kind == kindOrder) {
			l.fail(v, "add order, or leave it out", "a task has an order unless it checks the student's")
		}
		if l.err == nil {
			if fault := kinds[t.Kind].fits(t); fault != "" {
				l.fail(v, "choose another scenario or order", "%s", fault)
			}
		}
		if l.err != nil {
			return
		}
		seen[t.ID] = true
		l.tasks.List = append(l.tasks.List, t)
	}
}

// scenario reads a file in the folder of the tasks.
func (l *taskReader) scenario(n *yaml.Node) *Scenario {
	name := l.word(n, "the scenario")
	if s := l.scenarios[name]; s != nil || l.err != nil {
		return s
	}
	if !fs.ValidPath(name) {
		l.fail(n, "give a file in it", "scenario %q lies outside of the tasks' folder", name)
		return nil
	}
	text, err := readBounded(l.beside, name)
	if err != nil {
		l.fail(n, "give a scenario file in the tasks' folder", "read scenario %s: %v", name, err)
		return nil
	}
	s, err := Parse(filepath.Join(filepath.Dir(l.file), name), text)
	if err != nil {
		l.err = fmt.Errorf("%s names a bad scenario:\n%w", l.file, err)
		return nil
	}
	l.scenarios[name] = s
	return s
}

func readBounded(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1)) // what is longer is refused when it is parsed
}
