package course

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/labfile"
)

// handed is one student's work on one lab. A student who has handed in nothing for a lab that others have is one, too,
// with a fault.
type handed struct {
	student string
	lab     string // by name; empty is not known
	folder  string
	empty   bool  // the student's folder holds nothing
	fault   error // why it cannot be judged
}

// The bounds of what a student's folder holds.
const (
	maxWorks = 64
	maxDepth = 3 // folders: STUDENT/my-work/LAB
)

// worksIn are the folders of a student that are submissions: the folder itself where it has a file of a student's, and
// each below it that has. None is empty.
func worksIn(dir string) []string {
	var out []string
	var look func(dir string, depth int)
	look = func(dir string, depth int) {
		entries, err := os.ReadDir(dir)
		if err != nil || depth > maxDepth || len(out) >= maxWorks {
			return
		}
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() && isYAML(e.Name()) }) {
			out = append(out, dir)
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") { // a link is no folder
				look(filepath.Join(dir, e.Name()), depth+1)
			}
		}
	}
	look(dir, 1)
	return out
}

func isYAML(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

// gather finds what each student has handed in for which lab: a row for each student and lab. of is the lab that is
// graded; nil is each that somebody names. A student may only name a lab that is built in: another one's scripts would
// run on this machine.
func gather(folder string, students []string, of *labfile.Lab) ([]handed, error) {
	outer := ""
	if abs, err := filepath.Abs(folder); err == nil {
		outer = labs.BuiltinName(filepath.Base(abs))
	}
	var all []handed
	names := map[string]bool{}
	for _, student := range students {
		own := filepath.Join(folder, student)
		works := worksIn(own)
		empty := works == nil
		if empty {
			works = []string{own}
		}
		for _, work := range works {
			h := handed{student: student, folder: work, empty: empty}
			h.lab, h.fault = labOf(work, work != own, of)
			switch {
			case h.lab == "" && h.fault == nil && outer != "" && of == nil:
				h.lab = outer
			case of != nil && h.lab == "":
				h.lab = of.Name
			}
			names[h.lab] = true
			all = append(all, h)
		}
	}
	delete(names, "")
	switch {
	case of != nil:
		names = map[string]bool{of.Name: true}
	case len(names) == 0:
		for _, h := range all {
			if h.fault != nil {
				return nil, fault.Errorf(fault.BadInput, "%s: %w", h.student, h.fault)
			}
		}
		return nil, fault.Errorf(fault.BadInput, "submissions of which lab? None of them says (sluice lab submit makes them say it), and %s is no lab's name: "+
			"sluice lab grade %s --of LAB", folder, folder)
	}
	return rows(all, students, names), nil
}

// rows makes a row for each student and lab, in the order of students, then of labs. What is of no known lab is of the
// only one there is, or a row of its own.
func rows(all []handed, students []string, names map[string]bool) (out []handed) {
	var list []string
	for _, name := range append(labs.BuiltinNames(), sorted(names)...) {
		if names[name] && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	for _, student := range students {
		theirs := slices.DeleteFunc(slices.Clone(all), func(h handed) bool { return h.student != student })
		for i := range theirs {
			if theirs[i].lab == "" && len(list) == 1 {
				theirs[i].lab = list[0]
			}
		}
		for _, lab := range list {
			out = append(out, oneOf(theirs, student, lab))
		}
		for _, h := range theirs {
			if h.lab == "" && !h.empty {
				if h.fault == nil {
					h.fault = fault.Errorf(fault.BadInput, "%s does not say of which lab it is: sluice lab submit makes it say so", h.folder)
				}
				out = append(out, h)
			}
		}
	}
	return out
}

// oneOf is a student's work on a lab: there must be one.
func oneOf(theirs []handed, student, lab string) handed {
	var found []handed
	for _, h := range theirs {
		if h.lab == lab {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		return handed{student: student, lab: lab, fault: fault.Errorf(fault.BadInput, "nothing was handed in for %s", lab)}
	case 1:
		return found[0]
	}
	var where []string
	for _, h := range found {
		where = append(where, filepath.Base(h.folder))
	}
	wrong := fault.Errorf(fault.BadInput, "%d folders are of lab %s (%s): leave one", len(found), lab, some(where))
	return handed{student: student, lab: lab, folder: found[0].folder, fault: wrong}
}

func sorted(names map[string]bool) (out []string) {
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// labOf says which lab a submission is of: by its cover sheet, by the name in its lab file, or else by what its folder
// is called, which below a student's own may be the lab's name.
func labOf(folder string, below bool, of *labfile.Lab) (lab string, wrong error) {
	cover, wrong := labfile.ReadCover(folder)
	said, where := "", ""
	if cover != nil && wrong == nil {
		said, where = cover.Lab, labfile.CoverFile
	}
	named, err := labfile.LabNamedBy(folder)
	if err == nil && named != "" {
		if b := labs.BuiltinName(named); b != "" {
			named = b
		}
		if said != "" && said != named {
			return said, fault.Errorf(fault.BadInput, "%s says lab %s, and lab.yaml says %s: they must agree", where, said, named)
		}
		said, where = named, "lab.yaml"
	}
	if said == "" && below {
		return labs.BuiltinName(filepath.Base(folder)), wrong
	}
	if said != "" && labs.BuiltinName(said) == "" && (of == nil || of.Name != said) {
		return "", fault.Errorf(fault.BadInput, "%s names the lab %.40q, which is not built in: say which lab is meant with --of LAB", where, said)
	}
	return said, wrong // what else cannot be read is told where it is judged
}

// some names the first few of many.
func some(who []string) string {
	const most = 3
	if len(who) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(who[:most], ", "), len(who)-most)
	}
	return strings.Join(who, ", ")
}
