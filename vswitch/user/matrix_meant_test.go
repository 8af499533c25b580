package user_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/firewall"
)

// difference is a case of which a placement made something else than the router.
type difference struct {
	name           string
	placement      firewall.Placement
	router, engine string
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
	{"more than eight extension headers", ` behind nine$`, ``, `^-$`, nil},
	{"an ICMP error that quotes less than 8 bytes, or another version of IP", ` error .*(four bytes of the inner packet|of the other version)$`, `^pass$`, `^-$`, nil},
	{"lengths that contradict each other, in `off`", ` (length .*|no length|cut in the header|nothing|offset .*|(eight|four) bytes|behind a header that lies)$`, `^pass$`, `^-$`, []firewall.Placement{firewall.Off}},
	{"what is sent to the gateway itself, in `off`", ` to the (far )?gateway$`, ``, ``, []firewall.Placement{firewall.Off}},
	{"neighbour discovery to another segment, in `off`", `^v6 echo of type 13[3-7]$`, `^pass$`, `^-$`, []firewall.Placement{firewall.Off}},
}

func (m *meantRow) is(d difference) bool {
	match := func(pattern, s string) bool {
		if s == "" {
			s = "-"
		}
		return regexp.MustCompile(pattern).MatchString(s)
	}
	return match(m.names, d.name) && match(m.router, d.router) && match(m.engine, d.engine) &&
		(len(m.only) == 0 || slices.Contains(m.only, d.placement))
}

// meant counts the differences that are met.
type meant struct {
	used map[string]int
	of   map[firewall.Placement]int
}

func newMeant() *meant { return &meant{map[string]int{}, map[firewall.Placement]int{}} }

// note finds the row of a difference.
func (m *meant) note(t *testing.T, d difference) {
	t.Helper()
	m.of[d.placement]++
	for i := range meantRows {
		if meantRows[i].is(d) {
			m.used[meantRows[i].row]++
			return
		}
	}
	t.Errorf("%s: router %s, engine %s: no row of the table", d.name, d.router, d.engine)
}

// compare holds the rows against those that were met, and against the table that people read.
func (m *meant) compare(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| odd packet |")
	if !ok {
		t.Fatal("docs/policy.md has no table of odd packets")
	}
	var written []string
	for i, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, " | ")
		if i < 2 {
			continue
		}
		if !strings.HasPrefix(line, "| ") {
			break
		}
		if len(cells) != 4 {
			t.Errorf("a row with %d cells: %s", len(cells), line)
		}
		written = append(written, strings.TrimPrefix(cells[0], "| "))
	}
	for _, r := range meantRows {
		if m.used[r.row] == 0 {
			t.Errorf("nothing differs so any more: %s", r.row)
		}
		if !slices.Contains(written, r.row) {
			t.Errorf("docs/policy.md does not say: %s", r.row)
		}
	}
	if len(written) != len(meantRows) {
		t.Errorf("docs/policy.md has %d rows, the test %d", len(written), len(meantRows))
	}
}
