package agent

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// TestEchoUDP: a datagram of any length comes back whole, from the address that it was sent to.
func TestEchoUDP(t *testing.T) {
	probe, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	port := probe.LocalAddr().(*net.UDPAddr).Port
	probe.Close()
	if err := startEchoUDP(port); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		to := netip.MustParseAddrPort(net.JoinHostPort(host, strconv.Itoa(port)))
		c, err := net.ListenUDP("udp", &net.UDPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		for _, n := range []int{0, 1, 2048, 2049, 9000, 65507} {
			sent, got := bytes.Repeat([]byte{byte(n) | 1}, n), make([]byte, maxDatagram)
			if _, err := c.WriteToUDPAddrPort(sent, to); err != nil {
				t.Fatalf("%s, %d bytes: %v", host, n, err)
			}
			m, from, err := c.ReadFromUDPAddrPort(got)
			if err != nil || !bytes.Equal(got[:m], sent) {
				t.Fatalf("%s: %d bytes came back of %d, %v", host, m, n, err)
			}
			if from.Addr().Unmap() != to.Addr() {
				t.Errorf("the answer of %s came from %s", to, from)
			}
		}
	}
}
