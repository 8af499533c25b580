package labfile

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sluice/firewall/document"
	"sluice/labs/guest"
	"sluice/labs/guest/agent"
)

// maxMACAge is the longest that IEEE 802.1D takes (table 7-5).
const maxMACAge = 1_000_000 * time.Second

func (l *labReader) segments(n *document.Node) {
	list := l.Entries(n, "segments")
	if len(list) == 0 || len(list) > maxSegments {
		l.fail(n, "%d segments; a lab has 1 to %d", len(list), maxSegments)
	}
	for _, e := range list {
		l.unsure[e.Name] = !l.Apart(func() { l.segment(e) })
	}
}

func (l *labReader) segment(e document.Entry) {
	s := Segment{Name: l.topologyName(e.Key, "segment name"), MTU: 1500}
	l.takenName(e.Key, s.Name)
	places := map[bool]*document.Node{false: e.Key, true: e.Key}
	l.Fields(e.Value, "segment "+e.Name, map[string]func(*document.Node){
		"subnet":   func(v *document.Node) { s.Subnet = l.prefix(v, "the subnet", false); l.overlap(v, s.Subnet) },
		"subnet6":  func(v *document.Node) { s.Subnet6 = l.prefix(v, "the subnet", true); l.overlap(v, s.Subnet6) },
		"gateway":  func(v *document.Node) { s.Gateway = l.addr(v, "the gateway", false); places[false] = v },
		"gateway6": func(v *document.Node) { s.Gateway6 = l.addr(v, "the gateway", true); places[true] = v },
		"mtu":      func(v *document.Node) { s.MTU = l.number(v, "the mtu", 1280, 9000) },
		"mac-age":  func(v *document.Node) { s.MACAge = l.duration(v, "mac-age", time.Second, maxMACAge) },
	})
	if !l.Failed() && !s.Subnet.IsValid() && !s.Subnet6.IsValid() {
		l.fail(e.Key, "segment %s has no subnet; add subnet: %s", e.Name, example(false))
	}
	s.Gateway = l.gateway(places[false], s.Subnet, s.Gateway)
	s.Gateway6 = l.gateway(places[true], s.Subnet6, s.Gateway6)
	l.lab.Segments = append(l.lab.Segments, s)
}

// gateway checks a segment's gateway, or chooses the first address.
func (l *labReader) gateway(n *document.Node, subnet netip.Prefix, written netip.Addr) netip.Addr {
	switch {
	case l.Failed():
		return netip.Addr{}
	case !subnet.IsValid() && written.IsValid():
		l.fail(n, "gateway %s, but the segment has no %s subnet; add one or remove the gateway", written, family(written.Is6()))
	case !subnet.IsValid():
		return netip.Addr{}
	case !written.IsValid() && isLink(subnet):
		written = subnet.Addr()
	case !written.IsValid():
		written = subnet.Addr().Next()
	}
	if !l.Failed() {
		l.inside(n, "gateway", written, subnet)
		l.taken(n, "address", written.String())
	}
	return written
}

// overlap fails when a subnet shares addresses with an earlier one.
func (l *labReader) overlap(n *document.Node, p netip.Prefix) {
	if l.Failed() {
		return
	}
	for _, s := range l.lab.Segments {
		if i := slices.IndexFunc(s.Prefixes(), p.Overlaps); i >= 0 {
			l.fail(n, "subnet %s overlaps %s of segment %s; give each segment addresses of its own", p, s.Prefixes()[i], s.Name)
		}
	}
}

// inside fails when an address is not one that the subnet can give to somebody.
func (l *labReader) inside(n *document.Node, what string, a netip.Addr, p netip.Prefix) {
	switch {
	case !p.Contains(a):
		l.fail(n, "%s %s is outside its segment's subnet %s; choose one inside", what, a, p)
	case isLink(p):
	case a == p.Addr():
		l.fail(n, "%s %s is the subnet's own address; choose a higher one", what, a)
	case a.Is4() && !p.Contains(a.Next()):
		l.fail(n, "%s %s is the subnet's broadcast address; choose a lower one", what, a)
	}
}

