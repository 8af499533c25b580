package vnic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Seal keeps the namespace's own stack off a device: IPv6 is turned off, and a program of two instructions drops every
// frame at ingress. Packet sockets see a frame before that, so the switch loses nothing; and the frame costs no walk
// through the stack. The filter goes with the device, so nothing has to be undone.
func Seal(name string) error {
	if err := seal(name); err != nil {
		return fmt.Errorf("seal %s: %w", name, err)
	}
	return nil
}

func seal(name string) error {
	// A kernel without IPv6 has no such file, and nothing to turn off.
	off := filepath.Join("/proc/sys/net/ipv6/conf", filepath.Base(name), "disable_ipv6")
	if err := os.WriteFile(off, []byte("1"), 0o644); err != nil && !os.IsNotExist(err) {
		return err
	}
	return dropAll(name)
}

// Deafen makes a device take nothing that its far end sends, until Undeafen: a guest's own device, in the guest's
// namespace. What the guest sends still leaves.
func Deafen(name string) error {
	if err := dropAll(name); err != nil {
		return fmt.Errorf("deafen %s: %w", name, err)
	}
	return nil
}

// Undeafen undoes Deafen. It is no error if there is nothing to undo.
func Undeafen(name string) error {
	dev, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.QdiscDel(clsact(dev)) // and the filter with it
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("undeafen %s: %w", name, err)
	}
	return nil
}

func clsact(dev netlink.Link) netlink.Qdisc {
	attrs := netlink.QdiscAttrs{LinkIndex: dev.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	return &netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "clsact"}
}

// dropAll drops every frame at a device's ingress.
func dropAll(name string) error {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "sluice_seal",
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_SHOT)), asm.Return()},
		License:      "Apache-2.0",
	})
	if err != nil {
		return fmt.Errorf("load drop-all: %w", err)
	}
	defer prog.Close() // the filter holds it from here on
	if err := netlink.QdiscReplace(clsact(dev)); err != nil {
		return fmt.Errorf("add clsact: %w", err)
	}
	err = netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: atIngress(dev.Attrs().Index, sealPriority), Fd: prog.FD(), Name: "sluice_seal", DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("add drop-all: %w", err)
	}
	return nil
}

// The order of filters at a device's ingress.
const (
	portPriority = 1 + iota
	sealPriority
)

func atIngress(index int, priority uint16) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: priority,
	}
}

// attacher puts a program before the drop-all of a device in the thread's namespace.
type attacher func(index int, prog *ebpf.Program) (detach func() error, err error)

// attach is by tcx, or by what older kernels have.
func attach(index int, prog *ebpf.Program) (detach func() error, err error) {
	tcx, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: ebpf.AttachTCXIngress})
	switch {
	case errors.Is(err, ebpf.ErrNotSupported): // before kernel 6.6
		return attachFilter(index, prog)
	case err != nil:
		return nil, err
	}
	return tcx.Close, nil
}

// attachFilter is by clsact.
func attachFilter(index int, prog *ebpf.Program) (detach func() error, err error) {
	filter := &netlink.BpfFilter{FilterAttrs: atIngress(index, portPriority), Fd: prog.FD(), Name: "sluice_port", DirectAction: true}
	if err := netlink.FilterReplace(filter); err != nil {
		return nil, fmt.Errorf("add filter: %w", err)
	}
	return func() error { return netlink.FilterDel(filter) }, nil
}
