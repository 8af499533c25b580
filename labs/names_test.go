package labs

import (
	"os"
	"testing"
)

// TestNamesAndLinks: names as they stand on diagrams, and segments that are links with two ends (RFC 3021, RFC 6164), one of which is the gateway.
func TestNamesAndLinks(t *testing.T) {
	text := `name: links
segments:
  LAN_1: {subnet: 10.10.1.0/24, subnet6: "fd00:10:1::/64"}
  p2p: {subnet: 10.10.9.0/31, subnet6: "fd00:10:9::/127"}
  upper: {subnet: 10.10.9.2/31, gateway: 10.10.9.3}
guests:
  R1: {segment: p2p, address: 10.10.9.1, address6: "fd00:10:9::1"}
  srv_1: {segment: upper, address: 10.10.9.2}
  Z-9_: {segment: LAN_1, address: 10.10.1.10}
policy:
  groups: {Web_Tier: [srv_1, LAN_1]}
  services: {H_1: {tcp: 80}}
  default: drop
  rules:
    - {name: R1_web, from: R1, to: Web_Tier, service: H_1, applied-to: R1, action: allow}
`
	l, err := parseLab(os.DirFS("testdata/bad"), "lab.yaml", []byte(text), Work{})
	if err != nil {
		t.Fatal(err)
	}
	p2p, upper := l.Segments[1], l.Segments[2]
	if p2p.Gateway.String() != "10.10.9.0" || p2p.Gateway6.String() != "fd00:10:9::" || upper.Gateway.String() != "10.10.9.3" {
		t.Errorf("gateways %s, %s and %s", p2p.Gateway, p2p.Gateway6, upper.Gateway)
	}
	if a := l.Guests[0].VNICs[0]; a.Address.String() != "10.10.9.1" || a.Address6.String() != "fd00:10:9::1" {
		t.Errorf("%+v", a)
	}
}
