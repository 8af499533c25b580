package labfile

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firewall/document"
	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/vswitch"
)

// Work says whose version of a lab is meant. The zero Work is the lab as it is.
type Work struct {
	Student string // whose parameters are drawn; empty is nobody's
	Folder  string // the student's files: a folder, or one within the lab's own (solution)
}

// answersFile is where a submission has its answers.
const answersFile = "answers.yaml"

// overlay is the lab's files with some of them replaced by the student's.
type overlay struct {
	lab, student fs.FS
	theirs       []string // which files may be the student's
}

// Open gives the student's file where there is one and it may be theirs, else the lab's.
func (o overlay) Open(name string) (fs.File, error) {
	if slices.Contains(o.theirs, name) {
		info, err := fs.Stat(o.student, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return o.lab.Open(name)
		case err == nil && !info.Mode().IsRegular(): // to open a pipe would wait for who never comes
			err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not an ordinary file")}
		}
		if err != nil {
			return nil, err
		}
		return o.student.Open(name)
	}
	return o.lab.Open(name)
}

// has says whether a file is the student's.
func (o overlay) has(name string) bool {
	_, err := fs.Stat(o.student, name)
	return slices.Contains(o.theirs, name) && err == nil
}

// resolve makes the path of a folder on disk independent of where the command runs. A folder within the lab goes first,
// and stays.
func (w Work) resolve(lab fs.FS) Work {
	if len(w.Folder) > 1 {
		w.Folder = strings.TrimSuffix(w.Folder, "/")
	}
	if inLab(lab, w.Folder) || w.Folder == "" {
		return w
	}
	if info, err := os.Stat(w.Folder); err == nil && info.IsDir() {
		if abs, err := filepath.Abs(w.Folder); err == nil {
			w.Folder = abs
		}
	}
	return w
}

// inLab says whether a folder is one of the lab's own: solution, but not ./solution.
func inLab(lab fs.FS, folder string) bool {
	info, err := fs.Stat(lab, folder)
	return folder != "." && err == nil && info.IsDir()
}

// Holds says whether a folder of work is one of the lab's own, such as its solution.
func (l *Lab) Holds(folder string) bool {
	return folder != "" && inLab(l.Files, strings.TrimSuffix(folder, "/"))
}

// ReadHandedIn reads one file of a submission: an ordinary one, of bounded size, to which no link leads out of the
// folder.
func ReadHandedIn(folder, name string) ([]byte, error) {
	root, err := openSubmission(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	text, err := ReadBounded(root.FS(), name)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "read %s: %w", filepath.Join(folder, name), err)
	}
	return text, nil
}

// openWork opens the folder of a student's work, as Work.resolve has left it: within the lab, or on disk.
func openWork(lab fs.FS, folder string) (fs.FS, error) {
	switch {
	case inLab(lab, folder):
		return fs.Sub(lab, folder)
	case !filepath.IsAbs(folder):
		return nil, fault.Errorf(fault.BadInput, "no folder %q, neither here nor in the lab", folder)
	}
	root, err := openSubmission(folder)
	if err != nil {
		return nil, err
	}
	return root.FS(), nil
}

// openSubmission opens a folder on disk. No link leads out of it.
func openSubmission(folder string) (*os.Root, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "open submission: %w", err)
	}
	return root, nil
}

// takeWork lays a student's files over the lab's. Of a lab file of theirs only the placement and the handover count: a
// student may move the firewall, but not the goal.
func (l *labReader) takeWork(folder string) error {
	student, err := openWork(l.lab.Files, folder)
	if err != nil {
		return err
	}
	theirs := slices.Concat(l.lab.Theirs, []string{answersFile, labFile})
	if err := misnamed(folder, student, theirs); err != nil {
		return err
	}
	if !slices.ContainsFunc(theirs, func(name string) bool { _, err := fs.Stat(student, name); return err == nil }) {
		return fault.Errorf(fault.BadInput, "%s holds none of a student's files: %s", folder, strings.Join(theirs, ", "))
	}
	if text, err := ReadBounded(student, labFile); err == nil {
		if err := l.takePlacement(folder+"/"+labFile, text); err != nil {
			return err
		}
	}
	l.folder = folder
	l.lab.Files = overlay{lab: l.lab.Files, student: student, theirs: slices.Concat(l.lab.Theirs, []string{answersFile})}
	return nil
}

// misnamed looks for a file that was meant to be one of the student's, and would be passed over in silence: policy.yml,
// anwsers.yaml.
func misnamed(folder string, student fs.FS, theirs []string) error {
	here, err := fs.ReadDir(student, ".")
	if err != nil {
		return fault.Errorf(fault.BadInput, "open submission: %w", err)
	}
	for _, e := range here {
		name := e.Name()
		if slices.Contains(theirs, name) {
			continue
		}
		for _, meant := range theirs {
			if _, err := fs.Stat(student, meant); errors.Is(err, fs.ErrNotExist) && nearlyNamed(name, meant) {
				return fault.Errorf(fault.BadInput, "%s has %s, which nobody reads, and no %s: rename it", folder, name, meant)
			}
		}
	}
	return nil
}

