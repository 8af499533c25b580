package labfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sluice/firewall"
	"sluice/firewall/document"
	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/vswitch"
)

// The bounds of a lab file. They keep a bad file from costing memory, and names of devices within 15 bytes.
const (
	maxFile     = 256 << 10 // bytes
	maxSegments = 64
	maxGuests   = 200
	maxVNICs    = 8 // of one guest
	maxServices = 8 // of one guest
)

// labFile is the name of the file that makes a folder a lab.
const labFile = "lab.yaml"

// Load reads and checks a lab: a built-in one by its name (fast-vs-slow), its number (03) or both (03-fast-vs-slow),
// else a folder. What is wrong with a file is told with its place; every error's class is fault.BadInput.
func Load(ref string) (*Lab, error) { return LoadWork(ref, Work{}) }

// LoadWork is Load for one student: with their parameters, and with their files laid over the lab's.
func LoadWork(ref string, w Work) (*Lab, error) {
	if b := labs.FindBuiltin(ref); b != nil {
		w = w.resolve(b.Files)
		l, err := loadFrom(b.Files, ref+"/"+labFile, w)
		return l.by(ref, w), err
	}
	info, err := os.Stat(ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		known := labs.BuiltinNames()
		if s := fault.Suggest(ref, known); s != "" {
			return nil, fault.Errorf(fault.BadInput, "no lab %q, and no such folder: did you mean %s?", ref, s)
		}
		return nil, fault.Errorf(fault.BadInput, "no lab %q: neither built in (%s) nor a folder", ref, strings.Join(known, ", "))
	case err != nil:
		return nil, fault.Errorf(fault.BadInput, "open lab: %w", err)
	case !info.IsDir():
		return nil, fault.Errorf(fault.BadInput, "%s is a file: give the folder that holds %s", ref, labFile)
	}
	dir, err := filepath.Abs(ref)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "open lab: %w", err)
	}
	w = w.resolve(os.DirFS(dir))
	l, err := loadFrom(os.DirFS(dir), filepath.Join(ref, labFile), w)
	return l.by(dir, w), err
}

// With is the same lab with a folder laid over it.
func (l *Lab) With(folder string) (*Lab, error) {
	return LoadWork(l.Ref, Work{Student: l.Work.Student, Folder: folder})
}

// by notes what a lab was loaded by; a lab that was not loaded stays nil.
func (l *Lab) by(ref string, w Work) *Lab {
	if l != nil {
		l.Ref, l.Work = ref, w
	}
	return l
}

func loadFrom(files fs.FS, shown string, w Work) (*Lab, error) {
	text, err := ReadBounded(files, labFile)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "read %s: %w", shown, err)
	}
	return parseLab(files, shown, text, w)
}

// ReadBounded reads a small file, and no more of it than may be: what it has grown to since it was looked at is not
// believed either.
func ReadBounded(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // a pipe would be waited for
		return nil, errors.New("not an ordinary file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%d bytes; at most %d are taken", info.Size(), maxFile)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(text) > maxFile {
		return nil, fmt.Errorf("more than %d bytes, which are taken", maxFile)
	}
	return text, err
}

// parseLab makes a Lab of a file's text: first what each key says, then what they say together.
func parseLab(files fs.FS, shown string, text []byte, w Work) (*Lab, error) {
	l := &labReader{
		reader: newReader(shown, text),
		lab:    &Lab{Files: files, Placement: firewall.Fast, Handover: vswitch.Carry, Kind: KindAuto, File: shown},
		places: map[string]*document.Node{}, unsure: map[string]bool{},
	}
	l.lab.Params = l.readParams(w.Student)
	if l.Faulty() {
		return nil, l.failure()
	}
	text, err := fill(shown, text, l.lab.Params)
	if err != nil {
		return nil, err
	}
	l.reader = newReader(shown, text)
	root := l.parse()
	if root == nil {
		return nil, l.failure()
	}
	if l.root(root); !l.Faulty() && w.Folder != "" {
		if err := l.takeWork(w.Folder); err != nil {
			return nil, err
		}
	}
	l.Apart(l.readPolicy)
	l.Apart(l.readSignatures)
	if err := l.failure(); err != nil {
		return nil, err
	}
	return l.lab, nil
}

// labReader fills a Lab from a file.
type labReader struct {
	*reader
	lab    *Lab
	unsure map[string]bool           // segments and guests in which something is wrong: nothing is compared with them
	places map[string]*document.Node // where each name, address and subnet was written, for messages about two of them
	policy *document.Node
	// signatures is the name of the signature file; nil where there is none
	signatures *document.Node
	folder     string // of the student's work; empty where there is none
}

