package firewall

import (
	"slices"

	"sluice/vnic/frame"
)

// guard is what one vNIC may send from (SpoofGuard, as NSX calls it). It is no matter of policy: it holds in every placement.
type guard struct {
	on    bool
	mac   frame.MAC
	addrs []frame.Addr
}

// newGuards makes the guards of an inventory, by port.
func newGuards(inv *Inventory) (out []guard) {
	for _, g := range inv.Guests {
		for _, v := range g.VNICs {
			for len(out) <= int(v.Port) {
				out = append(out, guard{})
			}
			if !v.Guarded || v.MAC == (frame.MAC{}) {
				continue
			}
			out[v.Port] = guard{on: true, mac: v.MAC}
			for _, a := range v.Addrs {
				out[v.Port].addrs = append(out[v.Port].addrs, frame.AddrFrom(a))
			}
		}
	}
	return out
}

// guardAt is the guard of what a guest sends at a point; nil where there is none.
func (p *Policy) guardAt(pt Point) *guard {
	if pt.Dir == FromGuest && int(pt.Port) < len(p.guards) && p.guards[pt.Port].on {
		return &p.guards[pt.Port]
	}
	return nil
}

// forged says what is forged in a frame that a guest sends; empty where nothing is. It looks at every frame, before anything learns from
// it: at the MAC, at the source address, and at what ARP and neighbour discovery say of either.
func (g *guard) forged(cx *Context, k *frame.Key) string {
	switch {
	case k.SrcMAC != g.mac:
		return "the source MAC is not the vNIC's"
	case k.Has(frame.KeyARP):
		return g.arp(cx, k)
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0:
		return ""
	case !g.may(&k.Src):
		return "the source address is not the vNIC's"
	case k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyL4):
		return g.discovery(cx, k)
	}
	return ""
}

// may says whether the vNIC may send from an address: its own, any link-local one, and the unspecified one while it has none yet.
func (g *guard) may(a *frame.Addr) bool {
	for i := range g.addrs {
		if *a == g.addrs[i] {
			return true
		}
	}
	linkLocal := a[0] == 0xfe && a[1]&0xc0 == 0x80
	return linkLocal || *a == frame.Addr{} || *a == unspecifiedIPv4
}

var unspecifiedIPv4 = frame.Addr{10: 0xff, 11: 0xff}

// arp judges what an ARP packet says of its sender (RFC 826; a probe of RFC 5227 has no sender's address).
func (g *guard) arp(cx *Context, k *frame.Key) string {
	at := int(k.L3)
	switch {
	case len(cx.Eth) < at+28:
		return "an ARP packet that cannot be read"
	case frame.MAC(cx.Eth[at+8:at+14]) != g.mac:
		return "ARP names a MAC that is not the vNIC's"
	case k.Src != unspecifiedIPv4 && !slices.Contains(g.addrs, k.Src):
		return "ARP names an address that is not the vNIC's"
	}
	return ""
}

// The neighbour discovery messages that say something of their sender (RFC 4861 4), and their options.
const (
	ndRouterSolicitation = 133

	ndSolicitation  = 135
	ndAdvertisement = 136
	ndRouter        = 134
	ndRedirect      = 137

	ndOptionSource = 1
	ndOptionTarget = 2
)

// discovery judges what neighbour discovery says of its sender. Guests are no routers.
func (g *guard) discovery(cx *Context, k *frame.Key) string {
	var options int
	switch k.ICMPType {
	case ndRouter, ndRedirect:
		return "a guest is no router"
	case ndAdvertisement, ndSolicitation:
		options = int(k.L4) + 24
	case ndRouterSolicitation:
		options = int(k.L4) + 8
	default:
		return ""
	}
	end := int(k.Payload) + int(k.PayloadLen)
	if len(cx.Eth) < end || end < options {
		return "neighbour discovery that cannot be read"
	}
	if k.ICMPType == ndAdvertisement {
		if target := frame.Addr(cx.Eth[k.L4+8 : k.L4+24]); !g.may(&target) {
			return "neighbour discovery names an address that is not the vNIC's"
		}
	}
	for at := options; at < end; {
		if at+8 > end || cx.Eth[at+1] == 0 {
			return "neighbour discovery that cannot be read"
		}
		if t := cx.Eth[at]; (t == ndOptionSource || t == ndOptionTarget) && frame.MAC(cx.Eth[at+2:at+8]) != g.mac {
			return "neighbour discovery names a MAC that is not the vNIC's"
		}
		at += int(cx.Eth[at+1]) * 8
	}
	return ""
}