// nearlyNamed says whether a file was probably meant to have another name: capitals, a letter, or what stands behind
// the dot.
func nearlyNamed(name, meant string) bool {
	ext := path.Ext(name)
	if !slices.Contains([]string{"", ".yaml", ".yml", ".txt"}, strings.ToLower(ext)) {
		return false
	}
	const short = 4 // letters: such a name is like many others
	is, was := strings.ToLower(strings.TrimSuffix(name, ext)), strings.TrimSuffix(meant, path.Ext(meant))
	return is == was || len(was) >= short && fault.Suggest(is, []string{was}) != ""
}

// takePlacement reads where a student's lab file puts the firewall.
func (l *labReader) takePlacement(file string, text []byte) error {
	text = hole.ReplaceAll(text, []byte("0"))
	r := &labReader{reader: newReader(file, text), lab: &Lab{Placement: l.lab.Placement, Handover: l.lab.Handover}}
	if root := r.parse(); root != nil {
		for _, e := range r.Entries(root, "the lab") {
			switch {
			case e.Name == "placement":
				r.placement(e.Value)
			case e.Name == "handover":
				r.handover(e.Value)
			case !slices.Contains(labKeys, e.Name):
				r.Unknown(e, "a submission's lab file", "placement", "handover", "name")
			}
		}
	}
	if !r.Failed() && r.lab.NeedsAppliance() && l.lab.Appliance == nil {
		return fault.Errorf(fault.BadInput, "%s: placement %s needs an appliance, and the lab has none", file, r.lab.Placement)
	}
	l.lab.Placement, l.lab.Handover = r.lab.Placement, r.lab.Handover
	return r.failure()
}

// labKeys are those of a lab file. A student may hand in a whole one; all but the placement and the handover are passed
// over.
var labKeys = []string{"name", "title", "params", "kind", "student", "handout", "tasks", "segments", "guests", "appliance", "policy", "placement", "inspect", "handover"}

// LabNamedBy is the lab that a submission says it is of, by the name in its lab file; empty where it says none.
func LabNamedBy(folder string) (string, error) {
	root, err := openSubmission(folder)
	if err != nil {
		return "", err
	}
	defer root.Close()
	text, err := ReadBounded(root.FS(), labFile)
	if _, missing := root.Stat(labFile); errors.Is(missing, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.Errorf(fault.BadInput, "read %s: %w", filepath.Join(folder, labFile), err)
	}
	r := &labReader{reader: newReader(filepath.Join(folder, labFile), hole.ReplaceAll(text, []byte("0"))), lab: &Lab{}}
	if n := r.parse(); n != nil {
		for _, e := range r.Entries(n, "the lab") {
			if e.Name == "name" {
				r.lab.Name = r.bounded(e.Value, "the lab's name", maxWord)
			}
		}
	}
	return r.lab.Name, r.failure()
}

// Overlays are the folders of the lab that are laid over it: the solution and other right ways, what must not pass, and
// starts of tasks.
func (l *Lab) Overlays() []string {
	var out []string
	for _, pattern := range []string{"solution", "right-*", "wrong-*", "start/*"} {
		found, err := fs.Glob(l.Files, pattern)
		if err != nil {
			panic(err) // the patterns are right
		}
		out = append(out, found...)
	}
	return out
}

func (l *labReader) handover(n *document.Node) {
	l.lab.Handover = vswitch.Handover(l.oneOf(n, "handover", "carry", "keep", "cut"))
}

// The bounds of a student's answers.
const (
	MaxAnswers = 128
	MaxAnswer  = 1000 // bytes of each
)

// Answers are those in the student's folder, by name; a list has several words.
func (l *Lab) Answers() (map[string][]string, error) {
	text, err := ReadBounded(l.Files, answersFile)
	if err != nil {
		if _, missing := fs.Stat(l.Files, answersFile); errors.Is(missing, fs.ErrNotExist) {
			return map[string][]string{}, nil
		}
		return nil, fault.Errorf(fault.BadInput, "read %s: %w", answersFile, err)
	}
	if text, err = l.Fill(answersFile, text); err != nil {
		return nil, err
	}
	return readAnswers(answersFile, text, l.AnswerNames())
}

// AnswerNames are the answers that the lab's tasks ask for.
func (l *Lab) AnswerNames() (names []string) {
	for _, t := range l.Tasks {
		for _, c := range t.Checks {
			if a, ok := c.Kind.(*check.Answer); ok && !slices.Contains(names, a.Name) {
				names = append(names, a.Name)
			}
		}
	}
	return names
}

// readAnswers reads a mapping of names to words, or lists of words. A name that no task asks for is a mistake: nobody
// would look at it.
func readAnswers(file string, text []byte, known []string) (map[string][]string, error) {
	r := newReader(file, text)
	out := map[string][]string{}
	if root := r.parse(); root != nil {
		for _, e := range r.Entries(root, "the answers") {
			if !slices.Contains(known, e.Name) {
				r.Fail(e.Key, r.Meant(e.Name, "there are "+strings.Join(known, ", "), known), "no task asks for an answer %q", e.Name)
			}
			if e.Value.Is(document.List) {
				out[e.Name] = r.words(e.Value, "answer "+e.Name, MaxAnswers)
			} else {
				out[e.Name] = []string{r.bounded(e.Value, "answer "+e.Name, MaxAnswer)}
			}
		}
		if len(out) > MaxAnswers {
			r.fail(root, "%d answers; at most %d are taken", len(out), MaxAnswers)
		}
	}
	return out, r.failure()
}
