package firewall

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"sluice/firewall/classifier"
	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

// NFTOptions are what the rendering cannot know from the policy.
type NFTOptions struct {
	Comment string // put into the script's first line, for people
	Steer   bool   // for an appliance with a vNIC for steered frames: nothing but the tunnel and the probe passes by it
	Bridge  bool   // and a table `bridge sluice` that judges steered frames; not every kernel can
}

// NFT renders the policy as one nft script: a single transaction that replaces the table `inet sluice`. It gives to
// forwarded packets the verdicts that both insertion points give together: first the rules for from-guest of the vNIC
// that has the source address, then those for to-guest of the vNIC that has the destination. State comes from
// conntrack.
func (p *Policy) NFT(o NFTOptions) (string, error) {
	w := &nftWriter{p: p, steer: o.Steer || o.Bridge, matches: map[matchKey]matchText{}}
	if o.Comment != "" {
		w.line("# %s", fault.Clean(o.Comment))
	}
	// What a ruleset cannot say, but the kernel must do: the appliance's business (appliance.Settings).
	w.line("define tcp_be_liberal = %d", boolByte(p.Liberal))
	w.line("define tcp_loose = %d", boolByte(p.Midstream))
	w.table("inet", w.helperObjects, func() { w.stateless("raw") }, w.answers, w.forward, w.input, w.untracked)
	if o.Bridge {
		w.table("bridge", func() { w.stateless("-300") }, w.steered, w.unsteered)
	}
	if w.long {
		return "", fmt.Errorf("in nftables the policy has more than %d MiB: let fewer rules name groups of many addresses, or services of many ports", maxNFT>>20)
	}
	return w.b.String(), nil
}

// maxNFT bounds what is rendered, in bytes: nftables writes a group out for each rule that names it.
const maxNFT = 32 << 20

// table writes a table with the rules of both directions, and the chains that ask them.
func (w *nftWriter) table(family string, chains ...func()) {
	w.line("table %s sluice", family)
	w.line("delete table %s sluice", family)
	w.line("table %s sluice {", family)
	for _, c := range chains {
		c()
	}
	w.points("from-guest", FromGuest)
	w.points("to-guest", ToGuest)
	w.line("}")
}

type nftWriter struct {
	p       *Policy
	steer   bool
	matches map[matchKey]matchText // see match
	long    bool                   // more than maxNFT: nothing is written any more
	b       strings.Builder
}

func (w *nftWriter) line(format string, args ...any) {
	if w.long = w.long || w.b.Len() > maxNFT; !w.long {
		fmt.Fprintf(&w.b, format+"\n", args...)
	}
}

// forward is for packets that the appliance routes.
func (w *nftWriter) forward() {
	w.line("\tchain forward {")
	w.line("\t\ttype filter hook forward priority filter; policy drop;")
	if w.steer {
		w.line("%s", steerForward)
	}
	w.line("\t\tip saddr 169.254.0.0/16 counter drop comment \"link-local\"") // a router may not forward them (RFC 3927 2.7), and Linux does
	w.known()
	w.line("\t\tjump from-guest")
	w.line("\t\tjump to-guest")
	w.line("\t\taccept")
	w.line("\t}")
}

// known decides what no rule is asked about. Conntrack calls invalid what fits no flow's state; what may begin a TCP
// flow is said in full, because conntrack would also pick up the middle of one.
func (w *nftWriter) known() {
	for _, f := range families {
		src, ok1 := f.match("saddr", w.excluded())
		dst, ok2 := f.match("daddr", w.excluded())
		if ok1 && ok2 {
			w.line("\t\t%s%saccept comment \"excluded\"", src, dst)
		}
	}
	w.line("\t\tct state established,related accept")
	w.line("\t\tct state invalid counter drop comment \"state-mismatch\"")
	if !w.p.Midstream {
		w.line("\t\tct state new meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn counter drop comment \"state-mismatch\"")
	}
}

