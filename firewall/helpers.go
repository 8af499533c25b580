package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// Helper is a part of Linux's conntrack that reads what is said in a connection, and so knows of flows that are agreed
// on there. Only the appliance has it, where it routes.
type Helper struct {
	Name   string // in policies, and in the kernel
	Module string // of the kernel
	Proto  uint8  // of the connections that it reads, and of the flows that they announce
	Port   uint16 // where those connections go
}

// Helpers are all that a policy may name, in the order in which they are rendered.
var Helpers = []Helper{
	{"ftp", "nf_conntrack_ftp", frame.ProtoTCP, 21},
	{"tftp", "nf_conntrack_tftp", frame.ProtoUDP, 69},
}

func helperNames(all []Helper) []string {
	names := make([]string, len(all))
	for i, h := range all {
		names[i] = h.Name
	}
	return names
}

// helpers reads [ftp, tftp]. Their order says nothing, so it is always that of Helpers.
func (l *loader) helpers(n *document.Node) {
	l.p.helpersLine, l.p.helpersCol = n.Place()
	var named []string
	for _, item := range l.Items(n, "helpers") {
		name, ok := l.OneOf(item, "helper", helperNames(Helpers)...)
		switch {
		case !ok:
		case slices.Contains(named, name):
			l.Fail(item, "keep one of them", "helpers has %s twice", name)
		default:
			named = append(named, name)
		}
	}
	for _, h := range Helpers {
		if slices.Contains(named, h.Name) {
			l.p.Helpers = append(l.p.Helpers, h)
		}
	}
}

// HelperNames lists the policy's helpers for people; none is a word, too.
func (p *Policy) HelperNames() string {
	if len(p.Helpers) == 0 {
		return "none"
	}
	return strings.Join(helperNames(p.Helpers), ", ")
}

// ReaderOf is the one of some helpers that reads a flow; ok is false where none does.
func ReaderOf(t Tuple, among []Helper) (h Helper, ok bool) {
	for _, h := range among {
		if t.Proto == h.Proto && t.Dst.Port() == h.Port {
			return h, true
		}
	}
	return h, false
}

// anyPort is a source port as clients take them, where one must be said.
const anyPort = 49152

// Relates says whether a flow may be one that a helper knows of: the rules allow a connection that the helper reads
// between the same two ends. Whether it was announced there, only the appliance's conntrack knows.
func (p *Policy) Relates(t Tuple) (h Helper, ok bool) {
	for _, h := range p.Helpers {
		if t.Proto != h.Proto {
			continue
		}
		for _, ends := range [][2]netip.Addr{{t.Src.Addr(), t.Dst.Addr()}, {t.Dst.Addr(), t.Src.Addr()}} {
			control := Tuple{Proto: h.Proto, Src: netip.AddrPortFrom(ends[0], anyPort), Dst: netip.AddrPortFrom(ends[1], h.Port)}
			if p.Evaluate(control).Action == RuleAllow {
				return h, true
			}
		}
	}
	return h, false
}

// mayRelate asks Relates about a flow of the table.
func (p *Policy) mayRelate(e *entry) bool {
	if len(p.Helpers) == 0 {
		return false
	}
	first := e.flowID.first(e.swapped())
	_, is := p.Relates(Tuple{Proto: e.proto(), Src: netip.AddrPortFrom(first.src.IP(), 0), Dst: netip.AddrPortFrom(first.dst.IP(), 0)})
	return is
}

// unusedHelpers finds helpers that have nothing to read, because no rule allows what they read.
func (p *Policy) unusedHelpers() (found []Finding) {
	for _, h := range p.Helpers {
		service := classifier.ServiceNumber(h.Proto, h.Port, 0, 0)
		allows := func(r Rule) bool {
			return r.Action == RuleAllow && !r.Stateless && !r.match.IsEmpty() && r.match.Services.Contains(service)
		}
		if p.Default == RuleAllow || len(p.Exclude) > 0 || slices.ContainsFunc(p.Rules, allows) {
			continue
		}
		const nothing = "helper %s has nothing to read: no rule allows %s port %d, with a memory"
		detail := fmt.Sprintf(nothing, h.Name, protoName(h.Proto), h.Port)
		found = append(found, Finding{Kind: LintUnusedHelper, Line: p.helpersLine, Col: p.helpersCol, Detail: detail})
	}
	return found
}

// helperObjects declares the policy's helpers, and has them read each connection that begins at their port: since
// Linux 4.7 a helper reads only what it is told to. Conntrack (-200) has looked at a packet by then. What rules deny
// later is read by none: a helper's turn comes when a packet is about to leave.
func (w *nftWriter) helperObjects() {
	if len(w.p.Helpers) == 0 {
		return
	}
	for _, h := range w.p.Helpers {
		w.line("%s", h.NFT())
	}
	w.line("\tchain helpers {")
	w.line("\t\ttype filter hook prerouting priority mangle; policy accept;")
	for _, h := range w.p.Helpers {
		w.line("\t\tct state new %s dport %d ct helper set %q", protoName(h.Proto), h.Port, h.Name)
	}
	w.line("\t}")
}

// NFT declares the helper in a table of nftables. Who has a rendered script finds its helpers in it by this.
func (h Helper) NFT() string {
	return fmt.Sprintf("\tct helper %s {\n\t\ttype %q protocol %s\n\t}", h.Name, h.Name, protoName(h.Proto))
}
