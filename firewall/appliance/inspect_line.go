package appliance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

const (
	lineBatch  = 32
	lineBuffer = 8 << 20     // bytes that the kernel keeps for us
	lineSlot   = 64<<10 + 64 // an odd number of cache lines: else the first line of every slot falls into the same set
)

// steerLine is how steered frames come and go: a raw socket, because the kernel's own tunnels, of a session that
// another placement has left or begins, hold GENEVE's UDP port for all addresses, and nobody else can have it beside
// them. Datagrams are answered in the buffers that they came in.
type steerLine struct {
	conn *net.IPConn
	hold net.PacketConn // see holdPort; nil where the kernel itself listens
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
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return prepareLine(c) }}
	pc, err := lc.ListenPacket(context.Background(), "ip4:udp", frame.TunnelAppliance.String())
	if err != nil {
		return nil, err
	}
	l := &steerLine{conn: pc.(*net.IPConn), in: newMmsgs(make([]byte, lineBatch*lineSlot)), out: newMmsgs(nil)}
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		l.conn.Close()
		return nil, err
	}
	if l.hold, err = holdPort(); err != nil {
		l.conn.Close()
		return nil, err
	}
	for i := range l.out.names {
		l.out.names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: frame.TunnelSwitch.As4()}
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

// holdPort makes GENEVE's port one that somebody listens on, and takes nothing: else the kernel would answer each
// datagram that nobody it knows of wants. It is nil where one of the kernel's own tunnels listens.
func holdPort() (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
		})
		return errors.Join(e, err)
	}}
	hold, err := lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(frame.TunnelAppliance, frame.GenevePort).String())
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, nil
	}
	return hold, err
}

// yield lets go of GENEVE's port, so that the kernel's tunnels can have it. Frames go on to come by the raw socket.
func (l *steerLine) yield() error {
	if l.hold == nil {
		return nil
	}
	err := l.hold.Close()
	l.hold = nil
	return err
}

func prepareLine(c syscall.RawConn) error {
	var err error
	control := func(fd uintptr) {
		s := int(fd)
		if err = unix.SetsockoptString(s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, firewall.SteerNIC); err != nil {
			err = fmt.Errorf("bind to %s: %w", firewall.SteerNIC, err)
			return
		}
		if err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, lineBuffer); err != nil {
			err = fmt.Errorf("enlarge the queue: %w", err)
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

// receive waits for datagrams and says how many there are: none where the socket only tells of an error, such as a vNIC
// that went down. They lie in the line's buffers until the next call. An error means that the line is closed.
func (l *steerLine) receive() (int, error) {
	for i := range l.in.msgs {
		l.in.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	if err := l.raw.Read(l.readOnce); err != nil {
		return 0, err
	}
	return l.n, nil
}

// overrun says how many datagrams the line's queue had no room for.
func (l *steerLine) overrun() (n uint64) {
	const drops = 8 // SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_ = l.raw.Control(func(fd uintptr) { // an error leaves 0: the line is closed
		_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return uint64(info[drops])
}

const udpLen = 8

// datagram is what lies in one of the packets that receive has got, and where its UDP header is. It is not whole where
// it is too long, or not from the switch to GENEVE's port.
func (l *steerLine) datagram(i int) (d []byte, udp int, whole bool) {
	m := &l.in.msgs[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return nil, 0, false
	}
	d, udp, whole = unpack(l.in.slots[i*lineSlot:][:min(int(m.n), lineSlot)])
	return d, i*lineSlot + udp, whole
}

// unpack finds what the switch sent in an IPv4 packet, and where its UDP header is.
func unpack(ip []byte) (d []byte, udp int, ok bool) {
	if len(ip) < 20 || [4]byte(ip[12:]) != frame.TunnelSwitch.As4() {
		return nil, 0, false
	}
	head := int(ip[0]&15) * 4
	if head < 20 || len(ip) < head+udpLen {
		return nil, 0, false
	}
	b := ip[head:]
	n := int(binary.BigEndian.Uint16(b[4:]))
	if binary.BigEndian.Uint16(b[2:]) != frame.GenevePort || n < udpLen || n > len(b) {
		return nil, 0, false
	}
	return b[udpLen:n:n], head, true
}

// reply queues a datagram to the switch, for flush. It lies behind the UDP header of the one that it answers.
func (l *steerLine) reply(d []byte, udp int) {
	if len(d) == 0 {
		return
	}
	b := l.in.slots[udp : udp+udpLen+len(d)]
	binary.BigEndian.PutUint16(b, frame.GenevePort)
	binary.BigEndian.PutUint16(b[2:], frame.GenevePort)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], 0) // no checksum: the frames have their own (RFC 8926 3.3)
	l.out.iovs[l.outs].Base = &b[0]
	l.out.iovs[l.outs].SetLen(len(b))
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

func (l *steerLine) close() error { return errors.Join(l.yield(), l.conn.Close()) }
