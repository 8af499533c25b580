package vnic

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// socketBuffer is how many bytes the kernel may hold for one packet socket, each way, beside the ring: frames longer
// than a slot, and what is being sent. It doubles the number for its own needs (socket(7)); a GSO frame is charged with
// some 70 kB, so this is about 100 of them. It is a bound, not a reservation: an idle port holds none of it.
const socketBuffer = 4 << 20

// socket is a packet socket with virtio_net_hdr (packet(7)), and its ring. It hears one device.
type socket struct {
	fd    int
	index int // of the device
	rx    receiver
}

// openSocket opens a socket that hears a device of the thread's network namespace.
func openSocket(index int) (*socket, error) {
	fd, err := silentSocket()
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, index: index}
	if err := s.configure(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// silentSocket is a packet socket of protocol 0, which hears nothing: with another, frames of every device would come
// in before it is bound.
func silentSocket() (fd int, err error) {
	return unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

func (s *socket) configure() error {
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
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	if err := s.rx.ring.open(s.fd); err != nil {
		return err
	}
	return bind(s.fd, s.index, unix.ETH_P_ALL)
}

// bind has a packet socket hear frames of a protocol from a device; 0 is none.
func bind(fd, index int, protocol uint16) error {
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: index})
}

// deviceFault is what is wrong with a packet socket's device, once: it is down, or gone.
func deviceFault(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	return err
}

// deafen ends hearing, and gives the ring back; the socket still sends to its device.
func (s *socket) deafen() error {
	if err := bind(s.fd, s.index, 0); err != nil {
		return err
	}
	return s.rx.ring.end(s.fd)
}

func (s *socket) close() {
	s.rx.close()
	unix.Close(s.fd)
}
