package vnic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// HostOptions says how the far end of a host port looks.
type HostOptions struct {
	Addrs []netip.Prefix // of the device, of either family
	MAC   frame.MAC      // the zero MAC lets the kernel choose
	MTU   int            // bytes of IP packet; 0 leaves the kernel's 1500
	NetNS *os.File       // where the device goes: an open /proc/PID/ns/net or /run/netns/NAME; nil leaves it here
}

// host is a NIC whose far end is a kernel's own stack, by a TAP without virtio_net_hdr: the library that makes it
// cannot ask for one. So WriteBatch finishes every frame itself.
type host struct {
	name   string
	file   *os.File
	raw    syscall.RawConn
	fd     int
	mem    []byte
	batch  *frame.Batch
	rerr   error
	readFn func(fd uintptr) bool

	mu     sync.Mutex // writers, and closed
	closed bool
	key    frame.Key
	seg    frame.Segmenter
}

// hostSlot is the distance in bytes between read buffers. Without offloads a frame is no longer than the device's MTU
// allows.
const hostSlot = frame.Headroom + maxHostMTU + frame.MinLen + 22

// maxHostMTU is the largest MTU in bytes that a host port may have: jumbo frames.
const maxHostMTU = 9000

// OpenHost makes a TAP whose far end is a kernel's own stack (kind host), and is its near end. The device goes when the
// NIC is closed.
func OpenHost(name string, o HostOptions) (NIC, error) {
	h, err := openHost(name, o)
	if err != nil {
		return nil, fmt.Errorf("make host port %s: %w", name, err)
	}
	return h, nil
}

func openHost(name string, o HostOptions) (*host, error) {
	if o.MTU < 0 || o.MTU > maxHostMTU {
		return nil, fmt.Errorf("MTU %d is not within 0 to %d", o.MTU, maxHostMTU)
	}
	// To attach to a TAP that has virtio_net_hdr would silently clear it.
	if _, err := net.InterfaceByName(name); err == nil {
		return nil, unix.EEXIST
	}
	syscall.ForkLock.RLock() // the library's descriptor would be inherited by a child that starts right now
	dev, err := water.New(water.Config{DeviceType: water.TAP, PlatformSpecificParams: water.PlatformSpecificParams{Name: name}})
	if err != nil {
		syscall.ForkLock.RUnlock()
		return nil, err
	}
	file, ok := dev.ReadWriteCloser.(*os.File)
	if ok {
		err = control(file, func(fd int) error { unix.CloseOnExec(fd); return nil })
	} else {
		err = errors.New("the TAP is no file")
	}
	syscall.ForkLock.RUnlock()
	if err == nil {
		err = configureHost(name, o)
	}
	if err != nil {
		dev.Close()
		return nil, err
	}
	return newHost(name, file)
}

func newHost(name string, file *os.File) (*host, error) {
	h := &host{name: name, file: file, mem: make([]byte, hostSlot*frame.BatchSize)}
	h.readFn = h.receive
	err := control(file, func(fd int) error { h.fd = fd; return nil })
	if err == nil {
		h.raw, err = file.SyscallConn()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return h, nil
}

// configureHost moves the device to its namespace and sets it up there.
func configureHost(name string, o HostOptions) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	there := netns.None() // this one
	if o.NetNS != nil {
		if err := netlink.LinkSetNsFd(link, int(o.NetNS.Fd())); err != nil {
			return fmt.Errorf("move to namespace: %w", err)
		}
		there = netns.NsHandle(o.NetNS.Fd())
	}
	handle, err := netlink.NewHandleAt(there)
	if err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	defer handle.Close()
	if link, err = handle.LinkByName(name); err != nil {
		return err
	}
	if o.MAC != (frame.MAC{}) {
		if err := handle.LinkSetHardwareAddr(link, o.MAC[:]); err != nil {
			return fmt.Errorf("set MAC: %w", err)
		}
	}
	if o.MTU != 0 {
		if err := handle.LinkSetMTU(link, o.MTU); err != nil {
			return fmt.Errorf("set MTU: %w", err)
		}
	}
	for _, p := range o.Addrs {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // a lab's addresses are its file's: to look for duplicates takes a second
		}
		if err := handle.AddrAdd(link, a); err != nil {
			return fmt.Errorf("set address %s: %w", p, err)
		}
	}
	return handle.LinkSetUp(link)
}

func (h *host) Name() string            { return h.name }
func (h *host) Offloads() frame.Offload { return frame.OffloadNone }

func (h *host) ReadBatch(b *frame.Batch) error {
	b.N, b.Waited, h.batch, h.rerr = 0, false, b, nil
	err := h.raw.Read(h.readFn)
	if err == nil {
		err = h.rerr
	}
	if err == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return os.ErrClosed
	}
	return fmt.Errorf("read %s: %w", h.name, err)
}

// receive is called by Go's poller when there may be something to read; false asks it to wait for more.
func (h *host) receive(fd uintptr) bool {
	b := h.batch
	for b.N < frame.BatchSize {
		buf := h.mem[b.N*hostSlot : (b.N+1)*hostSlot : (b.N+1)*hostSlot]
		n, err := unix.Read(int(fd), buf[frame.Headroom:])
		switch err {
		case nil:
			f := frame.Frame{Buf: buf, Off: frame.Headroom, Len: n}
			f.Vnet().Clear()
			b.Frames[b.N] = f
			b.N++
		case unix.EINTR:
		case unix.EAGAIN:
			b.Waited = b.Waited || b.N == 0
			return b.N > 0
		default:
			h.rerr = err
			return true
		}
	}
	return true
}

func (h *host) WriteBatch(frames []*frame.Frame) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, os.ErrClosed
	}
	sent := 0
	for _, f := range frames {
		taken, err := h.write(f)
		if err != nil {
			return sent, fmt.Errorf("write %s: %w", h.name, err)
		}
		if taken {
			sent++
		}
	}
	return sent, nil
}

// write finishes one frame, in as many packets as it takes. A frame that Parse refuses, or that the kernel does, is not
// taken.
func (h *host) write(f *frame.Frame) (taken bool, err error) {
	if frame.Parse(f, &h.key) != frame.ReasonNone {
		return false, nil
	}
	for p := range h.seg.Split(f, &h.key) {
		_, err := unix.Write(h.fd, p.Eth())
		switch err {
		case nil:
		case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.EINVAL, unix.EMSGSIZE, unix.EIO:
			return false, nil // EIO: the far end has set its device down, and may set it up again
		default:
			return false, err
		}
	}
	return true, nil
}

func (h *host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return h.file.Close()
}
