package labfile

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"sluice/firewall"
	"sluice/firewall/document"
	"sluice/firewall/fault"
)

// InventoryOf is what a policy may refer to in a lab that need not run, and the lab's own policy.
func InventoryOf(ref string) (*firewall.Inventory, *firewall.Policy, error) {
	l, err := Load(ref)
	if err != nil {
		return nil, nil, err
	}
	return l.Inventory(), l.Policy, nil
}

// readPolicy loads the policy against the lab's own nouns. It comes last: a rule may name any guest.
func (l *labReader) readPolicy() {
	if l.policy == nil {
		return // which is told already
	}
	if l.policy.Is(document.Map) {
		l.lab.Policy = l.loadPolicy(l.File, l.inline(l.policy))
		return
	}
	name := l.policyName()
	if l.Failed() {
		return
	}
	o, laid := l.lab.Files.(overlay)
	if !laid || !o.has(name) {
		l.lab.Policy = l.policyIn(l.lab.Files, name, l.beside(name))
		return
	}
	l.lab.Own = l.policyIn(o.lab, name, l.beside(name))
	l.lab.Policy = l.policyIn(o.student, name, path.Join(l.folder, name))
}

// policyIn loads the policy from a file, which messages call shown.
func (l *labReader) policyIn(files fs.FS, name, shown string) *firewall.Policy {
	text, err := ReadBounded(files, name)
	if err != nil {
		l.fail(l.policy, "policy %s cannot be read: %v", name, err)
		return nil
	}
	text, err = fill(shown, text, l.lab.Params)
	l.joinIn(err)
	return l.loadPolicy(shown, text)
}

func (l *labReader) loadPolicy(shown string, text []byte) *firewall.Policy {
	if l.Failed() {
		return nil
	}
	p, err := firewall.Load(shown, text, l.lab.Inventory())
	l.joinIn(err)
	return p
}

// joinIn takes over what is wrong in another file of the lab.
func (l *labReader) joinIn(err error) {
	var errs fault.List
	if errors.As(err, &errs) {
		l.Join(errs)
	}
}

// inline cuts the policy out of the lab file. What lies before it becomes blank, not gone, so that the policy's own
// errors still name the right line and column.
func (l *labReader) inline(n *document.Node) []byte {
	if n.Flow {
		l.fail(n, "an inline policy is written as an indented block; or put it into a file of its own")
		return nil
	}
	var out strings.Builder
	for i, line := range strings.SplitAfter(string(l.text), "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		blank := strings.TrimSpace(line) == "" || strings.TrimSpace(line)[0] == '#'
		switch {
		case i+1 < n.Line:
			out.WriteString("\n")
		case !blank && indent < n.Col-1:
			return []byte(out.String())
		default:
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}
