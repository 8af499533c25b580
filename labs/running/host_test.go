package running_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestRootHostRoutes: this machine, as a guest of kind host, has its addresses of both families, and reaches another
// segment by the routes that docs/labs.md names.
func TestRootHostRoutes(t *testing.T) {
	sideBySide(t)
	name, dir := uniqueLab(t, "host"), t.TempDir()
	text := "name: " + name + `
segments:
  lan: {subnet: 10.99.11.0/24, subnet6: "fd00:99:11::/64"}
  dmz: {subnet: 10.99.12.0/24, subnet6: "fd00:99:12::/64"}
guests:
  here: {segment: lan, address: 10.99.11.30, kind: host}
  server: {segment: dmz, address: 10.99.12.10, kind: netns, services: [http]}
policy:
  default: allow
placement: fast
`
	if err := os.WriteFile(filepath.Join(dir, "lab.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "lab", "deploy", dir)
	device := deviceWith(t, "10.99.11.30", "fd00:99:11::30")
	for _, c := range []struct{ subnet, gateway, server string }{
		{"10.99.12.0/24", "10.99.11.1", "10.99.12.10"},
		{"fd00:99:12::/64", "fd00:99:11::1", "fd00:99:12::10"},
	} {
		_, to, err := net.ParseCIDR(c.subnet)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: device, Dst: to, Gw: net.ParseIP(c.gateway)}); err != nil {
			t.Fatalf("ip route add %s via %s: %v", c.subnet, c.gateway, err)
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(c.server, "80"), 20*time.Second)
		if err != nil {
			t.Errorf("the server at %s: %v", c.server, err)
			continue
		}
		conn.Close()
	}
}

// deviceWith finds the device of this machine that has all of the addresses.
func deviceWith(t *testing.T, addrs ...string) int {
	t.Helper()
	has, index := map[netip.Addr]int{}, 0
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		ip, _ := netip.AddrFromSlice(a.IP)
		has[ip.Unmap()] = a.LinkIndex
	}
	for _, a := range addrs {
		i, ok := has[netip.MustParseAddr(a)]
		if !ok || index != 0 && i != index {
			t.Fatalf("%s is on device %d, others on %d: %v", a, i, index, all)
		}
		index = i
	}
	return index
}
