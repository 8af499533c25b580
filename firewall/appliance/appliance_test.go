package appliance

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/roottest"
)

// inside is an appliance in a network namespace of its own.
func inside(t *testing.T) *Appliance {
	t.Helper()
	roottest.Namespace(t)
	// In a namespace conntrack begins with the first rule that asks for it, and its settings are there from the start.
	if err := Prepare(); err != nil {
		t.Fatal(err)
	}
	a := &Appliance{}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func record(proto uint8, src, dst, state string, replied bool) firewall.FlowRecord {
	return firewall.FlowRecord{
		Proto: proto, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), State: state, Replied: replied, Timeout: 100,
	}
}

// scaled is a record with window scales and SACK.
func scaled(r firewall.FlowRecord) firewall.FlowRecord {
	r.TCP = [2]firewall.TCPSide{{Scaled: true, Scale: 7, SACK: true}, {Scaled: true, Scale: 14}}
	return r
}

var carried = []firewall.FlowRecord{
	record(6, "10.0.1.1:1000", "10.0.2.1:80", "established", true),
	scaled(record(6, "10.0.1.1:1005", "10.0.2.1:80", "established", true)),
	record(6, "10.0.1.1:1001", "10.0.2.1:80", "syn-sent", false),
	record(6, "10.0.1.1:1002", "10.0.2.1:80", "syn-recv", true),
	record(6, "10.0.1.1:1003", "10.0.2.1:80", "fin-wait", true),
	record(6, "10.0.1.1:1004", "10.0.2.1:80", "time-wait", true),
	record(6, "[fd00::1]:1000", "[fd00::2]:80", "established", true),
	record(17, "10.0.1.1:1000", "10.0.2.1:53", "replied", true),
	record(17, "10.0.1.1:1001", "10.0.2.1:53", "unreplied", false),
	record(17, "[fd00::1]:1000", "[fd00::2]:53", "replied", true),
	asking(record(1, "10.0.1.1:77", "10.0.2.1:77", "replied", true), 8),
	asking(record(1, "10.0.1.1:78", "10.0.2.1:78", "unreplied", false), 8),
	asking(record(1, "10.0.1.1:78", "10.0.2.1:78", "replied", true), 13), // a timestamp with the same identifier
	asking(record(58, "[fd00::1]:77", "[fd00::2]:77", "replied", true), 128),
	asking(record(58, "[fd00::1]:77", "[fd00::2]:77", "replied", true), 139), // node information
	record(2, "10.0.1.1:0", "239.7.7.7:0", "unreplied", false),               // IGMP
	record(47, "10.0.1.1:0", "10.0.2.1:0", "replied", true),                  // GRE
	record(50, "10.0.1.1:0", "10.0.2.1:0", "replied", true),                  // ESP
	record(51, "[fd00::1]:0", "[fd00::2]:0", "unreplied", false),             // AH
	record(89, "10.0.1.1:0", "224.0.0.5:0", "unreplied", false),              // OSPF
	record(89, "[fe80::1]:0", "[ff02::5]:0", "unreplied", false),
	record(112, "10.0.1.1:0", "224.0.0.18:0", "unreplied", false), // VRRP
}

// asking is a record of an ICMP request of a type.
func asking(r firewall.FlowRecord, kind uint8) firewall.FlowRecord {
	r.ICMPType = kind
	return r
}

// put has a conntrack take flows, all of them.
func put(t *testing.T, a *Appliance, flows ...firewall.FlowRecord) {
	t.Helper()
	if c, err := a.PutFlows(flows); err != nil || len(c.Left) > 0 {
		t.Fatalf("put %d flows: %+v, %v; want all of them there", len(flows), c, err)
	}
}

// TestRootFlowsAreCarried puts every sort of flow into a real conntrack and reads it back as it was.
func TestRootFlowsAreCarried(t *testing.T) {
	a := inside(t)
	put(t, a, carried...)
	got := flowsByName(t, a)
	for _, want := range carried {
		name := nameOf(want)
		f, ok := got[name]
		if !ok {
			t.Errorf("%s is not in conntrack", name)
			continue
		}
		if f.Timeout < want.Timeout-5 || f.Timeout > want.Timeout {
			t.Errorf("%s: timeout %d, want about %d", name, f.Timeout, want.Timeout)
		}
		f.Timeout = want.Timeout
		if want.Proto == 6 { // what conntrack has not seen, it may not check
			want.TCP[0].Liberal, want.TCP[1].Liberal = true, true
		}
		if f != want {
			t.Errorf("%s: %+v, want %+v", name, f, want)
		}
	}
	if len(got) != len(carried) {
		t.Errorf("%d flows in conntrack, want %d", len(got), len(carried))
	}
}