// stateless keeps conntrack, which before comes before, away from the packets that stateless rules are about. To the
// rest of the rules they are untracked: neither established nor invalid nor new.
func (w *nftWriter) stateless(before string) {
	if w.p.stateless == nil {
		return
	}
	w.line("\tchain stateless {")
	w.line("\t\ttype filter hook prerouting priority %s; policy accept;", before)
	w.line("\t\tmeta protocol ip meta l4proto icmpv6 return") // conntrack is to call it invalid
	w.line("\t\tmeta protocol ip6 meta l4proto icmp return")
	for _, r := range w.p.Rules {
		if r.Stateless && !w.long {
			r.match.Ports = nil
			w.rule(&r, FromGuest, func(match string, _ []string) { w.line("\t\t%snotrack accept comment %q", match, r.Name) })
		}
	}
	w.line("\t}")
}

// answers keeps conntrack away from the resets that answer stateless packets: it would take one for a segment of a flow
// that it knows between the same ends. Those that answer tracked packets belong to them already.
func (w *nftWriter) answers() {
	if w.p.stateless == nil {
		return
	}
	w.line(`	chain answers {
		type filter hook output priority raw; policy accept;
		tcp flags & (rst) == rst notrack
	}`)
}

// excluded is the addresses of the vNICs that the policy is not for.
func (w *nftWriter) excluded() (s classifier.AddrSet) {
	for _, g := range w.p.inv.Guests {
		for _, v := range g.VNICs {
			if w.p.excludes(v.Port) {
				for _, a := range v.Addrs {
					s = append(s, classifier.OneAddr(a))
				}
			}
		}
	}
	return s.Normal()
}

// input is for packets to the appliance's own addresses, the gateways: what the switch itself answers in other
// placements. Echo requests, and UDP as traceroute sends it, are answered where the rules allow them; the rest is
// dropped.
func (w *nftWriter) input() {
	w.line("\tchain input {")
	w.line("\t\ttype filter hook input priority filter; policy drop;")
	if w.steer {
		w.line("%s", steerInput)
	}
	w.line(`		iifname "lo" accept
		ct state established,related accept
		ct state invalid drop
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-query } ip6 hoplimit { 1, 255 } accept
		icmp type echo-request jump from-guest
		icmp type echo-request accept
		icmpv6 type echo-request jump from-guest
		icmpv6 type echo-request accept
		meta l4proto udp jump from-guest
		meta l4proto udp reject with icmpx port-unreachable
	}`)
}

// points is the rules for one direction. A rule that allows returns to the caller, which asks the other direction.
func (w *nftWriter) points(chain string, dir Dir) {
	w.line("\tchain %s {", chain)
	for _, f := range families {
		if match, ok := f.match(pointField[dir], w.excluded()); ok {
			w.line("\t\t%sreturn comment \"excluded\"", match)
		}
	}
	for i := range w.p.Rules {
		if r := &w.p.Rules[i]; r.match.Dirs&(1<<dir) != 0 && !w.long {
			w.rule(r, dir, func(match string, rejects []string) { w.verdict(match, rejects, r) })
		}
	}
	w.verdict("", protocolMatch{hi: 255}.rejects(), &Rule{Name: "default", Action: w.p.Default})
	w.line("\t}")
}

// rule calls write with what a rule matches, once for each combination of family and protocol that it needs, and how
// nft must reject it.
func (w *nftWriter) rule(r *Rule, dir Dir, write func(match string, rejects []string)) {
	field, scope := w.scope(r, dir)
	anywhere := r.match.From.IsAny() && r.match.To.IsAny() && scope.IsAny()
	for _, family := range families {
		src, ok1 := w.match(family, "saddr", r.match.From)
		dst, ok2 := w.match(family, "daddr", r.match.To)
		on, ok3 := family.match(field, scope)
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		for _, p := range r.match.AllParts() {
			for _, m := range protocolMatches(p.Services) {
				if anywhere || !m.only(family.other) {
					write(on+src+dst+m.text+nftCondition(&p.Condition, m.lo), m.rejects())
				}
			}
		}
		if anywhere {
			return // without addresses, the first family's rules are for both
		}
	}
}

// match is the family's match, which is worded once for a group that several rules name.
func (w *nftWriter) match(f nftFamily, field string, s classifier.AddrSet) (text string, ok bool) {
	k := matchKey{unsafe.SliceData(s), len(s), field, f.is4}
	known, found := w.matches[k]
	if !found {
		known.text, known.ok = f.match(field, s)
		w.matches[k] = known
	}
	return known.text, known.ok
}

