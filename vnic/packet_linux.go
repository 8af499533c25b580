package vnic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// socketBuffer is how many bytes the kernel may hold for one packet socket, each way; it doubles the number for its own
// needs (socket(7)). A frame is charged with the memory that it occupies, which is about 800 bytes for the shortest and
// 70 kB for a GSO frame, so this is some 10,000 short frames: what comes while the switch is away for 10 ms. It is a bound,
// not a reservation: an idle port holds none of it.
const socketBuffer = 4 << 20

// packet is a NIC on the switch's end of a TAP or veth, by a packet socket with virtio_net_hdr (packet(7)).
type packet struct {
	name  string
	file  *os.File
	raw   syscall.RawConn
	fd    int
	drops atomic.Uint64

	rx     rxQueue
	readFn func(fd uintptr) bool // made once: a closure made for each read would be an allocation
	got    int
	rerr   error
	done   bool

	mu     sync.Mutex // writers, and closed
	closed bool
	tx     txQueue
}

// OpenPacket takes the switch's end of a TAP or veth that exists in this network namespace. What the far end does not
// take, the kernel finishes: so frames may keep all their offloads.
func OpenPacket(ifname string) (NIC, error) {
	p := &packet{name: ifname, fd: -1}
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
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.fd, p.file = fd, os.NewFile(uintptr(fd), "packet:"+p.name)
	if err = p.configure(dev.Index); err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		p.file.Close()
		return err
	}
	p.tx.init()
	p.readFn = p.receive
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
	return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (p *packet) Name() string            { return p.name }
func (p *packet) Offloads() frame.Offload { return frame.OffloadAll }

// Drops is how many frames the guest sent that the socket could not hold, or that cannot be read: longer than any frame
// may be, or of a kind of GSO that a virtio_net_hdr cannot say.
func (p *packet) Drops() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		// Reading the statistics resets them.
		if s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			p.drops.Add(uint64(s.Drops))
		}
	}
	return p.drops.Load()
}

func (p *packet) ReadBatch(b *frame.Batch) error {
	b.N = 0
	if err := p.ready(); err != nil {
		return err
	}
	for b.N == 0 {
		p.got, p.rerr = 0, nil
		err := p.raw.Read(p.readFn)
		if err == nil {
			err = p.rerr
		}
		if err != nil {
			return p.readError(err)
		}
		p.drops.Add(uint64(p.rx.hand(b, p.got)))
	}
	return nil
}

// ready has buffers for the first read; a port that nobody reads has none. After the last read there are none either.
func (p *packet) ready() error {
	if p.rx.mem != nil {
		return nil
	}
	if p.done {
		return os.ErrClosed
	}
	return p.rx.init()
}

// receive is called by Go's poller when there may be something to read; false asks it to wait for more.
func (p *packet) receive(fd uintptr) bool {
	for {
		n, errno := recvmmsg(fd, p.rx.msgs[:p.rx.limit])
		switch errno {
		case 0:
			p.got = n
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		case unix.EINVAL:
			// The guest sent a kind of GSO for which there is no virtio_net_hdr. That frame is gone, and only that frame.
			p.drops.Add(1)
		default:
			p.rerr = errno
			return true
		}
	}
}

func (p *packet) readError(err error) error {
	p.rx.free() // the only borrower has just come back
	p.done = true
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	return fmt.Errorf("read %s: %w", p.name, err)
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
		if errors.Is(err, errFull) {
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
		sent, errno := sendmmsg(p.fd, p.tx.msgs[at:n])
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
	return p.file.Close()
}
