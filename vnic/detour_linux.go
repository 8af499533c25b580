package vnic

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A packet socket hears its device before any BPF program does. So where a program is to decide first, the socket hears
// another device, to which the program punts a frame: one end of a veth of the port's own. The program names the other
// end, which stands beside the port's device, and the kernel goes on with the frame as if it had come in at the far end
// (bpf_redirect_peer). That is no queue and no transmission: order holds, nothing is lost on the way, nothing is
// segmented, summed or merged, and no MTU is asked for.
//
// The kernel asks that the far end is in another network namespace. It is a Yard: nothing else is there.

// PuntOffset is what a program adds to the index of a frame's device (ifindex) for the index of the device to which it
// punts. The kernel counts devices from 1, so that its own numbers stay below.
const PuntOffset = 1 << 20

// Diverter is what a NIC also is at whose device a BPF program can decide first.
type Diverter interface {
	// Divert has a program of type SchedCLS decide what becomes of frames that the far end sends. ReadBatch gives those
	// that the program punts, with bpf_redirect_peer(skb->ifindex + PuntOffset, 0). What it neither punts nor redirects
	// it must drop. It is called once, before the first ReadBatch. Close undoes it, and is all that may follow an
	// error. punts may be nil.
	Divert(y *Yard, p *ebpf.Program, punts *Punts) error
	// Device is where the NIC's frames come in.
	Device() (Device, error)
}

// Device is a device of some network namespace.
type Device struct {
	Index     int
	Namespace uint64 // its inode, which names it for as long as it is there (namespaces(7))
}

// Punts are counted so that a program knows whether it may overtake frames that it has punted. Came is counted by the
// program, before each; Settled is what it was when the reader last had none left.
type Punts struct{ Came, Settled *atomic.Uint32 }

// came is to be asked before the reader looks for frames; settle told that it found none.
func (p *Punts) came() uint32 {
	if p == nil {
		return 0
	}
	return p.Came.Load()
}

func (p *Punts) settle(came uint32) {
	if p != nil {
		p.Settled.Store(came)
	}
}

// Yard is a network namespace without a name, for the ends of veths that diverted NICs hear.
type Yard struct{ ns *os.File }

// NewYard makes one. It lives until it is closed and so are all NICs that were diverted to it.
func NewYard() (*Yard, error) {
	y := &Yard{}
	err := OnOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		y.ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a namespace to punt to: %w", err)
	}
	return y, nil
}

// Close lets go of the namespace.
func (y *Yard) Close() error { return y.ns.Close() }

// within calls f on a thread in the namespace.
func (y *Yard) within(f func() error) error {
	defer runtime.KeepAlive(y) // else its file might be closed meanwhile
	return inNamespace(int(y.ns.Fd()), f)
}

// detour is what Divert has made of a NIC.
type detour struct {
	punt   int          // index of the veth's end beside the device
	punts  *Punts       // nil where nobody asks
	watch  int          // a socket that hears nothing of the device, and tells when it is gone
	detach func() error // takes the program away
}

// Divert puts a program before the socket.
func (p *packet) Divert(y *Yard, prog *ebpf.Program, punts *Punts) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return os.ErrClosed
	case p.started || p.detour != nil:
		return fmt.Errorf("divert %s: it is read already", p.name)
	}
	err := p.divert(y, prog, attach)
	p.detour.punts = punts
	if err != nil {
		return fmt.Errorf("divert %s: %w", p.name, err)
	}
	return nil
}

// Device is where the NIC's frames come in.
func (p *packet) Device() (d Device, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return d, os.ErrClosed
	}
	if d.Index = p.index; p.detour != nil {
		d.Index = p.detour.punt - PuntOffset
	}
	err = inNamespaceOf(p.out, func() error {
		info, err := os.Stat("/proc/thread-self/ns/net")
		if err == nil {
			d.Namespace = info.Sys().(*syscall.Stat_t).Ino
		}
		return err
	})
	return d, err
}

// punts counts what is punted to the NIC; nil where nothing is, or nobody asks.
func (p *packet) punts() *Punts {
	if p.detour == nil {
		return nil
	}
	return p.detour.punts
}

// divert moves hearing to the far end of a new veth, then lets the program decide. Most of it is waiting for the
// kernel, which waits for other processors; so what can goes on side by side.
func (p *packet) divert(y *Yard, prog *ebpf.Program, attach attacher) error {
	device := p.index // it will be that of what is heard
	d := &detour{punt: device + PuntOffset, watch: -1, detach: func() error { return nil }}
	p.detour = d // from here on Close undoes what there is
	var heard *socket
	var steps errgroup.Group
	steps.Go(p.deafen)
	steps.Go(func() (err error) {
		heard, err = d.hear(p.out, y)
		return err
	})
	err := steps.Wait()
	if heard != nil {
		p.socket, p.waiter.fd, p.waiter.device = *heard, heard.fd, d.watch
	}
	if err != nil {
		return err
	}
	return inNamespaceOf(p.out, func() error {
		detach, err := attach(device, prog)
		if err == nil {
			d.detach = detach
		}
		return err
	})
}

// hear makes the veth beside a socket's device, and opens a socket that hears its far end.
func (d *detour) hear(out int, y *Yard) (heard *socket, err error) {
	var far int
	err = inNamespaceOf(out, func() (err error) {
		if far, err = newPunt(d.punt, y); err == nil {
			d.watch, err = watchDevice(d.punt - PuntOffset)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = y.within(func() (err error) {
		if err = sealIndex(far); err == nil {
			heard, err = openSocket(far)
		}
		return err
	})
	return heard, err
}

// newPunt makes a veth whose near end has an index, and returns the index of its far end.
func newPunt(index int, y *Yard) (far int, err error) {
	veth := &netlink.Veth{
		LinkAttrs: netlink.NewLinkAttrs(), PeerName: "punt%d", PeerNamespace: netlink.NsFd(y.ns.Fd()), // the kernel puts a number
	}
	veth.Name, veth.Index = fmt.Sprintf("punt%d", index-PuntOffset), index
	if err := netlink.LinkAdd(veth); err != nil {
		return 0, fmt.Errorf("make veth: %w", err)
	}
	if err := sealIndex(index); err != nil {
		return 0, err
	}
	near, err := netlink.LinkByIndex(index)
	if err != nil {
		return 0, err
	}
	return near.Attrs().ParentIndex, nil
}

// sealIndex seals a device and sets it up.
func sealIndex(index int) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	return sealUp(link.Attrs().Name)
}

// watchDevice opens a socket that tells when a device is down or gone. It has to hear something for that; frames of
// this protocol the switch's program or the drop-all has taken away before.
func watchDevice(index int) (fd int, err error) {
	const experimental = 0x88b5 // IEEE 802, for local experiments
	if fd, err = silentSocket(); err != nil {
		return -1, err
	}
	if err := bind(fd, index, experimental); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// end undoes it, and closes the sockets: that which sends, and that which hears. It matters not what goes first. A
// frame that is punted to nobody meets the drop-all of the veth, or no device; one that is not punted, the drop-all
// behind the program. The veth goes with both ends.
func (d *detour) end(out, heard int) error {
	var steps errgroup.Group
	steps.Go(func() error { return inNamespaceOf(out, d.detach) })
	steps.Go(func() error { return inNamespaceOf(out, func() error { return deleted(netlink.LinkByIndex(d.punt)) }) })
	for _, fd := range []int{d.watch, heard} {
		if fd >= 0 && fd != out {
			steps.Go(func() error { return unix.Close(fd) })
		}
	}
	return errors.Join(steps.Wait(), unix.Close(out))
}
