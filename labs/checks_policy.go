package labs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall"
	"sluice/labs/check"
)

// policyAs reads a comparison with a policy that lies in the lab's folder. A student's file never takes its place: tasks are read before
// work is laid over the lab.
func (l *labReader) policyAs(n ast.Node) *check.Policy {
	c := &check.Policy{Guests: map[netip.Addr]string{}}
	said := 0
	wanted := func(how string) func(ast.Node) {
		return func(v ast.Node) { said++; c.How, c.Wanted = how, l.wantedPolicy(v) }
	}
	l.fields(n, "policy", map[string]func(ast.Node){
		check.As:      wanted(check.As),
		check.AtLeast: wanted(check.AtLeast),
		check.AtMost:  wanted(check.AtMost),
		"ignore":      func(v ast.Node) { c.But = l.leftFree(v) },
		"fail":        func(v ast.Node) { l.oneOf(v, "fail", "same"); c.Fail = true },
		"rules":       func(v ast.Node) { is := l.condition(v, "rules"); c.Rules = &is },
	})
	if l.err == nil && said != 1 {
		l.fail(n, "policy needs one of as, at-least and at-most; as in {as: solution/policy.yaml}")
	}
	for _, g := range l.lab.Guests {
		for _, v := range g.VNICs {
			for _, a := range v.Addrs() {
				c.Guests[a] = g.Name
			}
		}
	}
	return c
}

// wantedPolicy reads the policy that another one is compared with.
func (l *labReader) wantedPolicy(n ast.Node) *firewall.Policy {
	name := l.word(n, "the wanted policy")
	if l.err == nil && !validFile(name) {
		l.fail(n, "the wanted policy %q lies outside of the lab's folder; give a file in it", name)
	}
	if l.err != nil {
		return nil
	}
	text, err := readBounded(l.lab.Files, name)
	if err != nil {
		l.fail(n, "the wanted policy %s cannot be read: %v", name, err)
		return nil
	}
	shown := l.beside(name)
	if text, err = fill(shown, text, l.lab.Params); err != nil {
		l.err = err
		return nil
	}
	return l.loadPolicy(shown, text)
}

// leftFree reads which flows may be decided in any way: a policy whose rules match them.
func (l *labReader) leftFree(n ast.Node) *firewall.Policy {
	var services, rules strings.Builder
	for i, v := range l.items(n, "ignore") {
		keys := map[string]string{}
		put := func(key string) func(ast.Node) {
			return func(v ast.Node) {
				word, _ := json.Marshal(l.bounded(v, key, maxWord)) // JSON is YAML
				keys[key] = string(word)
			}
		}
		known := map[string]func(ast.Node){}
		for _, key := range []string{"from", "to", "tcp", "udp", "icmp"} {
			known[key] = put(key)
		}
		l.fields(v, "what is left free", known)
		rule, named := fmt.Sprintf("name: free%d, action: allow", i), []string{}
		for _, key := range []string{"from", "to", "tcp", "udp", "icmp"} {
			value, there := keys[key]
			switch {
			case !there:
			case key == "from" || key == "to":
				rule += fmt.Sprintf(", %s: %s", key, value)
			default:
				fmt.Fprintf(&services, "  s%d%s: {%s: %s}\n", i, key, key, value)
				named = append(named, fmt.Sprintf("s%d%s", i, key))
			}
		}
		if len(named) > 0 {
			rule += ", service: [" + strings.Join(named, ", ") + "]"
		}
		fmt.Fprintf(&rules, "  - {%s}\n", rule)
	}
	if l.err != nil || rules.Len() == 0 {
		return nil
	}
	text := "default: drop\nrules:\n" + rules.String()
	if services.Len() > 0 {
		text = "services:\n" + services.String() + text
	}
	p, err := firewall.Load(path.Base(l.file), []byte(text), l.lab.Inventory())
	if err != nil {
		l.fail(n, "ignore: %s", firstFault(err))
	}
	return p
}

// firstFault is what is wrong and what to do about it, without a place: that is in a text that nobody has written.
func firstFault(err error) string {
	var e *firewall.Error
	if errors.As(err, &e) {
		return e.Msg + "; " + e.Do
	}
	return err.Error()
}
