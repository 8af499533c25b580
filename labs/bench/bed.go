package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Wiring is how the two guests hang on the switch.
type Wiring string

// The wirings.
const (
	TAP  Wiring = "tap"  // TAPs whose far end a process plays as QEMU would, virtio_net_hdr included
	Veth Wiring = "veth" // veths into namespaces: packet sockets for frames, the kernel's own TCP for TCP
)

// portName are the switch's two devices.
var portName = [2]string{"p1", "p2"}

const farName = "eth0"

// bed is what one subject lies on while it is measured: the switch's namespace, one for each guest, and the guests'
// ends. Everything in it is new for each measurement.
type bed struct {
	wiring  Wiring
	dir     string // for sockets and files of the switch
	profile string // see Plan
	sw      *space
	far     [2]*space
	ends    [2]*os.File // what the player is given
	player  *player
	ownTAPs bool       // the switch made TAPs of its own: the guests are packet sockets on them
	procs   []*process // the switch's; ended last started first
	undo    []func() error
}

func newBed(wiring Wiring) (*bed, error) {
	b := &bed{wiring: wiring}
	var err error
	if b.dir, err = os.MkdirTemp("", "sl-bench-"); err != nil {
		return nil, err
	}
	for _, s := range []**space{&b.sw, &b.far[0], &b.far[1]} {
		if *s, err = newSpace(); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, nil
}

// wire makes the devices of the wiring. A switch that cannot take GSO frames gets guests that send none, as its manual
// says or as its own TAPs are.
func (b *bed) wire(ctx context.Context, gso bool) error {
	for i := range b.ends {
		var err error
		if b.wiring == TAP {
			b.ends[i], err = b.sw.makeTAP(portName[i], gso)
		} else {
			err = b.makeVeth(ctx, i, gso)
		}
		if err != nil {
			return fmt.Errorf("make %s %s: %w", b.wiring, portName[i], err)
		}
	}
	return nil
}

// makeTAP makes a TAP with virtio_net_hdr as QEMU does, and gives the guest's end.
func (s *space) makeTAP(name string, gso bool) (*os.File, error) {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP, NonPersist: true,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR, Queues: 1}
	if err := s.do(func() error { return s.LinkAdd(tap) }); err != nil {
		return nil, err
	}
	fd := tap.Fds[0]
	if gso {
		const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
		if err := unix.IoctlSetInt(int(fd.Fd()), unix.TUNSETOFFLOAD, offloads); err != nil {
			return fd, fmt.Errorf("TUNSETOFFLOAD: %w", err)
		}
	}
	return fd, s.LinkSetUp(tap)
}

// makeVeth makes a veth from the switch to guest i, whose end is a packet socket; for TCP see address.
func (b *bed) makeVeth(ctx context.Context, i int, gso bool) error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: portName[i]}, PeerName: farName,
		PeerHardwareAddr: guestMAC[i], PeerNamespace: netlink.NsFd(b.far[i].ns)}
	if err := b.sw.LinkAdd(veth); err != nil {
		return err
	}
	if !gso {
		if _, err := b.far[i].run(ctx, nil, "ethtool", "-K", farName, "tx", "off", "tso", "off", "gso", "off"); err != nil {
			return err
		}
	}
	if err := b.sw.LinkSetUp(veth); err != nil {
		return err
	}
	return b.guestUp(i, farName)
}

// guestUp brings guest i's device up in its own namespace and opens the packet socket on it.
func (b *bed) guestUp(i int, name string) (err error) {
	link, err := b.far[i].LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := b.far[i].LinkSetHardwareAddr(link, guestMAC[i]); err != nil {
		return fmt.Errorf("set the address of %s: %w", name, err)
	}
	if err := b.far[i].LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	b.ends[i], err = b.far[i].packetSocket(link.Attrs().Index)
	return err
}

// packetSocket opens the packet generator's end of a device.
func (s *space) packetSocket(index int) (*os.File, error) {
	fd := -1
	err := s.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		for _, o := range []struct{ level, name, value int }{
			{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4 << 20},
			{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1},
			{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		} {
			if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
				return err
			}
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

// address gives the guests their addresses, for their kernels' own TCP. While frames are counted they have none, so
// that the kernels do not answer frames that a packet socket has already taken.
func (b *bed) address() error {
	for i, s := range b.far {
		links, err := s.LinkList()
		if err != nil {
			return err
		}
		for _, link := range links {
			if link.Attrs().HardwareAddr.String() != guestMAC[i].String() {
				continue
			}
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: guestIP[i], Mask: net.CIDRMask(24, 32)}}
			if err := s.AddrReplace(link, addr); err != nil {
				return fmt.Errorf("give the guest %s its address: %w", guestIP[i], err)
			}
		}
	}
	return nil
}

// keep notes a process of the switch, to be counted and ended.
func (b *bed) keep(p *process, err error) (*process, error) {
	if err == nil {
		b.procs = append(b.procs, p)
	}
	return p, err
}

// close ends what the measurement started, and frees its namespaces and so all that is in them.
func (b *bed) close() error {
	var errs []error
	if b.player != nil {
		b.player.close()
	}
	for i := len(b.procs) - 1; i >= 0; i-- {
		b.procs[i].stop()
	}
	for i := len(b.undo) - 1; i >= 0; i-- {
		errs = append(errs, b.undo[i]())
	}
	for _, f := range b.ends {
		if f != nil {
			f.Close()
		}
	}
	for _, s := range []*space{b.sw, b.far[0], b.far[1]} {
		if s != nil {
			s.close()
		}
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