func (l *labReader) root(n *document.Node) {
	var name, segments, guests, appliance, inspect, tasks *document.Node
	l.Fields(n, "the lab", map[string]func(*document.Node){
		"params":    func(*document.Node) {}, // read before
		"kind":      func(v *document.Node) { l.lab.Kind = l.oneOf(v, "kind", KindAuto, KindQEMU, KindNetns) },
		"student":   func(v *document.Node) { l.theirs(v) },
		"handout":   func(v *document.Node) { l.lab.Handout = l.words(v, "handout", maxTheirs) },
		"tasks":     func(v *document.Node) { tasks = v },
		"name":      func(v *document.Node) { name = v; l.lab.Name = l.name(v, "the lab's name") },
		"title":     func(v *document.Node) { l.lab.Title = l.word(v, "the title") },
		"segments":  func(v *document.Node) { segments = v },
		"guests":    func(v *document.Node) { guests = v },
		"appliance": func(v *document.Node) { appliance = v },
		"policy":    func(v *document.Node) { l.policy = v },
		"placement": func(v *document.Node) { l.placement(v) },
		"inspect":   func(v *document.Node) { inspect = v },
		"handover":  func(v *document.Node) { l.handover(v) },
	})
	misspelt := l.Failed() // then nothing is missing, probably
	missing := func(n, part *document.Node, format string, args ...any) {
		if part == nil && !misspelt {
			l.Apart(func() { l.fail(n, format, args...) })
		}
	}
	missing(n, name, "the lab has no name; add name: my-lab")
	missing(n, segments, "the lab has no segments; add segments: {lan: {subnet: %s}}", example(false))
	missing(n, l.policy, "the lab has no policy; add policy: policy.yaml")
	missing(n, guests, "the lab has no guests; add guests: {client: {segment: lan, address: 10.10.1.10}}")
	if segments == nil || guests == nil {
		l.policy = nil // it could name nobody
		return
	}
	l.Apart(func() { l.segments(segments) })
	l.Apart(func() { l.guests(guests) })
	if appliance != nil {
		l.Apart(func() { l.appliance(appliance) })
	}
	if inspect != nil {
		l.Apart(func() { l.inspect(inspect) })
		missing(inspect, appliance, "inspect needs an appliance, which looks; add appliance: {name: fw}")
	}
	if l.lab.NeedsAppliance() {
		missing(n, appliance, "placement %s needs an appliance; add appliance: {name: fw}", l.lab.Placement)
	}
	if l.lab.Theirs == nil {
		l.Apart(func() { l.lab.Theirs = l.policyFile() })
	}
	if tasks != nil {
		l.Apart(func() { l.tasks(tasks) })
	}
}

func (l *labReader) placement(n *document.Node) {
	p, err := firewall.ParsePlacement(l.word(n, "the placement"))
	if !l.Failed() && err != nil {
		l.fail(n, "%v; %s", err, didYouMean(l.word(n, "the placement")))
	}
	l.lab.Placement = p
}

// PlacementWords are what a lab file takes as its placement.
func PlacementWords() []string { return firewall.PlacementNames() }

// didYouMean is the remedy for a placement that there is not.
func didYouMean(written string) string {
	if s := fault.Suggest(written, PlacementWords()); s != "" {
		return "did you mean " + s + "?"
	}
	return ""
}

// NeedsAppliance says whether the lab's placement is one that an appliance serves.
func (l *Lab) NeedsAppliance() bool {
	return l.Placement.NeedsAppliance()
}

// takenName is taken for names. Two may not differ by capitals alone: guests know each other by name, and names of
// hosts are alike then (RFC 4343).
func (l *labReader) takenName(n *document.Node, name string) {
	l.takenAs(n, "the name", name, strings.ToLower(name))
}

// taken fails when a name or address was used before; else it remembers where it is.
func (l *labReader) taken(n *document.Node, what, value string) { l.takenAs(n, what, value, value) }

func (l *labReader) takenAs(n *document.Node, what, shown, value string) {
	if first, ok := l.places[value]; ok {
		l.fail(n, "%s %s is taken: it is at line %d, column %d already; choose another", what, shown, first.Line, first.Col)
		return
	}
	l.places[value] = n
}

// policyName is the file that the policy is in, relative to the lab's folder.
func (l *labReader) policyName() string {
	w := l.word(l.policy, "the policy")
	if !l.Failed() && !fs.ValidPath(w) {
		l.fail(l.policy, "the policy %q lies outside of the lab's folder; give a file in it", w)
	}
	return w
}

// policyFile is the policy's file as the student's, where it is a file of its own.
func (l *labReader) policyFile() []string {
	if !l.policy.Is(document.Word) {
		return nil
	}
	return []string{l.policyName()}
}

// beside names another file of the lab as the user would type it.
func (l *labReader) beside(name string) string { return path.Join(path.Dir(l.File), name) }
