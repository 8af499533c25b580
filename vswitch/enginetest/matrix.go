package enginetest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/matrix"
)

// testMatrix sends every odd packet through every placement that the engine enforces by itself, and through off, and
// holds what comes of it against what a router made of it, but for the differences that docs/policy.md lists with a
// reason.
func testMatrix(t *testing.T, bed Bed) {
	said, cases, met := matrix.Said(), matrix.Cases(), matrix.NewMeant()
	placements := []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Inspect}
	for _, to := range placements {
		t.Run(to.String(), func(t *testing.T) {
			r := newMatrixRig(t, bed, to)
			for _, c := range cases {
				r.clock.skip(2 * time.Millisecond) // the gateway says 1,000 errors a second
				for i := range c.Before {
					r.exchange(c.Before[i : i+1])
				}
				foretold := r.foretell(c)
				noteDifference(t, met, to, c.Name, said.In(to, c.Name), c.Result(r.exchange(c.Judged)))
				foretold(t)
			}
			t.Logf("%d cases, %d differ", len(cases), met.Of[to])
		})
	}
	for _, row := range met.Unmet(true, placements...) {
		t.Errorf("nothing differs so any more: %s", row)
	}
}

func noteDifference(t *testing.T, met *matrix.Meant, to firewall.Placement, name, router, engine string) {
	t.Helper()
	if engine != router && !met.Note(matrix.Difference{Name: name, Placement: to, Router: router, Engine: engine}) {
		t.Errorf("%s: router %s, engine %s: no row of the table", name, router, engine)
	}
}

// matrixRig is a switch with the two guests, which only listen.
type matrixRig struct {
	*rig
}

func newMatrixRig(t *testing.T, bed Bed, to firewall.Placement) *matrixRig {
	r := bed.rig(t)
	r.policy(matrix.Policy)
	inspector := inspect.New(inspect.Default(), time.Now())
	r.fw.judge = func(eth []byte) frame.Verdict { return inspector.Judge(time.Now(), frame.From(eth)) }
	r.place(to)
	return &matrixRig{r}
}

// foretell traces the frame of a case, and gives what says whether the switch then did the same: it dropped the frame
// for that reason, or not.
func (r *matrixRig) foretell(c matrix.Case) (compare func(*testing.T)) {
	if len(c.Judged) > 1 || c.Judged[0].Vnet != (frame.Vnet{}) {
		return func(*testing.T) {} // what becomes of a fragment depends on others, and a trace has no virtio_net_hdr
	}
	from := map[bool]string{false: "client", true: "server"}[c.Judged[0].Server]
	told, err := r.sw.Trace(vswitch.TraceRequest{Frame: c.Judged[0].Eth, At: from})
	before := r.sw.Stats().Dropped
	return func(t *testing.T) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			return
		}
		var why []string
		for reason, n := range r.settled().Dropped {
			n -= before[reason]
			if reason == "own-gateway" && told.Reason != reason {
				n = 0 // the exchange asks gateways for their MACs, and a slow one asks again
			}
			if n > 0 && reason != "inspected" { // the inspector's verdict depends on what it has seen
				why = append(why, reason)
			}
		}
		if got := strings.Join(why, ", "); got != told.Reason || (told.Verdict == "pass") != (got == "") {
			t.Errorf("%s: the trace says %s %q, the switch has dropped it for %q", c.Name, told.Verdict, told.Reason, got)
		}
	}
}

// exchange sends frames, and gives all that came to each guest.
func (r *matrixRig) exchange(frames []matrix.Frame) (came [2][][]byte) {
	for _, f := range frames {
		from := r.client
		if f.Server {
			from = r.server
		}
		from.send(f.Made())
	}
	for range 2 { // the answer to the first may come before what else its batch gives is written
		for i, g := range []*guest{r.client, r.server, r.other} {
			side := i % 2
			gateway := frame.AddrFrom([]netip.Addr{lan4, dmz4}[side])
			g.send(arp(1, g.port.MAC, broadcast, g.addr(false), gateway))
			got, _, _ := g.until("answer of the gateway", func(k *frame.Key) bool {
				return k.Has(frame.KeyARP) && k.ARPOp == 2 && k.Src == gateway && k.Dst == g.addr(false)
			})
			if g != r.other || len(frames) > 0 && frames[0].Server { // whom the server's frames reach is at the same end of the router
				came[side] = append(came[side], matrix.Finished(got...)...)
			}
		}
	}
	return came
}
