package guest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/labs/guest/agent"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// wire is the far end of a guest's vNIC: a device with addresses in the test's own namespace.
type wire struct {
	mac    frame.MAC
	near   netip.Prefix // the test's
	far    []netip.Prefix
	device string
}

var wires = []wire{
	{frame.MAC{2, 0, 0, 0, 0, 1}, netip.MustParsePrefix("10.77.1.1/24"),
		[]netip.Prefix{netip.MustParsePrefix("10.77.1.2/24"), netip.MustParsePrefix("fd77:1::2/64")}, "sl-guest-0"},
	{frame.MAC{2, 0, 0, 0, 0, 2}, netip.MustParsePrefix("10.77.2.1/24"),
		[]netip.Prefix{netip.MustParsePrefix("10.77.2.2/24"), netip.MustParsePrefix("fd77:2::2/64")}, "sl-guest-1"},
}

// plugTAPs gives a machine its vNICs before it boots.
func plugTAPs(t *testing.T, spec *Spec) {
	t.Helper()
	for i, w := range wires {
		n := NIC{Name: fmt.Sprintf("eth%d", i), MAC: w.mac, Addrs: w.far, MTU: 1400}
		if i == 0 {
			n.Gateways = []netip.Addr{w.near.Addr()}
		}
		if spec.Kind == QEMU {
			tap, err := vnic.NewTAP(w.device, frame.OffloadNone)
			if err != nil {
				t.Fatal(err)
			}
			n.TAP = tap
		}
		spec.NICs = append(spec.NICs, n)
	}
}

// plugVeths gives a namespace guest that runs its vNICs. device names their other ends.
func plugVeths(t *testing.T, m Machine, spec Spec, device func(i int) string) {
	t.Helper()
	if spec.Kind != NetNS {
		return
	}
	ns, err := os.Open(m.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for i, n := range spec.NICs {
		if err := vnic.NewVeth(device(i), vnic.VethPeer{Name: n.Name, MAC: n.MAC, NetNS: ns}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLabWired boots an appliance of each kind with two vNICs, and sees that they carry frames, that it would route,
// and that its ruleset and flows can be written and read.
func TestLabWired(t *testing.T) {
	img := testImage(t)
	for _, kind := range []Kind{NetNS, QEMU} {
		t.Run(string(kind), func(t *testing.T) {
			roottest.Namespace(t)
			spec := Spec{
				Lab: "sl-guest-wired", Name: "fw", Kind: kind, Dir: t.TempDir(), Image: img, Accel: TCG, Appliance: true,
				Neighbours: []appliance.Neighbour{{NIC: "eth1", Addr: netip.MustParseAddr("10.77.2.9"), MAC: "02:00:00:00:00:99"}},
			}
			plugTAPs(t, &spec)
			m := boot(t, spec, func(m Machine) {
				plugVeths(t, m, spec, func(i int) string { return wires[i].device })
			})
			testShell(t, m)
			testFlows(t, m)
		})
	}
}

func shell(t *testing.T, m Machine, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	code, err := m.Agent().Exec(ctx, agent.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		t.Errorf("%s: code %d, error %v: %s", script, code, err, out.String())
	}
	return out.String()
}

func testShell(t *testing.T, m Machine) {
	for _, c := range []struct{ script, want string }{
		{"cat /sys/class/net/eth0/address /sys/class/net/eth1/address", "02:00:00:00:00:01\n02:00:00:00:00:02\n"},
		{"cat /sys/class/net/eth0/mtu", "1400\n"},
		{"ip -br -4 addr show dev eth1", "10.77.2.2/24"},
		{"ip -br -6 addr show dev eth1", "fd77:2::2/64"},
		{"ip -o -6 addr show tentative | wc -l", "0\n"},
		{"ip route show default", "default via 10.77.1.1 dev eth0"},
		{"ip neigh show 10.77.2.9", "10.77.2.9 dev eth1 lladdr 02:00:00:00:00:99 extern_learn"},
		{"cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv4/conf/eth0/rp_filter", "1\n1\n0\n"},
		{"cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "0\n"},
		{"cat /proc/sys/net/ipv4/neigh/eth1/ucast_solicit /proc/sys/net/ipv6/neigh/eth1/ucast_solicit", "100\n100\n"},
	} {
		if got := shell(t, m, c.script); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.script, got, c.want)
		}
	}
}

const testRuleset = `table inet sluice {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		ip saddr 10.77.1.0/24 tcp dport { 80, 443 } counter accept
		meta l4proto tcp limit rate 5/second log prefix "no: " level info
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}
}
`

func testFlows(t *testing.T, m Machine) {
	ctx := t.Context()
	if err := m.Agent().ApplyNFT(ctx, testRuleset); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, m, "nft list ruleset"); !strings.Contains(got, "admin-prohibited") {
		t.Errorf("ruleset is %q", got)
	}
	if err := m.Agent().ApplyNFT(ctx, "table inet broken { nonsense }"); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("a broken ruleset gives %v, want nft's words", err)
	}
	if got := shell(t, m, "nft list ruleset"); !strings.Contains(got, "admin-prohibited") {
		t.Errorf("a broken ruleset changed the old one to %q", got)
	}
	var want []firewall.FlowRecord
	for i := range 40 {
		src := netip.AddrPortFrom(netip.MustParseAddr("10.77.1.9"), uint16(40000+i))
		dst := netip.MustParseAddrPort("10.77.2.9:80")
		want = append(want, firewall.FlowRecord{Proto: 6, Src: src, Dst: dst, State: "established", Replied: true, Timeout: 300})
	}
	for _, what := range []string{"new", "again"} {
		begun := time.Now()
		c, err := m.Agent().PutFlows(ctx, want)
		if err != nil || len(c.Left) > 0 {
			t.Fatalf("put %s: %+v, %v", what, c, err)
		}
		t.Logf("%d flows put (%s) in %v", len(want), what, time.Since(begun))
	}
	begun := time.Now()
	got, err := m.Agent().Flows(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flows read in %v", len(got), time.Since(begun))
	if len(got) < len(want) {
		t.Errorf("%d flows, want %d", len(got), len(want))
	}
	if n, err := m.Agent().DeleteFlows(ctx, want); err != nil || n != len(want) {
		t.Errorf("delete: %d, %v", n, err)
	}
	if s, err := m.Agent().Stats(ctx); err != nil || s.Capacity == 0 {
		t.Errorf("stats %+v, %v", s, err)
	}
	begun = time.Now()
	if err := m.Agent().ApplyNFT(ctx, testRuleset); err != nil {
		t.Fatal(err)
	}
	t.Log("the ruleset in force again in", time.Since(begun))
}
