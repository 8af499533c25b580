package vnic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// packet is a NIC on the switch's end of a TAP or veth, by a packet socket with virtio_net_hdr (packet(7)).
type packet struct {
	name   string
	socket         // by which frames come
	out    int     // the socket by which they go: the same, until the NIC is diverted
	detour *detour // nil until then
	drops  atomic.Uint64

	waiter  waiter
	closing atomic.Bool // tells the reader, once it is woken
	stuck   atomic.Bool // the same: see watch

	reading sync.Mutex // held within ReadBatch
	started bool       // there is a reader; it has borrowed rx until its next call, and nobody else may free it
	ended   bool       // rx is freed

	mu             sync.Mutex // writers, and closed
	closed         bool
	tx             txQueue
	split          splitter
	came           uint32        // frames since watch last looked
	lost           uint32        // how many of them the kernel dropped
	looked         time.Duration // how long it had not looked before
	quiet, suspect bool          // no frame came before that; all frames were dropped, once

	watchdog *time.Timer
}

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
	heard, err := openSocket(dev.Index)
	if err != nil {
		return err
	}
	p.socket, p.out = *heard, heard.fd
	if p.waiter, err = newWaiter(p.fd); err != nil {
		p.socket.close()
		return err
	}
	p.tx.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = lookOften
	p.watchdog = time.AfterFunc(lookOften, p.watch)
	return nil
}

func (p *packet) Name() string            { return p.name }
func (p *packet) Offloads() frame.Offload { return frame.OffloadAll }

// Drops is how many frames the guest sent that ring or socket could not hold, or that cannot be taken: longer than any
// frame may be, or of a kind of GSO that a virtio_net_hdr cannot say.
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
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.ended {
		return os.ErrClosed
	}
	p.started = true
	err := p.receive(b)
	if err == nil {
		return nil
	}
	p.rx.close()
	p.ended = true
	if p.closing.Load() {
		return os.ErrClosed
	}
	return fmt.Errorf("read %s: %w", p.name, err)
}

// receive fills b, and waits where there is nothing.
func (p *packet) receive(b *frame.Batch) error {
	b.Waited = false
	for !p.closing.Load() {
		if p.stuck.Swap(false) && !p.rx.ring.waiting() {
			if err := p.renew(); err != nil {
				return err
			}
		}
		came := p.punts().came()
		p.drops.Add(uint64(p.rx.take(p.fd, b)))
		if b.N > 0 {
			return nil
		}
		p.punts().settle(came)
		b.Waited = true
		broken, err := p.waiter.wait()
		if err == nil && broken {
			err = p.broken()
		}
		if err != nil {
			return err
		}
	}
	return os.ErrClosed
}

// broken says what is wrong with the device, once.
func (p *packet) broken() error {
	err := deviceFault(p.fd)
	if err == nil && p.detour != nil {
		err = deviceFault(p.detour.watch)
	}
	return err
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
		taken, err := p.send(frames[:n])
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

// send gives loaded frames to the kernel. A frame that it refuses is skipped: the fault is that frame's alone.
func (p *packet) send(frames []*frame.Frame) (taken int, err error) {
	for at := 0; at < len(frames); {
		sent, errno := mmsg(unix.SYS_SENDMMSG, p.out, p.tx.msgs[at:len(frames)])
		switch errno {
		case 0:
			taken += sent
			at += sent
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
			if !p.split.send(p.out, p.name, frames[at]) {
				return taken, errFull
			}
			taken++
			at++
		case unix.EINVAL, unix.EMSGSIZE:
			at++
		default:
			return taken, errno
		}
	}
	return taken, nil
}

// Close waits for the reader and the writers to leave: a descriptor that is in use must not be closed, because its
// number may be given to another at once.
func (p *packet) Close() error {
	if p.closing.Swap(true) {
		return nil
	}
	p.waiter.ring()
	p.reading.Lock()
	defer p.reading.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.watchdog.Stop()
	if !p.started {
		p.rx.close()
		p.ended = true
	}
	p.waiter.close()
	if p.detour != nil {
		return p.detour.end(p.out, p.fd)
	}
	return unix.Close(p.fd)
}
