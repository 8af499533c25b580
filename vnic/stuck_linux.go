package vnic

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A guest can stop its ring. When a frame comes whose kind of GSO no virtio_net_hdr can say (UFO), the kernel drops it,
// but leaves its slot marked as being written (tpacket_rcv in net/packet/af_packet.c sets rx_owner_map before it looks
// at the header). From then on it drops every frame, and wakes nobody. So each NIC looks at its statistics: where
// frames came and all were dropped, its reader is called, and makes the ring anew unless frames are there. What may
// have been a full ring is looked at twice. Only that guest has lost anything. A NIC whose frames flow looks often, so
// that it is deaf for two such times at most; one that is idle, or whose guest stops its ring again and again, twice as
// seldom each time.
const (
	lookOften  = 20 * time.Millisecond
	lookSeldom = 320 * time.Millisecond
)

// watch looks at the statistics now and then, until Close.
func (p *packet) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.look()
	next := min(2*p.looked, lookSeldom)
	switch {
	case p.came > p.lost:
		next, p.quiet, p.suspect = lookOften, false, false
	case p.came == 0:
		p.quiet = true
	case p.quiet || p.suspect:
		p.stuck.Store(true)
		p.waiter.ring()
		p.quiet, p.suspect = false, false
	default: // perhaps it was full, and has been emptied since
		next, p.suspect = p.looked, true
	}
	p.came, p.lost, p.looked = 0, 0, next
	p.watchdog.Reset(next)
}

// look reads the socket's statistics, which also sets them to zero. The caller holds mu.
func (p *packet) look() {
	s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return
	}
	p.came += s.Packets
	p.lost += s.Drops
	p.drops.Add(uint64(s.Drops))
}

// renew makes the ring anew. Meanwhile the socket hears nothing: a frame that came in between would lie in the socket's
// own queue without a slot that says so. Writers wait, because the socket is bound to nothing for a moment.
func (p *packet) renew() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if err := bind(p.fd, p.index, 0); err != nil {
		return err
	}
	for p.rx.long.used = 0; ; p.rx.long.used = 0 {
		if _, ok := p.rx.long.read(p.fd); !ok {
			break
		}
		p.drops.Add(1)
	}
	if err := p.rx.ring.renew(p.fd); err != nil {
		return err
	}
	return bind(p.fd, p.index, unix.ETH_P_ALL)
}
