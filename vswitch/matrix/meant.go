package matrix

import (
	"regexp"
	"slices"

	"sluice/firewall"
)

// Difference is a case of which a placement made something else than the router.
type Difference struct {
	Name           string
	Placement      firewall.Placement
	Router, Engine string
}

// meantRow is a row of the table in docs/policy.md, by its first cell: which cases it is about, and what the engine
// must have said.
type meantRow struct {
	row    string
	names  string // what the case's name matches
	router string // and what the router said of it
	engine string
	only   []firewall.Placement // all where empty
}

var meantRows = []meantRow{
	{"options that are malformed, or forbid that they be passed over", ` option | hop-by-hop `, `^icmp (12|4)/`, `^-$`, nil},
	{"options that routers write into, and what follows their end", ` option (record route|timestamps|ends early)`, ``, ``, nil},
	{"`reject` of HIP, OSPF, L2TP and what else has a checksum of its own, or none", ` behind .*hip| ip (ospf|l2tp|protocol 139)$`, `^-$`, `^icmp (1/1|3/13)$`, nil},
	{"UDP-Lite", ` udp-lite`, `^-$`, `^pass$`, nil},
	{"a source that is an IPv4-mapped address", ` source is mapped$`, `^pass$`, `^-$`, nil},
	{"a destination that is an IPv4-mapped address", ` to a mapped address$`, `^icmp 1/0$`, `^-$`, nil},
	{"a source in 0.0.0.0/8", ` source is in the first network$`, `^pass$`, `^-$`, nil},
	{"a source MAC that is a group's, nobody's or the gateway's", ` from (a group MAC|the broadcast MAC|no MAC|the gateway's MAC)$`, ``, `^-$`, nil},
	{"a tag of VLAN 0", ` (tagged|tagged twice|with a service tag) (with|of) (VLAN 0|a priority)$`, ``, `^-$`, nil},
	{"a source that is the gateway's address, over IPv6", `^v6 .* source is the (far )?gateway$`, `^pass$`, `^-$`, nil},
	{"`reject` of what came from an address that is elsewhere", ` source (of nowhere|on the other segment|is the destination|is the own network|is reserved|is an IPv4-compatible address|is the far broadcast address)$`, ``, `^(reset .*|icmp .*|other)$`, nil},
	{"`reject` of what came from a broadcast address", ` source is the (far )?broadcast address$`, `^(far )?(reset|icmp)`, `^-$`, nil},
	{"link-local addresses", ` (source is|to) link-local$`, ``, `^-$`, nil},
	{"`reject` of what goes to a MAC that is not the gateway's", ` to (the MAC of nobody|no MAC)$`, `^-$`, `^(reset .*|icmp .*)$`, nil},
	{"an echo request to all nodes or all routers by the gateway's MAC", `^v6 echo to (all|a group of this link)$`, `^echo-reply$`, `^-$`, nil},
	{"fragments", `fragment| in (two|pieces)`, ``, ``, []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Slow}},
	{"fragments, and SYNs with data, in `inspect`", `fragment| in (two|pieces)|data in the SYN|as long as`, ``, ``, []firewall.Placement{firewall.Inspect}},
	{"fragments, in `tunnel`", `fragment| in (two|pieces)`, ``, ``, []firewall.Placement{firewall.Tunnel}},
	{"`reject` of an IPv6 packet with nothing behind its headers, in `tunnel`", ` no length$`, `^-$`, `^icmp 1/1$`, []firewall.Placement{firewall.Tunnel}},
	{"IPv4 packets that are too long for the next segment, and may be cut", ` (too long|of 9000 bytes), may be cut$`, ``, `^icmp 3/4$`, nil},
	{"an IPv6 network's own address", `^v6 .* to the (own|far) network, ttl 1$`, ``, ``, nil},
	{"an ICMP error about a packet behind `ah`", ` about a packet behind ah$`, `^pass$`, `^-$`, nil},
	{"ARP for another segment's gateway, and with the hardware type of 802.2", `^arp (about the far gateway|of other hardware)$`, `^arp reply$`, `^-$`, nil},
	{"DCCP, in `tunnel`", ` dccp `, `^pass$`, `^-$`, []firewall.Placement{firewall.Tunnel}},
	{"more than eight extension headers", ` behind nine$`, ``, `^-$`, nil},
	{"an ICMP error that quotes less than 8 bytes, or another version of IP", ` error .*(four bytes of the inner packet|of the other version)$`, `^pass$`, `^-$`, nil},
	{"a `virtio_net_hdr` that asks for what Linux asks no NIC for", ` an open sum in (its ports|the IP header)$| for many( of 7 bytes|, with no open sum|, padded)$`, `^(pass|far other)$`, `^-$`, nil},
	{"a fragment that stands for many packets, in `off`", ` for many, a (first|later) piece$`, `^far other$`, `^-$`, []firewall.Placement{firewall.Off}},
	{"packets that are shorter than the segment takes, in one frame, in `tunnel`", `tcp-80 for many short ones$`, `^pass$`, `^far other$`, []firewall.Placement{firewall.Tunnel}},
	{"lengths that contradict each other, in `off`", ` (length .*|no length|cut in the header|nothing|offset .*|(eight|four) bytes|behind a header that lies|behind a route longer than the packet)$`, `^pass$`, `^-$`, []firewall.Placement{firewall.Off}},
	{"what is sent to the gateway itself, in `off`", ` to the (far )?gateway(, .*)?$`, ``, ``, []firewall.Placement{firewall.Off}},
	{"neighbour discovery to another segment, in `off`", `^v6 echo of type 13[3-7]$`, `^pass$`, `^-$`, []firewall.Placement{firewall.Off}},
}

func (m *meantRow) is(d Difference) bool {
	match := func(pattern, s string) bool {
		if s == "" {
			s = "-"
		}
		return regexp.MustCompile(pattern).MatchString(s)
	}
	return match(m.names, d.Name) && match(m.router, d.Router) && match(m.engine, d.Engine) &&
		(len(m.only) == 0 || slices.Contains(m.only, d.Placement))
}

// Meant counts the differences that are met, by the row of the table in docs/policy.md that gives the reason.
type Meant struct {
	used map[string]int
	Of   map[firewall.Placement]int // how many cases differ in each placement
}

// NewMeant has met none.
func NewMeant() *Meant { return &Meant{map[string]int{}, map[firewall.Placement]int{}} }

// Note finds the row of a difference, and says whether there is one.
func (m *Meant) Note(d Difference) bool {
	m.Of[d.Placement]++
	for i := range meantRows {
		if meantRows[i].is(d) {
			m.used[meantRows[i].row]++
			return true
		}
	}
	return false
}

// Unmet are the rows of which no difference was noted: those about some of the placements and, where general, those
// about all placements.
func (m *Meant) Unmet(general bool, some ...firewall.Placement) (rows []string) {
	for _, r := range meantRows {
		about := general && len(r.only) == 0
		for _, p := range r.only {
			about = about || slices.Contains(some, p)
		}
		if about && m.used[r.row] == 0 {
			rows = append(rows, r.row)
		}
	}
	return rows
}