// TestRootCarriedFlowsAreTrusted looks at what a FlowRecord does not show: a flow that was carried has no window to be
// checked against, and one that lives is not the first to go when the table is full.
func TestRootCarriedFlowsAreTrusted(t *testing.T) {
	a := inside(t)
	if _, err := a.PutFlows(carried); err != nil {
		t.Fatal(err)
	}
	c, err := a.conn()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := c.Dump(nil)
	if err != nil || len(entries) != len(carried) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		r := toRecord(&e)
		lives := r.State == "established" || r.State == "fin-wait" || r.State == "time-wait" || r.Proto > 6 && r.Proto != 58 && r.Replied
		if e.Status.Assured() != lives {
			t.Errorf("%s, %s: assured %v", nameOf(r), r.State, e.Status.Assured())
		}
		for side, s := range r.TCP {
			if r.Proto == 6 && !s.Liberal {
				t.Errorf("%s: side %d: %+v", nameOf(r), side, s)
			}
		}
	}
}

func nameOf(f firewall.FlowRecord) string {
	return fmt.Sprintf("%d/%d %s %s", f.Proto, f.ICMPType, f.Src, f.Dst)
}

func flowsByName(t *testing.T, a *Appliance) map[string]firewall.FlowRecord {
	t.Helper()
	flows, err := a.Flows()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]firewall.FlowRecord{}
	for _, f := range flows {
		all[nameOf(f)] = f
	}
	return all
}

// TestRootPutAgain refreshes entries: with more knowledge, with the same, and with less than conntrack has itself.
func TestRootPutAgain(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second firewall.FlowRecord
		state         string
	}{
		{"the same", record(6, "10.0.1.1:1", "10.0.2.1:80", "established", true), record(6, "10.0.1.1:1", "10.0.2.1:80", "established", true), "established"},
		{"more", record(6, "10.0.1.1:2", "10.0.2.1:80", "syn-sent", false), record(6, "10.0.1.1:2", "10.0.2.1:80", "established", true), "established"},
		{"less", record(17, "10.0.1.1:3", "10.0.2.1:53", "replied", true), record(17, "10.0.1.1:3", "10.0.2.1:53", "unreplied", false), "replied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := inside(t)
			for _, f := range []firewall.FlowRecord{c.first, c.second} {
				put(t, a, f)
			}
			got := flowsByName(t, a)
			if f := got[nameOf(c.second)]; len(got) != 1 || f.State != c.state {
				t.Errorf("conntrack has %+v, want one in state %s", got, c.state)
			}
		})
	}
}

// TestRootWhatCannotBeCarried: what conntrack does not take is named, and keeps nothing else from being taken.
func TestRootWhatCannotBeCarried(t *testing.T) {
	a := inside(t)
	flows := []firewall.FlowRecord{
		record(6, "10.0.1.1:1", "10.0.2.1:80", "established", true),
		record(6, "10.0.1.1:1", "[fd00::2]:80", "established", true), // two families
		{Proto: 6}, // no addresses
		record(1, "[fd00::1]:1", "[fd00::2]:1", "replied", true), // ICMP of the other family
		record(132, "10.0.1.1:0", "10.0.2.1:0", "replied", true), // SCTP, of which it must know the tags
		asking(record(1, "10.0.1.1:1", "10.0.2.1:1", "replied", true), 99),
		record(17, "10.0.1.1:1", "10.0.2.1:80", "replied", true),
	}
	c, err := a.PutFlows(flows)
	if err != nil || !slices.Equal(c.Left, []int{1, 2, 3, 4, 5}) || c.Full || !strings.Contains(c.Why, "two kinds") {
		t.Errorf("put: %+v, %v; want all but those from 1 to 5, and why", c, err)
	}
	if got := flowsByName(t, a); len(got) != 2 {
		t.Errorf("%d flows in conntrack, want 2: %v", len(got), got)
	}
}

// TestRootEveryProtocol: a flow of each IP protocol is taken or named as left; what was taken is read back, and goes
// when it is told to.
func TestRootEveryProtocol(t *testing.T) {
	a := inside(t)
	var flows []firewall.FlowRecord
	for proto := range 256 {
		for _, ends := range [][2]string{{"10.0.1.1:0", "10.0.2.1:0"}, {"[fd00::1]:0", "[fd00::2]:0"}} {
			f := record(uint8(proto), ends[0], ends[1], "replied", true)
			f.ICMPType, _, _ = f.Request()
			flows = append(flows, f)
		}
	}
	c, err := a.PutFlows(flows)
	if err != nil || c.Full || len(c.Left) > 8 { // ICMP of the other family, and SCTP, UDP-Lite and DCCP where the kernel knows them
		t.Fatalf("put: %+v, %v", c, err)
	}
	got := flowsByName(t, a)
	if len(got) != len(flows)-len(c.Left) {
		t.Errorf("%d flows in conntrack, %d were not taken, of %d", len(got), len(c.Left), len(flows))
	}
	if n, err := a.DeleteFlows(slices.Collect(maps.Values(got))); err != nil || n != len(got) {
		t.Errorf("deleted %d, %v; want %d", n, err, len(got))
	}
}

