package enginetest

import (
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/matrix"
)

// testMatrixOpenSums sends the right packets of the matrix with checksums that the sender has left to the NIC, wrong as
// they are until then: the same comes of each as of the packet with its sum.
func testMatrixOpenSums(t *testing.T, bed Bed) {
	said, n := matrix.Said(), 0
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Inspect} {
		r := newMatrixRig(t, bed, to)
		for _, c := range matrix.Cases() {
			if !strings.HasSuffix(c.Name, " as it should be") && !strings.HasSuffix(c.Name, "tcp-22 ttl 1") {
				continue
			}
			var k frame.Key
			f := frame.From(c.Judged[0].Eth)
			at := map[uint8]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6}
			if frame.Parse(f, &k); at[k.Proto] == 0 {
				continue
			}
			f.Eth()[int(k.L4)+at[k.Proto]] ^= 0x55
			f.Vnet().SetChecksum(int(k.L4), at[k.Proto])
			c.Judged[0].Eth = f.Eth()
			r.clock.skip(2 * time.Millisecond)
			r.client.send(f)
			if got := c.Result(r.exchange(nil)); strings.ReplaceAll(got, "far other", "pass") != said.In(to, c.Name) {
				t.Errorf("%s, %s: router %s, engine %s", to, c.Name, said.In(to, c.Name), got)
			}
			n++
		}
	}
	if n < 48 {
		t.Errorf("%d packets were sent", n)
	}
}
