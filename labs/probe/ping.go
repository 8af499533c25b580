package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"

	"sluice/vnic/frame"
)

var (
	errProhibited  = errors.New("administratively prohibited")
	errUnreachable = errors.New("unreachable")
)

// icmp is how one family numbers what a ping meets (RFC 792, RFC 1812 5.2.7.1, RFC 4443).
type icmp struct {
	network            string
	echo, reply        byte
	unreachable, inner byte // type of the error, and the length of the IP header in it
	prohibited         []byte
}

var families = map[bool]icmp{
	true: {"ip4:icmp", frame.ICMPEcho, frame.ICMPEchoReply, frame.ICMPUnreachable, 20,
		[]byte{frame.ICMPNetProhibited, frame.ICMPHostProhibited, frame.ICMPAdminProhibited}},
	false: {"ip6:ipv6-icmp", frame.ICMP6Echo, frame.ICMP6EchoReply, frame.ICMP6Unreachable, 40,
		[]byte{frame.ICMP6AdminProhibited}},
}

// ping sends one echo request and waits for what comes of it.
func ping(ctx context.Context, to netip.Addr) error {
	f := families[to.Is4()]
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, f.network, "")
	if err != nil {
		return err
	}
	defer c.Close()
	if late, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(late); err != nil {
			return err
		}
	}
	id := uint16(rand.Uint32())
	m := append([]byte{f.echo, 0, 0, 0, 0, 0, 0, 1}, "sluice probe"...)
	binary.BigEndian.PutUint16(m[4:], id)
	if to.Is4() { // the kernel fills in ICMPv6's (RFC 3542 3.1)
		binary.BigEndian.PutUint16(m[2:], frame.Checksum(m))
	}
	if _, err := c.WriteTo(m, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if done, err := f.read(buf[:n], id); done {
			return err
		}
	}
}

// read looks at one ICMP message; done says that it is about our echo request.
func (f icmp) read(m []byte, id uint16) (done bool, err error) {
	if len(m) < 8 {
		return false, nil
	}
	if m[0] == f.reply {
		return binary.BigEndian.Uint16(m[4:]) == id, nil
	}
	ours := 8 + int(f.inner)
	if m[0] != f.unreachable || len(m) < ours+8 || m[ours] != f.echo || binary.BigEndian.Uint16(m[ours+4:]) != id {
		return false, nil
	}
	for _, code := range f.prohibited {
		if m[1] == code {
			return true, errProhibited
		}
	}
	return true, errUnreachable
}