// isLink says whether a subnet has two addresses, both of which are somebody's: a /31 (RFC 3021) or a /127 (RFC 6164).
func isLink(p netip.Prefix) bool { return p.Bits() == p.Addr().BitLen()-1 }

func (l *labReader) guests(n *document.Node) {
	list := l.Entries(n, "guests")
	if len(list) == 0 || len(list) > maxGuests {
		l.fail(n, "%d guests; a lab has 1 to %d", len(list), maxGuests)
	}
	for _, e := range list {
		l.unsure[e.Name] = !l.Apart(func() { l.lab.Guests = append(l.lab.Guests, l.guest(e)) })
	}
}

func (l *labReader) guest(e document.Entry) Guest {
	g := Guest{Name: l.topologyName(e.Key, "guest name"), Kind: KindAuto, Memory: guest.DefaultMemoryMiB, CPUs: 1}
	l.takenName(e.Key, g.Name)
	what := "guest " + e.Name
	var single vnicNodes // of a guest with one vNIC, written without a list
	keys := l.machine(&g)
	keys["kind"] = func(v *document.Node) { g.Kind = l.oneOf(v, "kind", KindAuto, KindQEMU, KindNetns, KindHost) }
	keys["spoofguard"] = func(v *document.Node) { g.Unguarded = l.oneOf(v, "spoofguard", "true", "false") == "false" }
	keys["services"] = func(v *document.Node) { g.Services = l.services(v, what) }
	keys["segment"] = func(v *document.Node) { single.segment = v }
	keys["address"] = func(v *document.Node) { single.address = v }
	keys["address6"] = func(v *document.Node) { single.address6 = v }
	var several *document.Node
	keys["vnics"] = func(v *document.Node) { several = v }
	l.Fields(e.Value, what, keys)
	switch {
	case l.Failed():
	case several != nil && single != vnicNodes{}:
		l.fail(several, "%s has vnics and also a segment or address of its own; put them into the list", what)
	case several != nil:
		l.vnics(&g, several)
	default:
		g.VNICs = []VNIC{l.vnic(e.Key, what, single)}
	}
	if g.Kind == KindHost && (len(g.Services) > 0 || len(g.VNICs) > 1) {
		l.fail(e.Key, "%s is of kind host: a device on this machine, with one vNIC and no services", what)
	}
	return g
}

// machine is the keys that guests and the appliance share.
func (l *labReader) machine(g *Guest) map[string]func(*document.Node) {
	return map[string]func(*document.Node){
		"memory": func(v *document.Node) { g.Memory = l.number(v, "memory (MiB)", guest.DefaultMemoryMiB, 16384) },
		"cpus":   func(v *document.Node) { g.CPUs = l.number(v, "cpus", 1, 16) },
	}
}

func (l *labReader) services(n *document.Node, what string) []string {
	var out []string
	for _, v := range l.List(n, "services") {
		s := l.oneOf(v, "service", agent.ServiceNames...)
		if !l.Failed() && slices.Contains(out, s) {
			l.fail(v, "%s has service %s twice; keep one", what, s)
		}
		out = append(out, s)
	}
	if len(out) > maxServices {
		l.fail(n, "%s has %d services; at most %d are taken", what, len(out), maxServices)
	}
	return out
}

// vnicNodes is where the parts of one vNIC are written.
type vnicNodes struct{ segment, address, address6 *document.Node }

func (l *labReader) vnics(g *Guest, n *document.Node) {
	list := l.List(n, "vnics")
	if len(list) == 0 || len(list) > maxVNICs {
		l.fail(n, "guest %s has %d vNICs; it takes 1 to %d", g.Name, len(list), maxVNICs)
	}
	for i, v := range list {
		var at vnicNodes
		what := fmt.Sprintf("vNIC %d of guest %s", i, g.Name)
		l.Fields(v, what, map[string]func(*document.Node){
			"segment":  func(v *document.Node) { at.segment = v },
			"address":  func(v *document.Node) { at.address = v },
			"address6": func(v *document.Node) { at.address6 = v },
		})
		g.VNICs = append(g.VNICs, l.vnic(v, what, at))
	}
}

