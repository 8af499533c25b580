package user_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vnic/frame"
)

// The matrix: odd packets through every placement, and through a real Linux router with the same policy. What became of each at the router is
// in a file, which TestRootMatrixRouter holds against the kernel; TestMatrix holds the placements against the file, but for the differences
// that docs/policy.md lists with a reason.

var writeRouter = flag.Bool("write-router", false, "TestRootMatrixRouter writes testdata/router.txt anew")

const routerFile = "testdata/router.txt"

func matrixInventory() *firewall.Inventory {
	inv := &firewall.Inventory{Segments: []firewall.InvSegment{
		{Name: "lan", ID: 1, Prefixes: prefixes("10.10.1.0/24", "fd00:10:1::/64")},
		{Name: "dmz", ID: 2, Prefixes: prefixes("10.10.2.0/24", "fd00:10:2::/64")},
	}}
	for i, g := range [][]string{{"client", "10.10.1.10", "fd00:10:1::10"}, {"server", "10.10.2.10", "fd00:10:2::10"}} {
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: g[0], VNICs: []firewall.InvVNIC{{
			Port: frame.PortID(i + 1), Segment: frame.SegmentID(i + 1), MAC: frame.MAC{2, 0, 0, 0, 0, byte(i + 1)},
			Addrs: []netip.Addr{netip.MustParseAddr(g[1]), netip.MustParseAddr(g[2])},
		}}})
	}
	return inv
}

// result is what came of a case: near is the client's side. Where the server sends what is judged, they are still so.
func (c *oddCase) result(came [2][][]byte) string {
	var sent [][]byte
	for _, f := range c.judged {
		sent = append(sent, f.eth)
	}
	var o cameOf
	fromServer := c.judged[0].server
	for side, frames := range came {
		for _, f := range frames {
			o.add(f, (side == 1) != fromServer, sent)
		}
	}
	return o.String()
}

// compareRouter holds what a router has said, with the policy and without, against the file.
func compareRouter(t *testing.T, cases []oddCase, said [2][]string) {
	var b strings.Builder
	b.WriteString("# What a Linux router made of each odd packet, with the policy and without; written by TestRootMatrixRouter -args -write-router.\n")
	for i, c := range cases {
		fmt.Fprintf(&b, "%s | %s | %s\n", c.name, said[0][i], said[1][i])
	}
	if *writeRouter {
		if err := os.WriteFile(routerFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(routerFile)
	if err != nil {
		t.Fatal(err)
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			t.Errorf("line %d: the file has %q, the router says %q", i+1, slices.Concat(w[min(i, len(w)):], []string{""})[0], slices.Concat(g[min(i, len(g)):], []string{""})[0])
		}
	}
}

// routerSaid reads the file: by case, with the policy and without.
func routerSaid(t *testing.T) map[string][2]string {
	text, err := os.ReadFile(routerFile)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][2]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), " | "); len(f) == 3 {
			said[f[0]] = [2]string{f[1], f[2]}
		}
	}
	return said
}

// TestMatrix sends every case through every placement that the engine enforces by itself, and through off.
func TestMatrix(t *testing.T) {
	said := routerSaid(t)
	cases := matrixCases()
	met := newMeant()
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] {
			t.Errorf("two cases are %q", c.name)
		}
		seen[c.name] = true
	}
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Inspect} {
		t.Run(to.String(), func(t *testing.T) {
			r := newMatrixRig(t, to)
			column := 0
			if to == firewall.Off {
				column = 1
			}
			for _, c := range cases {
				r.ahead.Add(int64(2 * time.Millisecond)) // the gateway says 1,000 errors a second
				r.exchange(c.before)
				got := c.result(r.exchange(c.judged))
				want := said[c.name][column]
				if got != want {
					met.note(t, difference{c.name, to, want, got})
				}
			}
			t.Logf("%d cases, %d differ", len(cases), met.of[to])
		})
	}
	met.compare(t)
}

// matrixRig is a switch with the two guests, which only listen.
type matrixRig struct {
	*rig
}

func newMatrixRig(t *testing.T, to firewall.Placement) *matrixRig {
	r := newRig(t)
	r.policy(matrixPolicy)
	inspector := inspect.New(inspect.Default(), time.Now())
	r.fw.judge = func(eth []byte) frame.Word { return inspector.Judge(time.Now(), frame.From(eth)) }
	r.place(to)
	return &matrixRig{r}
}

// exchange sends frames, and gives all that came to each guest.
func (r *matrixRig) exchange(frames []sentFrame) (came [2][][]byte) {
	for _, f := range frames {
		from := r.client
		if f.server {
			from = r.server
		}
		from.send(frame.From(f.eth))
	}
	for range 2 { // the answer to the first may come before what else its batch gives is written
		for i, g := range []*guest{r.client, r.server, r.other} {
			side := i % 2
			gateway := frame.AddrFrom([]netip.Addr{lan4, dmz4}[side])
			g.send(arp(1, g.port.MAC, broadcast, g.addr(false), gateway))
			got := g.until(func(k *frame.Key) bool { return k.Has(frame.KeyARP) && k.ARPOp == 2 && k.Src == gateway })
			if g != r.other || len(frames) > 0 && frames[0].server { // whom the server's frames reach is at the same end of the router
				came[side] = append(came[side], got...)
			}
		}
	}
	return came
}

// until gives what has come to a guest before a frame that last takes.
func (g *guest) until(last func(*frame.Key) bool) (frames [][]byte) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case f := <-g.got:
			var k frame.Key
			if frame.Parse(f, &k); last(&k) {
				return frames
			}
			frames = append(frames, f.Eth())
		case <-deadline:
			g.t.Fatalf("%s: the gateway does not answer", g.port.Name)
		}
	}
}