// TestRootManyFlows crosses the size of a batch.
func TestRootManyFlows(t *testing.T) {
	a := inside(t)
	var flows []firewall.FlowRecord
	for i := range 3*batchSize + 1 {
		flows = append(flows, record(6, fmt.Sprintf("10.0.1.1:%d", 1000+i), "10.0.2.1:80", "established", true))
	}
	put(t, a, flows...)
	half := len(flows) / 2
	if n, err := a.DeleteFlows(flows[:half]); err != nil || n != half {
		t.Errorf("deleted %d, %v; want %d", n, err, half)
	}
	if n, err := a.DeleteFlows(flows); err != nil || n != len(flows)-half {
		t.Errorf("deleted %d of the rest, %v; want %d", n, err, len(flows)-half)
	}
	if got := flowsByName(t, a); len(got) != 0 {
		t.Errorf("%d flows left", len(got))
	}
}

func TestRootFlush(t *testing.T) {
	a := inside(t)
	if _, err := a.PutFlows(carried); err != nil {
		t.Fatal(err)
	}
	if s, err := a.Stats(); err != nil || s.Flows != len(carried) || s.Capacity == 0 || s.Busy == 0 {
		t.Errorf("stats %+v, %v; want %d flows", s, err, len(carried))
	}
	if err := a.FlushFlows(); err != nil {
		t.Fatal(err)
	}
	if got := flowsByName(t, a); len(got) != 0 {
		t.Errorf("%d flows left", len(got))
	}
}

func TestRootApplyNFT(t *testing.T) {
	a := inside(t)
	runs := 0
	a.Run = func(cmd *exec.Cmd) error { runs++; return cmd.Run() }
	list := func() string {
		out, err := exec.Command("nft", "list", "ruleset").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	one, two := "table inet one { }\n", "table inet two { }\n"
	for _, c := range []struct {
		name, script string
		fails        bool
		runs         int
		want         string
	}{
		{"the first", one, false, 1, "one"},
		{"the same costs no nft", one, false, 1, "one"},
		{"another takes its place", two, false, 2, "two"},
		{"a broken one changes nothing", "table inet three { }\nnonsense\n", true, 3, "two"},
		{"the one in force is still known", two, false, 3, "two"},
		{"the first again", one, false, 4, "one"},
	} {
		if err := a.ApplyNFT(c.script); (err != nil) != c.fails {
			t.Errorf("%s: error %v", c.name, err)
		}
		if got := strings.Fields(list()); !slices.Equal(got, []string{"table", "inet", c.want, "{", "}"}) {
			t.Errorf("%s: ruleset is %q", c.name, got)
		}
		if runs != c.runs {
			t.Errorf("%s: nft ran %d times, want %d", c.name, runs, c.runs)
		}
	}
	if err := exec.Command("nft", "flush", "ruleset").Run(); err != nil {
		t.Fatal(err)
	}
	if err := a.ApplyNFT(one); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(list(), "one") {
		t.Error("a ruleset that somebody else removed was taken for being in force")
	}
}

// TestRootSettings: what a ruleset cannot say is set with it, and undone with the next.
func TestRootSettings(t *testing.T) {
	a := inside(t)
	value := func() string {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	for _, c := range []struct{ script, want string }{
		{"define tcp_be_liberal = 1\ntable inet one { }\n", "1"},
		{"define tcp_be_liberal = 0\ntable inet one { }\n", "0"},
		{"define tcp_be_liberal = 1\nnonsense\n", "0"},
	} {
		_ = a.ApplyNFT(c.script)
		if got := value(); got != c.want {
			t.Errorf("%q: be_liberal is %s, want %s", c.script, got, c.want)
		}
	}
}

func TestRootRouting(t *testing.T) {
	inside(t)
	for path, want := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/conf/all/rp_filter": "0",
		"net/netfilter/nf_conntrack_tcp_be_liberal": "0", "net/netfilter/nf_conntrack_tcp_loose": "0",
	} {
		b, err := os.ReadFile("/proc/sys/" + path)
		if err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q, %v; want %s", path, b, err, want)
		}
	}
}
