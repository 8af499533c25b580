package appliance

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// The two ends of the tunnel that steered frames come by.
var (
	steerPeer = netip.MustParseAddr("169.254.83.1") // the switch
	steerSelf = netip.MustParseAddr("169.254.83.2")
)

const (
	lineBatch  = 32
	lineBuffer = 8 << 20     // bytes that the kernel keeps for us
	lineSlot   = 64<<10 + 64 // an odd number of cache lines: else the first line of every slot falls into the same set
)

// steerLine is the socket that steered frames come and go by. Datagrams are answered in the buffers that they came in.
type steerLine struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	in   *mmsgs
	out  *mmsgs
	outs int // replies that wait for flush

	// For raw.Read and raw.Write: made once, since a closure for each call would be garbage.
	readOnce, writeOnce func(fd uintptr) bool
	n, sent             int // what they have done
	errno               unix.Errno
}

// mmsgs is a batch of messages for recvmmsg or sendmmsg.
type mmsgs struct {
	slots []byte
	msgs  [lineBatch]mmsghdr
	iovs  [lineBatch]unix.Iovec
	names [lineBatch]unix.RawSockaddrInet4
}

// mmsghdr is struct mmsghdr of sendmmsg(2), which x/sys/unix lacks.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func newMmsgs(slots []byte) *mmsgs {
	m := &mmsgs{slots: slots}
	for i := range m.msgs {
		h := &m.msgs[i].hdr
		h.Iov = &m.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		if slots != nil {
			m.iovs[i].Base = &slots[i*lineSlot]
			m.iovs[i].SetLen(lineSlot)
		}
	}
	return m
}

// openSteerLine listens on the steer vNIC only: a packet to its address that another vNIC brings is a guest's.
func openSteerLine() (*steerLine, error) {
	nic, err := steerNIC()
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return prepareLine(c, nic) }}
	pc, err := lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(steerSelf, frame.GenevePort).String())
	if err != nil {
		return nil, err
	}
	l := &steerLine{conn: pc.(*net.UDPConn), in: newMmsgs(make([]byte, lineBatch*lineSlot)), out: newMmsgs(nil)}
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		l.conn.Close()
		return nil, err
	}
	for i := range l.out.names {
		l.out.names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bigEndian(frame.GenevePort), Addr: steerPeer.As4()}
	}
	l.readOnce = func(fd uintptr) bool {
		l.n, l.errno = mmsg(unix.SYS_RECVMMSG, fd, l.in.msgs[:])
		return l.errno != unix.EAGAIN
	}
	l.writeOnce = func(fd uintptr) bool {
		l.n, l.errno = mmsg(unix.SYS_SENDMMSG, fd, l.out.msgs[l.sent:l.outs])
		return l.errno != unix.EAGAIN
	}
	return l, nil
}

func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }

func steerNIC() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, nic := range all {
		addrs, err := nic.Addrs()
		if err != nil {
			return "", err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == steerSelf {
				return nic.Name, nil
			}
		}
	}
	return "", errNoSteerNIC
}

func prepareLine(c syscall.RawConn, nic string) error {
	var err error
	control := func(fd uintptr) {
		s := int(fd)
		if err = unix.SetsockoptString(s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, nic); err != nil {
			err = fmt.Errorf("bind to %s: %w", nic, err)
			return
		}
		if err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, lineBuffer); err != nil {
			err = fmt.Errorf("enlarge the queue: %w", err)
			return
		}
		// The frames have checksums of their own (RFC 8926 3.3).
		if err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			err = fmt.Errorf("leave checksums out: %w", err)
		}
	}
	if e := c.Control(control); e != nil {
		return e
	}
	return err
}

// mmsg is sendmmsg or recvmmsg, without waiting.
func mmsg(call, fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// receive waits for datagrams and says how many there are: none where the socket only tells of an error, such as a vNIC that went down. They
// lie in the line's buffers until the next call. An error means that the line is closed.
func (l *steerLine) receive() (int, error) {
	for i := range l.in.msgs {
		l.in.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	if err := l.raw.Read(l.readOnce); err != nil {
		return 0, err
	}
	return l.n, nil
}

// datagram is one of those that receive has got. It is not whole where it is too long, or not the switch's.
func (l *steerLine) datagram(i int) (d []byte, whole bool) {
	m := &l.in.msgs[i]
	from := &l.in.names[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 || from.Family != unix.AF_INET || from.Addr != steerPeer.As4() {
		return nil, false
	}
	return l.in.slots[i*lineSlot:][:m.n], true
}

// reply queues a datagram to the switch, for flush.
func (l *steerLine) reply(d []byte) {
	if len(d) == 0 {
		return
	}
	l.out.iovs[l.outs].Base = &d[0]
	l.out.iovs[l.outs].SetLen(len(d))
	l.outs++
}

// flush sends the replies, and waits where the vNIC takes no more. It says how many could not be sent.
func (l *steerLine) flush() (unsent int) {
	for l.sent = 0; l.sent < l.outs; {
		if err := l.raw.Write(l.writeOnce); err != nil {
			unsent += l.outs - l.sent
			break
		}
		switch {
		case l.errno == unix.EINTR:
		case l.errno != 0:
			unsent++
			l.sent++
		default:
			l.sent += l.n
		}
	}
	l.outs = 0
	return unsent
}

func (l *steerLine) close() error { return l.conn.Close() }