// matchKey is a set, by where it is, and where a match of it stands.
type matchKey struct {
	at    *classifier.AddrRange
	n     int
	field string
	is4   bool
}

type matchText struct {
	text string
	ok   bool
}

// verdict writes one nft rule, or two where a reject is answered in two ways.
func (w *nftWriter) verdict(match string, rejects []string, r *Rule) {
	note := ""
	if r.Log {
		prefix := fmt.Sprintf("sluice %s %s", r.Action, r.Name)
		if r.LogPrefix != "" {
			prefix = r.LogPrefix
		}
		note = fmt.Sprintf("log prefix %q ", prefix+" ")
	}
	if r.LogRate.Notes > 0 { // a rule of its own: what is over the rate must meet the verdict, too
		w.line("\t\t%slimit rate %d/%s burst %d packets %s", match, r.LogRate.Notes, r.LogRate.Per, r.LogRate.Notes, note)
		note = ""
	}
	switch r.Action {
	case RuleAllow:
		w.line("\t\t%scounter %sreturn comment %q", match, note, r.Name)
	case RuleDrop:
		w.line("\t\t%scounter %sdrop comment %q", match, note, r.Name)
	case RuleReject:
		for _, how := range rejects {
			w.line("\t\t%s%s comment %q", match, fmt.Sprintf(how, "counter "+note), r.Name)
		}
	}
}

// pointField is the address that tells whose insertion point a packet is at.
var pointField = [...]string{FromGuest: "saddr", ToGuest: "daddr"}

// scope is how nft tells the vNICs that a rule is applied to: by their addresses, at their end of the flow.
func (w *nftWriter) scope(r *Rule, dir Dir) (field string, s classifier.AddrSet) {
	field = pointField[dir]
	if r.match.Ports == nil {
		return field, classifier.AnyAddr
	}
	for _, g := range w.p.inv.Guests {
		for _, v := range g.VNICs {
			if slices.Contains(r.match.Ports, v.Port) {
				for _, a := range v.Addrs {
					s = append(s, classifier.OneAddr(a))
				}
			}
		}
	}
	return field, s.Normal()
}

// nftFamily is one of the two families as nft writes it.
type nftFamily struct {
	name  string
	is4   bool
	other uint8 // the ICMP that belongs to the other family
}

var families = []nftFamily{{"ip", true, frame.ProtoICMPv6}, {"ip6", false, frame.ProtoICMP}}

// match writes the addresses of a set that belong to a family; ok is false where there are none.
func (f nftFamily) match(field string, s classifier.AddrSet) (text string, ok bool) {
	if s.IsAny() {
		return "", true
	}
	all := classifier.AllIPv6
	if f.is4 {
		all = classifier.AddrSet{classifier.AllIPv4}
	}
	here := s.Both(all)
	is := ""
	if others := all.Minus(here); len(others) > 0 && len(others) < len(here) {
		here, is = others, "!= "
	}
	parts := make([]string, len(here))
	for i, r := range here {
		parts[i] = r.Lo.IP().String()
		if r.Lo != r.Hi {
			parts[i] += "-" + r.Hi.IP().String()
		}
	}
	switch len(parts) {
	case 0:
		return "", false
	case 1:
		return fmt.Sprintf("%s %s %s%s ", f.name, field, is, parts[0]), true
	}
	return fmt.Sprintf("%s %s %s{ %s } ", f.name, field, is, strings.Join(parts, ", ")), true
}

// nftCondition writes a condition on packets of TCP or UDP.
func nftCondition(c *classifier.Condition, proto uint8) (text string) {
	if c.From != nil {
		name := "udp"
		if proto == frame.ProtoTCP {
			name = "tcp"
		}
		text = fmt.Sprintf("%s sport { %s } ", name, nftRanges(c.From, 0))
	}
	switch {
	case c.Mask == 0:
	case c.Flags == 0:
		text += fmt.Sprintf("tcp flags & (%s) == 0x0 ", flagsText(c.Mask))
	default:
		text += fmt.Sprintf("tcp flags & (%s) == %s ", flagsText(c.Mask), flagsText(c.Flags))
	}
	return text
}

