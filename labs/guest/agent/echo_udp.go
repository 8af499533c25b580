package agent

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxDatagram is more than the longest payload of UDP: 65,507 bytes over IPv4, 65,527 over IPv6.
const maxDatagram = 1<<16 - 1

// startEchoUDP sends each datagram back, whole (RFC 862), from the address that it came to; but none to another echo:
// two of them would never stop.
func startEchoUDP(port int) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	tellsWhere(c)
	go func() {
		b, control := make([]byte, maxDatagram), make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
		for {
			n, m, _, from, err := c.ReadMsgUDPAddrPort(b, control)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && from.Port() != uint16(port) {
				answerDatagram(c, b[:n], control[:m], from)
			}
		}
	}()
	return nil
}

// tellsWhere has each datagram tell where it was sent to, of IPv4 as a mapped address (RFC 3542 6.2). A machine without
// IPv6 does without, and answers from the address that its kernel chooses.
func tellsWhere(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) })
}

// answerDatagram sends b from the address that the datagram's control message names. Where that is no guest's own (a
// group), the kernel chooses.
func answerDatagram(c *net.UDPConn, b, control []byte, to netip.AddrPort) {
	if len(control) >= unix.CmsgSpace(unix.SizeofInet6Pktinfo) {
		at := unix.CmsgLen(0) + 16 // the interface, after the address: the route says by which it goes
		clear(control[at : at+4])
		if _, _, err := c.WriteMsgUDPAddrPort(b, control, to); err == nil {
			return
		}
	}
	c.WriteToUDPAddrPort(b, to)
}
