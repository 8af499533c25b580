package firewall

import (
	"sluice/firewall/classifier"
	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// owners is a hash table (package flat) of whose each address is.
type owners []owner

// owner is the vNIC that an address is of; port 0 is the gateway's. A free slot has not been taken.
type owner struct {
	high, low uint64
	segment   frame.SegmentID // 0 where the address is the vNIC's on any
	port      frame.PortID
	taken     uint32
}

func (o *owner) hash() uint32 { return flat.Hash(o.high^uint64(o.segment), o.low) }

func slotOfOwner(o *owner) (hash uint32, used bool) { return o.hash(), o.taken != 0 }

// find gives an address's slot, or nil.
func (t owners) find(segment frame.SegmentID, a *frame.Addr) *owner {
	if len(t) == 0 {
		return nil // of a policy that nobody has loaded
	}
	o := owner{segment: segment}
	o.high, o.low = a.Uint64s()
	for h := o.hash(); ; h++ {
		switch e := &t[h&uint32(len(t)-1)]; {
		case e.taken == 0:
			return nil
		case e.high == o.high && e.low == o.low && e.segment == segment:
			return e
		}
	}
}

// of says whose an address is.
func (t owners) of(segment frame.SegmentID, a *frame.Addr) (port frame.PortID, taken bool) {
	if o := t.find(segment, a); o != nil {
		return o.port, true
	}
	return 0, false
}

// addrs lists the addresses that have an owner, each as a range.
func (t owners) addrs() (out classifier.AddrSet) {
	for i := range t {
		if t[i].taken != 0 {
			a := frame.AddrOf(t[i].high, t[i].low)
			out = append(out, classifier.AddrRange{Lo: a, Hi: a})
		}
	}
	return out
}

// owned is a place, and whose it is.
type owned struct {
	place
	port frame.PortID
}

// newOwners makes the table of a list. Of two owners of one place the later has it.
func newOwners(list []owned) owners {
	t := owners(flat.Table[owner](len(list)))
	for _, p := range list {
		if o := t.find(p.segment, &p.addr); o != nil {
			o.port = p.port
			continue
		}
		o := owner{segment: p.segment, port: p.port, taken: 1}
		o.high, o.low = p.addr.Uint64s()
		flat.Insert(t, o.hash(), o)
	}
	return t
}

// resolveVNICs computes what is looked up of the inventory: by port, and by address.
func (p *Policy) resolveVNICs() {
	var byAddr, byPlace []owned
	segments := map[frame.SegmentID]flat.Part{}
	for _, s := range p.inv.Segments {
		byPlace = append(byPlace, owned{place{s.ID, frame.LinkLocal(s.GatewayMAC)}, 0})
		for _, a := range s.Gateways {
			byPlace = append(byPlace, owned{place{s.ID, frame.AddrFrom(a)}, 0})
		}
		var set classifier.AddrSet
		for _, prefix := range s.Prefixes {
			set = append(set, classifier.PrefixSet(prefix)...)
		}
		from := uint32(len(p.ranges))
		p.ranges = append(p.ranges, set.Normal()...)
		segments[s.ID] = flat.Part{From: from, To: uint32(len(p.ranges))}
	}
	for _, g := range p.inv.Guests {
		for _, v := range g.VNICs {
			for len(p.links) <= int(v.Port) {
				p.links, p.guards = append(p.links, flat.Part{}), append(p.guards, vnicGuard{})
			}
			p.links[v.Port] = segments[v.Segment]
			byPlace = append(byPlace, owned{place{v.Segment, frame.LinkLocal(v.MAC)}, v.Port})
			for _, a := range v.Addrs {
				byAddr = append(byAddr, owned{place{0, frame.AddrFrom(a)}, v.Port})
				byPlace = append(byPlace, owned{place{v.Segment, frame.AddrFrom(a)}, v.Port})
			}
			p.guard(&v)
		}
	}
	p.owners, p.places = newOwners(byAddr), newOwners(byPlace)
}

// guard notes what a guarded vNIC may send from.
func (p *Policy) guard(v *InvVNIC) {
	if !v.Guarded || v.MAC == (frame.MAC{}) {
		return
	}
	from := uint32(len(p.addrs))
	for _, a := range v.Addrs {
		p.addrs = append(p.addrs, frame.AddrFrom(a))
	}
	p.guards[v.Port] = vnicGuard{
		own: frame.LinkLocal(v.MAC), mac: v.MAC, port: v.Port, addrs: flat.Part{From: from, To: uint32(len(p.addrs))},
		segment: v.Segment, on: 1,
	}
}
