package vnic

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// Devices are made in the network namespace of the calling thread: a lab's process lives wholly inside its lab's. A
// caller that changes namespaces itself must hold its thread (runtime.LockOSThread).

// NewTAP makes a TAP with virtio_net_hdr for a guest, up and sealed (see Seal). The file is the guest's end: QEMU
// inherits it, and the TAP lives as long as anyone holds it. offloads is what the far end takes until it says
// otherwise; QEMU does, once its guest has negotiated. The switch's end is OpenPacket(name).
func NewTAP(name string, offloads frame.Offload) (*os.File, error) {
	tap := &netlink.Tuntap{
		LinkAttrs:  netlink.LinkAttrs{Name: name},
		Mode:       netlink.TUNTAP_MODE_TAP,
		Flags:      netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_TUN_EXCL,
		NonPersist: true,
		Queues:     1,
	}
	if err := netlink.LinkAdd(tap); err != nil {
		return nil, fmt.Errorf("make TAP %s: %w", name, err)
	}
	guest := tap.Fds[0]
	if err := setTAPOffloads(guest, offloads); err != nil {
		guest.Close()
		return nil, fmt.Errorf("make TAP %s: %w", name, err)
	}
	if err := sealUp(name); err != nil {
		guest.Close()
		return nil, fmt.Errorf("make TAP %s: %w", name, err)
	}
	return guest, nil
}

// tunOffloads are the TUN_F bits (include/uapi/linux/if_tun.h) of each offload.
var tunOffloads = []struct {
	offload frame.Offload
	bits    int
}{
	{frame.OffloadChecksum, unix.TUN_F_CSUM},
	{frame.OffloadTSO4, unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN},
	{frame.OffloadTSO6, unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN},
	{frame.OffloadUSO, unix.TUN_F_USO4 | unix.TUN_F_USO6},
}

func setTAPOffloads(tap *os.File, offloads frame.Offload) error {
	bits := 0
	for _, o := range tunOffloads {
		if offloads&o.offload != 0 {
			bits |= o.bits
		}
	}
	err := control(tap, func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, bits) })
	if errors.Is(err, unix.EINVAL) && offloads&frame.OffloadUSO != 0 {
		return setTAPOffloads(tap, offloads&^frame.OffloadUSO) // before kernel 6.2 there is no USO
	}
	if err != nil {
		return fmt.Errorf("set offloads: %w", err)
	}
	return nil
}

// control runs f on a file's descriptor without taking it from Go's poller.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// VethPeer is the guest's end of a veth.
type VethPeer struct {
	Name  string
	MAC   frame.MAC // the guest's; the zero MAC lets the kernel choose
	NetNS *os.File  // an open /proc/PID/ns/net or /run/netns/NAME; nil leaves the peer here
}

// NewVeth makes a veth for a guest with a kernel of its own (kind netns): name is the switch's end, up and sealed, and
// the peer is moved to the guest's namespace, down, for the guest's agent to configure. The peer sends what a virtio
// NIC would: a veth's other offloads (the segments of a tunnel's inner TCP, for one) have no place in a virtio_net_hdr.
func NewVeth(name string, peer VethPeer) error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer.Name}
	if peer.MAC != (frame.MAC{}) {
		veth.PeerHardwareAddr = net.HardwareAddr(peer.MAC[:])
	}
	if peer.NetNS != nil {
		veth.PeerName = "peer%d" // the kernel puts a number: others may be made for other namespaces meanwhile
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s: %w", name, err)
	}
	if err := errors.Join(preparePeer(name, peer), sealUp(name)); err != nil {
		return errors.Join(fmt.Errorf("make veth %s: %w", name, err), Delete(name))
	}
	return nil
}

// preparePeer sets what the guest's end sends, and moves it to where it belongs, with its name there.
func preparePeer(name string, peer VethPeer) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	end, err := netlink.LinkByIndex(link.Attrs().ParentIndex)
	if err != nil {
		return fmt.Errorf("find its peer: %w", err)
	}
	if err := sendsAsVirtio(end.Attrs().Name); err != nil || peer.NetNS == nil {
		return err
	}
	move := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(end.Attrs().Index)
	move.AddData(msg)
	move.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(peer.NetNS.Fd()))))
	move.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(peer.Name)))
	if _, err := move.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("give the guest its end: %w", err)
	}
	return nil
}

// Delete removes a device. It is no error if there is none.
func Delete(name string) error {
	if err := deleted(netlink.LinkByName(name)); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// deleted removes a device that was looked for.
func deleted(link netlink.Link, err error) error {
	if err == nil {
		err = netlink.LinkDel(link)
	}
	// ENODEV: it went meanwhile, as the kernel removes what a dead guest had when it comes to it.
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// SetMTU sets a device's MTU, in bytes of IP packet.
func SetMTU(name string, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetMTU(link, mtu)
	}
	if err != nil {
		return fmt.Errorf("set MTU of %s: %w", name, err)
	}
	return nil
}

// sealUp seals a device before it is set up, so that there is no moment at which the namespace's stack is on it.
func sealUp(name string) error {
	if err := Seal(name); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}
