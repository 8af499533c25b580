package labfile

import (
	"fmt"
	"net/netip"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// Card is one vNIC of a lab with everything that follows from its place in the file: ports are numbered through the
// guests in order, the appliance's last, and MACs follow from the numbers, so the same file gives the same lab every
// time.
type Card struct {
	Port    frame.PortID
	Name    string // the guest's; with /N where it has several vNICs
	Guest   int    // index in Lab.Guests; -1 for the appliance
	Index   int    // among the guest's vNICs
	MAC     frame.MAC
	Segment frame.SegmentID // 0 for the one that steered frames go to, which has no address on a segment
	Addrs   []netip.Addr
}

// Steer says that it is the appliance's vNIC for steered frames.
func (c Card) Steer() bool { return c.Segment == 0 }

// Cards lists every vNIC of the lab.
func (l *Lab) Cards() []Card {
	var out []Card
	add := func(guest int, g *Guest) {
		for i, v := range g.VNICs {
			c := Card{
				Port: frame.PortID(len(out) + 1), Name: g.Name, Guest: guest, Index: i,
				Segment: frame.SegmentID(v.Segment + 1), Addrs: v.Addrs(),
			}
			if len(g.VNICs) > 1 {
				c.Name = fmt.Sprintf("%s/%d", g.Name, i)
			}
			c.MAC = guestMAC(c.Port)
			out = append(out, c)
		}
	}
	for i := range l.Guests {
		add(i, &l.Guests[i])
	}
	if l.Appliance != nil {
		add(-1, l.Appliance)
		for i := range out {
			if out[i].Guest < 0 { // it serves the gateway, under the gateway's own MAC
				out[i].MAC = gatewayMAC(out[i].Segment)
			}
		}
		port := frame.PortID(len(out) + 1)
		out = append(out, Card{
			Port: port, Name: l.Appliance.Name + "/" + firewall.SteerNIC, Guest: -1, Index: len(l.Appliance.VNICs), MAC: guestMAC(port),
		})
	}
	return out
}

// SteerMAC is the switch's own, at its end of the tunnel.
var SteerMAC = frame.MAC{0x02, 0x53, 0x4c, 0x02, 0x00, 0x01}

// Outer is the two ends of the tunnel that steered frames go through; zero where the lab has no appliance.
func (l *Lab) Outer() frame.Outer {
	for _, c := range l.Cards() {
		if c.Steer() {
			return frame.Outer{
				Local: frame.AddrFrom(frame.TunnelSwitch), LocalMAC: SteerMAC,
				Peer: frame.AddrFrom(frame.TunnelAppliance), PeerMAC: c.MAC,
			}
		}
	}
	return frame.Outer{}
}

// guestMAC is a locally administered address (IEEE 802, bit 1 of the first byte).
func guestMAC(p frame.PortID) frame.MAC {
	return frame.MAC{0x02, 0x53, 0x4c, 0x00, byte(p >> 8), byte(p)}
}

func gatewayMAC(s frame.SegmentID) frame.MAC {
	return frame.MAC{0x02, 0x53, 0x4c, 0x01, byte(s >> 8), byte(s)}
}

// Inventory is the lab as a policy sees it.
func (l *Lab) Inventory() *firewall.Inventory {
	inv := &firewall.Inventory{}
	for i, s := range l.Segments {
		id := frame.SegmentID(i + 1)
		inv.Segments = append(inv.Segments, firewall.InvSegment{
			Name: s.Name, ID: id, Prefixes: s.Prefixes(), Gateways: s.Gateways(), GatewayMAC: gatewayMAC(id),
		})
	}
	for _, g := range l.Guests {
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: g.Name})
	}
	for _, c := range l.Cards() {
		if c.Guest >= 0 {
			g := &inv.Guests[c.Guest]
			g.VNICs = append(g.VNICs, firewall.InvVNIC{
				Port: c.Port, Segment: c.Segment, MAC: c.MAC, Addrs: c.Addrs, Guarded: !l.Guests[c.Guest].Unguarded,
			})
		}
	}
	return inv
}

// SwitchSegments is the lab's segments as the switch sees them.
func (l *Lab) SwitchSegments() []vswitch.Segment {
	var out []vswitch.Segment
	for i, s := range l.Segments {
		id := frame.SegmentID(i + 1)
		out = append(out, vswitch.Segment{
			ID: id, Name: s.Name, Prefixes: s.Prefixes(), Gateways: s.Gateways(), GatewayMAC: gatewayMAC(id), MTU: s.MTU,
			MACAge: s.MACAge,
		})
	}
	return out
}
