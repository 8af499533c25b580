package labs

import (
	"io/fs"
	"path"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall"
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
func (l *labReader) readPolicy() error {
	switch n := l.policy.(type) {
	case nil:
		return errorAt(l.file, l.text, 1, 1, "the lab has no policy; add policy: policy.yaml")
	case *ast.MappingNode, *ast.MappingValueNode:
		l.lab.Policy = l.loadPolicy(l.file, l.inline(n))
		return l.err
	}
	name := l.policyName()
	if l.err != nil {
		return l.err
	}
	o, laid := l.lab.Files.(overlay)
	if !laid || !o.has(name) {
		l.lab.Policy = l.policyIn(l.lab.Files, name, l.beside(name))
		return l.err
	}
	l.lab.Own = l.policyIn(o.lab, name, l.beside(name))
	l.lab.Policy = l.policyIn(o.student, name, path.Join(l.folder, name))
	return l.err
}

// policyIn loads the policy from a file, which messages call shown.
func (l *labReader) policyIn(files fs.FS, name, shown string) *firewall.Policy {
	text, err := readBounded(files, name)
	if err != nil {
		l.fail(l.policy, "policy %s cannot be read: %v", name, err)
	}
	if l.err == nil {
		text, l.err = fill(shown, text, l.lab.Params)
	}
	return l.loadPolicy(shown, text)
}

func (l *labReader) loadPolicy(shown string, text []byte) *firewall.Policy {
	if l.err != nil {
		return nil
	}
	p, err := firewall.Load(shown, text, l.lab.Inventory())
	if err != nil {
		l.err = badFile(err)
	}
	return p
}

// inline cuts the policy out of the lab file. What lies before it becomes blank, not gone, so that the policy's own errors
// still name the right line and column.
func (l *labReader) inline(n ast.Node) []byte {
	first, ok := firstKey(n)
	if !ok {
		l.fail(n, "an inline policy is written as an indented block; or put it into a file of its own")
		return nil
	}
	var out strings.Builder
	at := first.GetToken().Position
	for i, line := range strings.SplitAfter(string(l.text), "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		blank := strings.TrimSpace(line) == "" || strings.TrimSpace(line)[0] == '#'
		switch {
		case i+1 < at.Line:
			out.WriteString("\n")
		case !blank && indent < at.Column-1:
			return []byte(out.String())
		default:
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// firstKey is the first key of a block mapping.
func firstKey(n ast.Node) (ast.Node, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return m.Values[0].Key, true
		}
	case *ast.MappingValueNode:
		return m.Key, true
	}
	return nil, false
}
