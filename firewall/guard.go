package firewall

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// vnicGuard is what one vNIC may send from (SpoofGuard, as NSX calls it), as it lies in a flat program. It is no matter
// of policy: it holds in every placement.
type vnicGuard struct {
	own     frame.Addr // the link-local address that follows from the MAC
	mac     frame.MAC
	port    frame.PortID
	addrs   flat.Part // of Policy.addrs: those that it has by the inventory
	segment frame.SegmentID
	on      uint16    // 1 where it is guarded
	unused  [28]uint8 // up to a line of the processor's cache: each frame fetches one
}

// guard is one, with the policy that has what it refers to.
type guard struct {
	*vnicGuard
	policy *Policy
}

// addresses are those that the vNIC has by the inventory.
func (g guard) addresses() []frame.Addr { return g.policy.addrs[g.addrs.From:g.addrs.To] }

// place is an address on a segment: link-local ones are only unique there.
type place struct {
	segment frame.SegmentID
	addr    frame.Addr
}

// guardAt is the guard of what a guest sends at a point; nil where there is none.
func (p *Policy) guardAt(pt Point) *vnicGuard {
	if pt.Dir == FromGuest && int(pt.Port) < len(p.guards) && p.guards[pt.Port].on != 0 {
		return &p.guards[pt.Port]
	}
	return nil
}

// forged says what is forged in a frame that a guest sends; empty where nothing is. It looks at every frame, before
// anything learns from it: at the MAC, at the source address, and at what ARP, RARP and neighbour discovery say of
// either.
func (g guard) forged(cx *Context, k *frame.Key) string {
	switch {
	case k.SrcMAC != g.mac:
		return "the source MAC is not the vNIC's"
	case k.Has(frame.KeyARP):
		return g.arp(cx, k)
	case k.EtherType == etherRARP:
		return g.rarp(cx, k)
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0:
		return ""
	case !g.may(cx, &k.Src) && !mayLack(k):
		return "the source address is not the vNIC's"
	case k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyIPv6|frame.KeyL4):
		return g.discovery(cx, k)
	case k.Proto == frame.ProtoICMP && k.Has(frame.KeyIPv4|frame.KeyL4) && (k.ICMPType == frame.ICMPRedirect || k.ICMPType == frame.ICMPRouterAdvert):
		return noRouter
	}
	return ""
}

const (
	etherRARP = 0x8035 // RFC 903
	noRouter  = "a guest is no router"
)

// may says whether the vNIC may send from an address: one of its own, or a link-local one.
func (g guard) may(cx *Context, a *frame.Addr) bool {
	addrs := g.addresses()
	for i := range addrs {
		if *a == addrs[i] {
			return true
		}
	}
	return isLinkLocal(a) && g.mayLinkLocal(cx, a)
}

func isLinkLocal(a *frame.Addr) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// mayLinkLocal says whether a link-local address is the vNIC's: the one that follows from its MAC, or the first other
// that it was seen with and that is nobody else's (RFC 7217 makes one that nobody can foretell).
func (g guard) mayLinkLocal(cx *Context, a *frame.Addr) bool {
	if *a == g.own {
		return true
	}
	if owner, taken := g.policy.places.of(g.segment, a); taken && owner != g.port {
		return false
	}
	return cx.Flows.linkLocals.take(place{g.segment, *a}, g.port, cx.Now, cx.Dry)
}

// mayTry says whether the vNIC may ask whether anybody has an address (RFC 4862 5.4, RFC 5227 2.1): its own, or one
// that is nobody's. To ask for another's keeps that one from using it.
func (g guard) mayTry(cx *Context, a *frame.Addr) bool {
	if owner, taken := g.policy.places.of(g.segment, a); taken {
		return owner == g.port && owner != 0
	}
	owner, taken := cx.Flows.linkLocals.owner(place{g.segment, *a})
	return !taken || owner == g.port
}

var unspecifiedIPv4 = frame.Addr{10: 0xff, 11: 0xff}

// mayLack says whether a packet may come from who has no address yet: DHCP's (RFC 2131 4.1) and IGMP's in IPv4, and in
// IPv6 what finds out whether an address is free, what looks for a router, and multicast listeners (RFC 4291 2.5.2, RFC
// 3590).
func mayLack(k *frame.Key) bool {
	switch {
	case k.Has(frame.KeyFragment):
	case k.Src == unspecifiedIPv4:
		return k.Proto == frame.ProtoIGMP || k.Proto == frame.ProtoUDP && k.SrcPort == 68 && k.DstPort == 67
	case k.Src == frame.Addr{}:
		switch k.ICMPType {
		case frame.ICMP6NeighbourSolicit, frame.ICMP6RouterSolicit, frame.ICMP6ListenerReport, frame.ICMP6ListenerReport2:
			return k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyL4)
		}
	}
	return false
}

