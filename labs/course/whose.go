package course

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sluice/labs"
	"sluice/vswitch/control"
)

// labOf says which lab submissions are of: what the folder that holds them is called, and what they say themselves, must agree. A student
// may only name a lab that is built in: another one's scripts would run on this machine.
func labOf(folder string, students []string) (string, error) {
	said := map[string][]string{} // by lab: who says so
	if abs, err := filepath.Abs(folder); err == nil {
		if name := labs.BuiltinName(filepath.Base(abs)); name != "" {
			said[name] = append(said[name], "the folder's name")
		}
	}
	for _, s := range students {
		named, err := labs.LabNamedBy(filepath.Join(folder, s))
		if err != nil || named == "" {
			continue // what cannot be read is told where it is judged
		}
		name := labs.BuiltinName(named)
		if name == "" {
			return "", control.Errorf(control.BadInput, "%s names the lab %.40q, which is not built in: say which lab is meant with --of LAB", s, named)
		}
		said[name] = append(said[name], s)
	}
	if len(said) == 1 {
		for name := range said {
			return name, nil
		}
	}
	if len(said) == 0 {
		return "", control.Errorf(control.BadInput, "submissions of which lab? None of them says (sluice lab submit makes them say it), and %s is no lab's name: "+
			"sluice lab grade %s --of LAB", folder, folder)
	}
	var words []string
	for name, who := range said {
		words = append(words, fmt.Sprintf("%s (%s)", name, some(who)))
	}
	slices.Sort(words)
	return "", control.Errorf(control.BadInput, "submissions of several labs: %s; grade one lab at a time, or say which with --of LAB", strings.Join(words, ", "))
}

// some names the first few of many.
func some(who []string) string {
	const most = 3
	if len(who) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(who[:most], ", "), len(who)-most)
	}
	return strings.Join(who, ", ")
}
