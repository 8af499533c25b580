package running_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addressesLab has two guests that share an address, and one with a leg on each segment.
const addressesLab = `name: %s
segments:
  lan: {subnet: 10.10.1.0/24, subnet6: "fd00:10:1::/64"}
  dmz: {subnet: 10.10.2.0/24, subnet6: "fd00:10:2::/64"}
guests:
  both:
    vnics:
      - {segment: lan, address: 10.10.1.30, address6: "fd00:10:1::30"}
      - {segment: dmz, address: 10.10.2.30, address6: "fd00:10:2::30"}
    services: [http]
  client: {segment: lan, address: 10.10.1.10, address6: "fd00:10:1::10"}
  server: {segment: dmz, address: 10.10.2.10, address6: "fd00:10:2::10", services: [http], spoofguard: false}
  spare: {segment: dmz, address: 10.10.2.12, services: [http], spoofguard: false}
appliance: {name: fw}
policy:
  default: allow
placement: fast
`

// Addresses that move, addresses that nobody has, and guests with two legs: the same in every placement.
func TestLabAddresses(t *testing.T) { testAddresses(t, "qemu") }

func testAddresses(t *testing.T, kind string) {
	needRoot(t)
	name := uniqueLab(t, "addr")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lab.yaml"), fmt.Appendf(nil, addressesLab, name), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "lab", "deploy", dir, "--guests", kind)
	for _, p := range enforcing(t, name, kind) {
		must(t, "--lab", name, "place", p)
		addressMoves(t, name)
		legsAnswer(t, name)
		if r := inGuest(t, name, "client", "", "wget", "-T", "20", "-O", "/dev/null", "http://10.10.2.99/"); !strings.Contains(r.stderr, "No route to host") {
			t.Errorf("%s: of an address that nobody has it is said: %q", p, r.stderr)
		}
	}
}

// addressMoves hands an address to and fro, as VRRP does: announced once, with each guest's own MAC, and with one that
// moves along.
func addressMoves(t *testing.T, lab string) {
	t.Helper()
	const take = "ip addr add 10.10.2.100/32 dev eth0; arping -q -U -c1 -I eth0 10.10.2.100"
	const leave = "ip addr del 10.10.2.100/32 dev eth0"
	for _, how := range []struct{ take, leave string }{
		{take, leave},
		{"cat /sys/class/net/eth0/address >/tmp/mac; ip link set eth0 address 00:00:5e:00:01:07; " + take,
			leave + "; ip link set eth0 address $(cat /tmp/mac)"},
	} {
		for _, holder := range []string{"server", "spare", "server"} {
			script(t, lab, holder, how.take)
			script(t, lab, "client", "ping -c1 -W5 10.10.2.100 >/dev/null; wget -T 5 -qO /dev/null http://10.10.2.100/")
			script(t, lab, holder, how.leave)
		}
	}
}

// legsAnswer says that a guest with two legs answers at all of its addresses, from everywhere, and asks from either.
func legsAnswer(t *testing.T, lab string) {
	t.Helper()
	for _, from := range []string{"client", "server"} {
		script(t, lab, from, "for to in 10.10.1.30 10.10.2.30 fd00:10:1::30 fd00:10:2::30; do ping -c1 -W5 $to >/dev/null; done\n"+
			"for to in 10.10.1.30 10.10.2.30 [fd00:10:1::30] [fd00:10:2::30]; do wget -T 5 -qO /dev/null http://$to/; done")
	}
	script(t, lab, "both", "for from in 10.10.1.30 10.10.2.30; do ping -c1 -W5 -I $from 10.10.2.10 >/dev/null; done")
}
