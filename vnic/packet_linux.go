package vnic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// socketBuffer is how many bytes the kernel may hold for one packet socket, each way, beside the ring: frames longer than
// a slot, and what is being sent. It doubles the number for its own needs (socket(7)); a GSO frame is charged with some
// 70 kB, so this is about 100 of them. It is a bound, not a reservation: an idle port holds none of it.
const socketBuffer = 4 << 20

// packet is a NIC on the switch's end of a TAP or veth, by a packet socket with virtio_net_hdr (packet(7)).
type packet struct {
	name  string
	file  *os.File
	raw   syscall.RawConn
	fd    int
	index int // of the device
	drops atomic.Uint64

	rx     receiver
	owner  atomic.Int32          // of rx: who may free it
	readFn func(fd uintptr) bool // made once: a closure made for each read would be an allocation
	batch  *frame.Batch
	err    error

	mu     sync.Mutex // writers, and closed
	closed bool
	tx     txQueue
	came   uint32 // frames since watch last looked
	lost   uint32 // how many of them the kernel dropped

	watchdog *time.Timer
}

// The owners of a packet's receive buffers. A batch is borrowed from them, so once there is a reader nobody else may.
const (
	ownerNobody = iota
	ownerReader
	ownerGone
)

// OpenPacket takes the switch's end of a TAP or veth that exists in this network namespace. What the far end does not
// take, the kernel finishes: so frames may keep all their offloads. The NIC is also a Dropper.
func OpenPacket(ifname string) (NIC, error) {
	p := &packet{name: ifname}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", ifname, err)
	}
	return p, nil
}

func (p *packet) open() error {
	dev, err := net.InterfaceByName(p.name)
	if err != nil {
		return err
	}
	// Protocol 0 hears nothing: with another, frames of every device would come in before bind.
	p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.file = os.NewFile(uintptr(p.fd), "packet:"+p.name)
	if err = p.configure(dev.Index); err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		p.rx.close()
		p.file.Close()
		return err
	}
	p.tx.init()
	p.readFn = p.receive
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchdog = time.AfterFunc(stuckAfter, p.watch)
	return nil
}

func (p *packet) configure(index int) error {
	for _, o := range []struct {
		what               string
		level, name, value int
	}{
		{"virtio_net_hdr", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		// The qdisc would only queue what the far end cannot take yet; a full queue is to be counted here.
		{"qdisc bypass", unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1},
		{"ignore outgoing", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{"receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer},
		{"send buffer", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer},
	} {
		if err := unix.SetsockoptInt(p.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	if err := p.rx.ring.open(p.fd); err != nil {
		return err
	}
	p.index = index
	return p.bind(unix.ETH_P_ALL)
}

// bind has the socket hear frames of a protocol from the device; 0 is none.
func (p *packet) bind(protocol uint16) error {
	return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: p.index})
}

func (p *packet) Name() string            { return p.name }
func (p *packet) Offloads() frame.Offload { return frame.OffloadAll }

// Drops is how many frames the guest sent that ring or socket could not hold, or that cannot be taken: longer than any
// frame may be, with a VLAN tag, or of a kind of GSO that a virtio_net_hdr cannot say.
func (p *packet) Drops() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.look()
	}
	return p.drops.Load()
}

func (p *packet) ReadBatch(b *frame.Batch) error {
	b.N = 0
	if p.owner.Load() != ownerReader && !p.owner.CompareAndSwap(ownerNobody, ownerReader) {
		return os.ErrClosed
	}
	var err error
	for again := true; again; {
		p.batch, p.err = b, nil
		if err = p.raw.Read(p.readFn); err == nil {
			err = p.err
		}
		if err == nil {
			return nil
		}
		again, err = p.unstick(err)
		again = again && err == nil
	}
	p.rx.close() // its only borrower has just come back
	p.owner.Store(ownerGone)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	return fmt.Errorf("read %s: %w", p.name, err)
}

// receive is called by Go's poller when there may be something to read; false asks it to wait for more.
func (p *packet) receive(fd uintptr) bool {
	p.drops.Add(uint64(p.rx.take(int(fd), p.batch)))
	if p.batch.N > 0 {
		return true
	}
	errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		p.err = err
	case errno != 0:
		p.err = unix.Errno(errno) // the device is down, or gone
	}
	return p.err != nil
}

func (p *packet) WriteBatch(frames []*frame.Frame) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, os.ErrClosed
	}
	sent := 0
	for len(frames) > 0 {
		n := min(len(frames), frame.BatchSize)
		p.tx.load(frames[:n])
		taken, err := p.send(n)
		sent += taken
		if err == errFull {
			return sent, nil
		}
		if err != nil {
			return sent, fmt.Errorf("write %s: %w", p.name, err)
		}
		frames = frames[n:]
	}
	return sent, nil
}

var errFull = errors.New("queue is full")

// send gives n loaded frames to the kernel. A frame that it refuses is skipped: the fault is that frame's alone.
func (p *packet) send(n int) (taken int, err error) {
	for at := 0; at < n; {
		sent, errno := mmsg(unix.SYS_SENDMMSG, p.fd, p.tx.msgs[at:n])
		switch errno {
		case 0:
			taken += sent
			at += sent
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
			return taken, errFull
		case unix.EINVAL, unix.EMSGSIZE:
			at++
		default:
			return taken, errno
		}
	}
	return taken, nil
}

func (p *packet) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.watchdog.Stop()
	if p.owner.CompareAndSwap(ownerNobody, ownerGone) {
		p.rx.close()
	}
	return p.file.Close()
}