// protocolMatch is a service, or the part of it that is of one protocol, as nft writes it.
type protocolMatch struct {
	text   string
	lo, hi uint8 // protocols
}

func (m protocolMatch) only(proto uint8) bool { return m.lo == proto && m.hi == proto }

const (
	rejectTCP   = "%sreject with tcp reset"
	rejectOther = "%sreject with icmpx admin-prohibited"
)

// rejects says how nft must answer what this match rejects.
func (m protocolMatch) rejects() []string {
	switch {
	case m.only(frame.ProtoTCP):
		return []string{rejectTCP}
	case m.lo > frame.ProtoTCP || m.hi < frame.ProtoTCP:
		return []string{rejectOther}
	}
	return []string{"meta l4proto tcp " + rejectTCP, rejectOther}
}

// protocolMatches writes a service as matches, in the order of its protocols.
func protocolMatches(s classifier.ServiceSet) (out []protocolMatch) {
	if s.IsAny() {
		return []protocolMatch{{"", 0, 255}}
	}
	for i := 0; i < len(s); {
		lo, hi := uint8(s[i].Lo>>16), uint8(s[i].Hi>>16)
		j := i + 1
		for lo == hi && j < len(s) && s[j].Hi>>16 == uint32(lo) {
			j++
		}
		texts := []string{fmt.Sprintf("meta l4proto %d-%d ", lo, hi)}
		if lo == hi {
			texts = oneProtocol(lo, s[i:j])
		}
		for _, text := range texts {
			out = append(out, protocolMatch{text, lo, hi})
		}
		i = j
	}
	return out
}

// oneProtocol writes what a service has of one protocol.
func oneProtocol(proto uint8, ranges classifier.ServiceSet) []string {
	switch {
	case len(ranges) == 1 && ranges[0] == classifier.ProtoRange(proto):
		return []string{fmt.Sprintf("meta l4proto %d ", proto)}
	case proto == frame.ProtoTCP:
		return []string{fmt.Sprintf("tcp dport { %s } ", nftRanges(ranges, 0))}
	case proto == frame.ProtoUDP:
		return []string{fmt.Sprintf("udp dport { %s } ", nftRanges(ranges, 0))}
	case proto == frame.ProtoICMP:
		return icmpMatches("icmp", ranges)
	}
	return icmpMatches("icmpv6", ranges)
}

// icmpMatches writes whole types in one match, and each type of which only some codes are meant in one of its own.
func icmpMatches(name string, ranges classifier.ServiceSet) (out []string) {
	var whole classifier.ServiceSet
	var some []classifier.ServiceRange // of one type each
	for _, r := range ranges {
		for r.Lo <= r.Hi {
			end := min(r.Hi, r.Lo|0xff)
			switch {
			case r.Lo&0xff != 0 || end&0xff != 0xff:
				some = append(some, classifier.ServiceRange{Lo: r.Lo, Hi: end})
			default:
				end = max(end, (r.Hi+1)&^0xff-1)
				whole = append(whole, classifier.ServiceRange{Lo: r.Lo, Hi: end})
			}
			r.Lo = end + 1
		}
	}
	if len(whole) > 0 {
		out = append(out, fmt.Sprintf("%s type { %s } ", name, nftRanges(whole, 8)))
	}
	for i := 0; i < len(some); {
		j := i
		var codes classifier.ServiceSet
		for ; j < len(some) && some[j].Lo>>8 == some[i].Lo>>8; j++ {
			codes = append(codes, classifier.ServiceRange{Lo: some[j].Lo & 0xff, Hi: some[j].Hi & 0xff})
		}
		out = append(out, fmt.Sprintf("%s type %d %s code { %s } ", name, some[i].Lo>>8&0xff, name, nftRanges(codes, 0)))
		i = j
	}
	return out
}

// nftRanges writes the ranges of a service's lower half, without its last bits.
func nftRanges(ranges classifier.ServiceSet, shift int) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		lo, hi := r.Lo&0xffff>>shift, r.Hi&0xffff>>shift
		parts[i] = fmt.Sprintf("%d-%d", lo, hi)
		if lo == hi {
			parts[i] = fmt.Sprint(lo)
		}
	}
	return strings.Join(parts, ", ")
}