// arp judges what an ARP packet says of its sender (RFC 826). A probe has no sender's address (RFC 5227 2.1.1).
func (g guard) arp(cx *Context, k *frame.Key) string {
	at := int(k.L3)
	switch {
	case len(cx.Eth) < at+28:
		return "an ARP packet that cannot be read"
	case frame.MAC(cx.Eth[at+8:at+14]) != g.mac:
		return "ARP names a MAC that is not the vNIC's"
	case k.ARPOp != 1 && k.ARPOp != 2 && k.ARPOp != 8 && k.ARPOp != 9: // and of InARP (RFC 2390)
		return "ARP that neither asks nor answers"
	case k.Src != unspecifiedIPv4:
		if !slices.Contains(g.addresses(), k.Src) {
			return "ARP names an address that is not the vNIC's"
		}
	case k.ARPOp != 1:
		return "ARP that answers without an address"
	case !g.mayTry(cx, &k.Dst):
		return "an ARP probe for an address that is another's"
	}
	return ""
}

// rarp judges reverse ARP, which has ARP's form: a vNIC may ask for itself, as QEMU does after a migration, and answer
// nobody.
func (g guard) rarp(cx *Context, k *frame.Key) string {
	const asks = 0x0001080006040003
	at := int(k.L3)
	if len(cx.Eth) < at+28 || binary.BigEndian.Uint64(cx.Eth[at:]) != asks || frame.MAC(cx.Eth[at+8:at+14]) != g.mac || frame.MAC(cx.Eth[at+18:at+24]) != g.mac {
		return "RARP about others"
	}
	for _, field := range [][]byte{cx.Eth[at+14 : at+18], cx.Eth[at+24 : at+28]} {
		if a := mapped(field); a != unspecifiedIPv4 && !slices.Contains(g.addresses(), a) {
			return "RARP names an address that is not the vNIC's"
		}
	}
	return ""
}

// discovery judges what neighbour discovery says of its sender. Guests are no routers.
func (g guard) discovery(cx *Context, k *frame.Key) string {
	var options int
	switch k.ICMPType {
	case frame.ICMP6RouterAdvert, frame.ICMP6Redirect:
		return noRouter
	case frame.ICMP6NeighbourAdvert, frame.ICMP6NeighbourSolicit:
		options = int(k.L4) + 24
	case frame.ICMP6RouterSolicit:
		options = int(k.L4) + 8
	default:
		return ""
	}
	end := int(k.Payload) + int(k.PayloadLen)
	if len(cx.Eth) < end || end < options || k.Has(frame.KeyFragment) { // nobody fragments it (RFC 6980)
		return "neighbour discovery that cannot be read"
	}
	nameless := k.Src == frame.Addr{}
	if k.ICMPType != frame.ICMP6RouterSolicit {
		target := frame.Addr(cx.Eth[k.L4+8 : k.L4+24])
		switch {
		case k.ICMPType == frame.ICMP6NeighbourAdvert && !g.may(cx, &target):
			return "neighbour discovery names an address that is not the vNIC's"
		case nameless && !g.mayTry(cx, &target):
			return "neighbour discovery tries an address that is another's"
		case nameless && isLinkLocal(&target):
			g.mayLinkLocal(cx, &target) // who tries it first has it
		}
	}
	for at := options; at < end; {
		if at+8 > end || cx.Eth[at+1] == 0 {
			return "neighbour discovery that cannot be read"
		}
		switch t := cx.Eth[at]; {
		case t != frame.NDSource && t != frame.NDTarget:
		case frame.MAC(cx.Eth[at+2:at+8]) != g.mac:
			return "neighbour discovery names a MAC that is not the vNIC's"
		case nameless:
			return "neighbour discovery names a MAC, but no address"
		}
		at += int(cx.Eth[at+1]) * 8
	}
	return ""
}

// linkLocals are the link-local addresses of guarded vNICs that do not follow from their MACs: one for each vNIC.
type linkLocals struct {
	mu sync.RWMutex
	of map[frame.PortID]*takenLinkLocal
}

type takenLinkLocal struct {
	place
	seen atomic.Int64 // monotonic ns
}

// linkLocalTime is for how long a vNIC must not have used its address before it may have another: it has begun anew.
const linkLocalTime = int64(5 * time.Minute)

// owner says who has an address.
func (l *linkLocals) owner(at place) (owner frame.PortID, taken bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for port, t := range l.of {
		if t.place == at {
			return port, true
		}
	}
	return 0, false
}

// take says whether an address is a vNIC's, which it becomes where it is nobody's and the vNIC has none. Where dry,
// nothing changes.
func (l *linkLocals) take(at place, port frame.PortID, now int64, dry bool) bool {
	l.mu.RLock()
	t := l.of[port]
	l.mu.RUnlock()
	if t != nil && t.place == at {
		if !dry {
			t.seen.Store(now)
		}
		return true
	}
	if owner, taken := l.owner(at); taken && owner != port || t != nil && now-t.seen.Load() < linkLocalTime {
		return false
	}
	if dry {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, t := range l.of {
		if t.place == at && other != port {
			return false
		}
	}
	if l.of == nil {
		l.of = map[frame.PortID]*takenLinkLocal{}
	}
	fresh := &takenLinkLocal{place: at}
	fresh.seen.Store(now)
	l.of[port] = fresh
	return true
}
