package labfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"sluice/firewall"
	"sluice/firewall/document"
	"sluice/firewall/fault"
	"sluice/labs/check"
)

// policyAs reads a comparison with a policy that lies in the lab's folder. A student's file never takes its place:
// tasks are read before work is laid over the lab.
func (l *labReader) policyAs(n *document.Node) *check.Policy {
	c := &check.Policy{Guests: map[netip.Addr]string{}}
	var goal choice
	wanted := func(how string) func(*document.Node) {
		return goal.key(func(v *document.Node) { c.How, c.Wanted = how, l.wantedPolicy(v) })
	}
	l.Fields(n, "policy", map[string]func(*document.Node){
		check.As:      wanted(check.As),
		check.AtLeast: wanted(check.AtLeast),
		check.AtMost:  wanted(check.AtMost),
		"ignore":      func(v *document.Node) { c.But = l.leftFree(v) },
		"fail":        func(v *document.Node) { l.oneOf(v, "fail", "same"); c.Fail = true },
		"ends":        func(v *document.Node) { l.oneOf(v, "ends", "source"); c.Ends = true },
		"rules":       func(v *document.Node) { is := l.condition(v, "rules"); c.Rules = &is },
	})
	alone := c.Ends && !c.Fail && c.But == nil && c.Rules == nil
	if !l.Failed() && goal != 1 && (goal > 0 || !alone) {
		l.fail(n, "policy needs one of as, at-least and at-most, as in {as: solution/policy.yaml}; or ends: source alone")
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
func (l *labReader) wantedPolicy(n *document.Node) *firewall.Policy {
	name := l.word(n, "the wanted policy")
	if !l.Failed() && !validFile(name) {
		l.fail(n, "the wanted policy %q lies outside of the lab's folder; give a file in it", name)
	}
	if l.Failed() {
		return nil
	}
	text, err := ReadBounded(l.lab.Files, name)
	if err != nil {
		l.fail(n, "the wanted policy %s cannot be read: %v", name, err)
		return nil
	}
	shown := l.beside(name)
	text, err = fill(shown, text, l.lab.Params)
	l.joinIn(err)
	return l.loadPolicy(shown, text)
}

// leftFree reads which flows may be decided in any way: a policy whose rules match them.
func (l *labReader) leftFree(n *document.Node) *firewall.Policy {
	var services, rules strings.Builder
	for i, v := range l.List(n, "ignore") {
		keys := map[string]string{}
		put := func(key string) func(*document.Node) {
			return func(v *document.Node) {
				word, _ := json.Marshal(l.bounded(v, key, maxWord)) // JSON is YAML
				keys[key] = string(word)
			}
		}
		known := map[string]func(*document.Node){}
		for _, key := range []string{"from", "to", "tcp", "udp", "icmp"} {
			known[key] = put(key)
		}
		l.Fields(v, "what is left free", known)
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
	if l.Failed() || rules.Len() == 0 {
		return nil
	}
	text := "default: drop\nrules:\n" + rules.String()
	if services.Len() > 0 {
		text = "services:\n" + services.String() + text
	}
	p, err := firewall.Load(path.Base(l.File), []byte(text), l.lab.Inventory())
	if err != nil {
		l.fail(n, "ignore: %s", firstFault(err))
	}
	return p
}

// firstFault is what is wrong and what to do about it, without a place: that is in a text that nobody has written.
func firstFault(err error) string {
	var e *fault.Fault
	if errors.As(err, &e) {
		return e.Msg + "; " + e.Do
	}
	return err.Error()
}