// vnic joins a vNIC to its segment. n is the place to show when a part is missing.
func (l *labReader) vnic(n *document.Node, what string, at vnicNodes) VNIC {
	if at.segment == nil {
		l.fail(n, "%s is on no segment; add segment: %s", what, append(l.segmentNames(), "lan")[0])
	}
	if l.Failed() {
		return VNIC{}
	}
	v := VNIC{Segment: l.segmentIndex(at.segment)}
	if at.segment.Is(document.Word) && l.unsure[at.segment.Text] {
		l.Spoil()
	}
	if l.Failed() {
		return VNIC{}
	}
	s := l.lab.Segments[v.Segment]
	v.Address = l.address(n, what, at.address, s.Subnet, false)
	if l.Failed() { // it may be of the other family
		return VNIC{}
	}
	place6 := at.address6
	if place6 == nil && s.Subnet6.IsValid() && v.Address.IsValid() {
		v.Address6 = deriveAddress6(v.Address, s.Subnet, s.Subnet6)
		l.place(at.address, v.Address6, s.Subnet6)
		return v
	}
	v.Address6 = l.address(n, what, place6, s.Subnet6, true)
	return v
}

func (l *labReader) segmentIndex(n *document.Node) int {
	names := l.segmentNames()
	if len(names) == 0 {
		l.Spoil() // which is told already
		return 0
	}
	return max(slices.Index(names, l.oneOf(n, "segment", names...)), 0)
}

func (l *labReader) segmentNames() []string {
	names := make([]string, len(l.lab.Segments))
	for i, s := range l.lab.Segments {
		names[i] = s.Name
	}
	return names
}

// address reads a vNIC's address of one family.
func (l *labReader) address(n *document.Node, what string, at *document.Node, subnet netip.Prefix, is6 bool) netip.Addr {
	switch {
	case l.Failed() || at == nil && !subnet.IsValid():
		return netip.Addr{}
	case at == nil:
		l.fail(n, "%s has no %s address; add one inside %s", what, family(is6), subnet)
		return netip.Addr{}
	}
	a := l.addr(at, "the address", is6)
	if !l.Failed() && !subnet.IsValid() {
		l.fail(at, "address %s, but the segment has no %s subnet; add one or remove the address", a, family(is6))
	}
	l.place(at, a, subnet)
	return a
}

// place checks that an address may be a vNIC's, and takes it.
func (l *labReader) place(n *document.Node, a netip.Addr, subnet netip.Prefix) {
	if !l.Failed() {
		l.inside(n, "address", a, subnet)
		l.taken(n, "address", a.String())
	}
}

// deriveAddress6 repeats the host part of an IPv4 address in an IPv6 subnet, digit for digit, so that people see that
// both are one guest's: 10.10.1.10 becomes fd00:10:1::10.
func deriveAddress6(a netip.Addr, subnet, subnet6 netip.Prefix) netip.Addr {
	b, out := a.As4(), subnet6.Addr().As16()
	for i := subnet.Bits() / 8; i < 4; i++ {
		d := b[i]
		out[8+2*i], out[9+2*i] = d/100, d/10%10<<4|d%10
	}
	return netip.AddrFrom16(out)
}

func (l *labReader) appliance(n *document.Node) {
	g := Guest{Kind: KindAuto, Memory: guest.DefaultMemoryMiB, CPUs: 1}
	keys := l.machine(&g)
	name := n
	keys["name"] = func(v *document.Node) { g.Name = l.topologyName(v, "the appliance's name"); name = v }
	keys["kind"] = func(v *document.Node) { g.Kind = l.oneOf(v, "kind", KindAuto, KindQEMU, KindNetns) }
	l.Fields(n, "the appliance", keys)
	if !l.Failed() && g.Name == "" {
		l.fail(n, "the appliance has no name; add name: fw")
	}
	l.takenName(name, g.Name)
	for i, s := range l.lab.Segments {
		g.VNICs = append(g.VNICs, VNIC{Segment: i, Address: s.Gateway, Address6: s.Gateway6})
	}
	l.lab.Appliance = &g
}
