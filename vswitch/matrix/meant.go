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

// meantRow is a row of the table in docs/policy.md, by its first cell: which cases it is about, and what the engine must have said.
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
	{"`reject` of HIP", ` behind .*hip`, `^-$`, `^icmp 1/1$`, nil},
	{"a source that is an IPv4-mapped address", ` source is mapped$`, `^pass$`, `^-$`, nil},
	{"a source that is the gateway's address, over IPv6", `^v6 .* source is the (far )?gateway$`, `^pass$`, `^-$`, nil},
	{"`reject` of what came from an address that is elsewhere", ` source (of nowhere|on the other segment|is the destination)$`, ``, `^(reset .*|icmp .*|other)$`, nil},
	{"`reject` of what came from a broadcast address", ` source is the broadcast address$`, `^(reset|icmp)`, `^-$`, nil},
	{"link-local addresses", ` (source is|to) link-local$`, ``, `^-$`, nil},
	{"an echo request to all nodes by the gateway's MAC", `^v6 echo to all$`, `^echo-reply$`, `^-$`, nil},
	{"fragments", `fragment| in two`, ``, ``, []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Slow}},
	{"fragments, and SYNs with data, in `inspect`", `fragment| in two|data in the SYN|as long as`, ``, ``, []firewall.Placement{firewall.Inspect}},
	{"fragments, in `tunnel`", `fragment| in two`, ``, ``, []firewall.Placement{firewall.Tunnel}},
	{"`reject` of an IPv6 packet with nothing behind its headers, in `tunnel`", ` no length$`, `^-$`, `^icmp 1/1$`, []firewall.Placement{firewall.Tunnel}},
	{"more than eight extension headers", ` behind nine$`, ``, `^-$`, nil},
	{"an ICMP error that quotes less than 8 bytes, or another version of IP", ` error .*(four bytes of the inner packet|of the other version)$`, `^pass$`, `^-$`, nil},
	{"lengths that contradict each other, in `off`", ` (length .*|no length|cut in the header|nothing|offset .*|(eight|four) bytes|behind a header that lies)$`, `^pass$`, `^-$`, []firewall.Placement{firewall.Off}},
	{"what is sent to the gateway itself, in `off`", ` to the (far )?gateway$`, ``, ``, []firewall.Placement{firewall.Off}},
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

// Unmet are the rows of which no difference was noted: those about some of the placements and, where general, those about all placements.
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
