package firewall

import (
	"fmt"
	"net/netip"

	"sluice/vnic/frame"
)

// Inventory is what a policy's nouns may refer to.
type Inventory struct {
	Segments []InvSegment
	Guests   []InvGuest
}

// InvSegment is a segment as a policy sees it.
type InvSegment struct {
	Name       string
	ID         frame.SegmentID
	Prefixes   []netip.Prefix
	Gateways   []netip.Addr // what is sent to them meets from-guest only
	GatewayMAC frame.MAC
}

// InvGuest is a guest as a policy sees it. The appliance is not in the inventory: its ports are no insertion points.
type InvGuest struct {
	Name  string
	VNICs []InvVNIC
}

// InvVNIC is one vNIC of a guest, with the addresses that are its own.
type InvVNIC struct {
	Port    frame.PortID
	Segment frame.SegmentID
	MAC     frame.MAC
	Addrs   []netip.Addr
	// Guarded makes the engine drop what the guest sends from other addresses or MACs than these, and forged ARP and
	// neighbour discovery, in every placement.
	Guarded bool
}

// VNIC is what a port's vNIC is called: by its guest, and with a number where that has several. A port that no guest
// has is elsewhere.
func (inv *Inventory) VNIC(port frame.PortID) string {
	for _, g := range inv.Guests {
		for i, v := range g.VNICs {
			switch {
			case v.Port != port:
			case len(g.VNICs) > 1:
				return fmt.Sprintf("%s/%d", g.Name, i)
			default:
				return g.Name
			}
		}
	}
	return "elsewhere"
}
