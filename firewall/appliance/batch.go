package appliance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/ti-mo/conntrack"
)

// A change of placement waits for flows to be carried, and an appliance without KVM is slow; so entries are written to
// ctnetlink in batches, two system calls for one, by the code below. (ti-mo/conntrack, which reads them, takes three
// system calls and some hundred allocations for each entry.)
const batchSize = 64

// ctWriter writes entries to conntrack through a netlink socket of its own.
type ctWriter struct {
	fd  int
	seq uint32
	buf []byte
}

// answerTimeout, in seconds, is for one batch; the kernel answers within the system call that asks.
const answerTimeout = 5

func dialWriter() (*ctWriter, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // answers without the question in them
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: answerTimeout}))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return &ctWriter{fd: fd}, nil
}

func (w *ctWriter) close() error { return unix.Close(w.fd) }

// ctVerb is what a batch does with each of its entries: a message of ctnetlink and its flags.
type ctVerb struct {
	message, flags uint16
	unread         bool // nothing but: no helper reads it any more
}

// Message types (enum cntl_msg_types, include/uapi/linux/netfilter/nfnetlink_conntrack.h).
var (
	putEntry    = ctVerb{message: 0, flags: unix.NLM_F_CREATE} // without NLM_F_EXCL an entry that is there is refreshed
	unreadEntry = ctVerb{message: 0, unread: true}
	deleteEntry = ctVerb{message: 2}
)

// do sends entries and gives, for each, what the kernel said of it. An error means that the socket is of no more use.
func (w *ctWriter) do(v ctVerb, entries []conntrack.Flow) ([]error, error) {
	said := make([]error, len(entries))
	for at := 0; at < len(entries); at += batchSize {
		end := min(at+batchSize, len(entries))
		if err := w.batch(v, entries[at:end], said[at:end]); err != nil {
			return said[:at], err
		}
	}
	return said, nil
}

// batch sends entries in one datagram. Refusals are answered one by one, and of the rest only the last.
func (w *ctWriter) batch(v ctVerb, entries []conntrack.Flow, said []error) error {
	first := w.seq + 1
	w.buf = w.buf[:0]
	for i := range entries {
		flags := unix.NLM_F_REQUEST | v.flags
		if i == len(entries)-1 {
			flags |= unix.NLM_F_ACK
		}
		w.seq++
		w.buf = appendEntry(w.buf, v, flags, w.seq, &entries[i])
	}
	if err := unix.Sendto(w.fd, w.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("write to conntrack: %w", err)
	}
	for {
		seq, answer, err := w.answer()
		if err != nil {
			return fmt.Errorf("read from conntrack: %w", err)
		}
		i := int(seq - first)
		if i >= len(said) {
			return fmt.Errorf("read from conntrack: an answer to nothing (%d of %d)", i, len(said))
		}
		if said[i] = answer; i == len(said)-1 {
			return nil
		}
	}
}

// answer reads one NLMSG_ERROR, which is also how the kernel says yes.
func (w *ctWriter) answer() (seq uint32, said, err error) {
	var b [256]byte
	n, _, err := unix.Recvfrom(w.fd, b[:], 0)
	if errors.Is(err, unix.EINTR) {
		return w.answer()
	}
	if err != nil {
		return 0, nil, err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return 0, nil, errors.New("no answer but something else")
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])); code != 0 {
		said = unix.Errno(-code)
	}
	return binary.NativeEndian.Uint32(b[8:]), said, nil
}

// Attributes of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo, ctaHelp, ctaTimeout = 1, 2, 3, 4, 5, 7

	ctaTupleIP, ctaTupleProto                  = 1, 2
	ctaIPv4Src, ctaIPv4Dst                     = 1, 2
	ctaIPv6Src, ctaIPv6Dst                     = 3, 4
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDst  = 1, 2, 3
	ctaICMPID, ctaICMPv6ID                     = 4, 7 // type and code follow
	ctaHelpName                                = 1
	ctaInfoTCP                                 = 1
	ctaTCPState, ctaTCPScaleOrig, ctaTCPScale2 = 1, 2, 3
	ctaTCPFlagsOrig, ctaTCPFlags2              = 4, 5
)

// appendEntry appends one message: a netlink header, an nfgenmsg, and the entry. A deletion needs no more than the
// tuples, but may have the rest.
func appendEntry(b []byte, v ctVerb, flags uint16, seq uint32, f *conntrack.Flow) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0) // length, below
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_CTNETLINK<<8|v.message)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0) // from us
	family := byte(unix.AF_INET)
	if f.TupleOrig.IP.IsIPv6() {
		family = unix.AF_INET6
	}
	b = append(b, family, 0, 0, 0)
	b = nested(b, ctaTupleOrig, func(b []byte) []byte { return appendTuple(b, &f.TupleOrig) })
	b = nested(b, ctaTupleReply, func(b []byte) []byte { return appendTuple(b, &f.TupleReply) })
	if v.unread {
		b = appendHelper(b, "")
	} else {
		b = appendState(b, f)
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// appendState appends what an entry has beside its tuples.
func appendState(b []byte, f *conntrack.Flow) []byte {
	b = attr32(b, ctaTimeout, f.Timeout)
	b = attr32(b, ctaStatus, uint32(f.Status))
	if f.Helper.Name != "" {
		b = appendHelper(b, f.Helper.Name)
	}
	if tcp := f.ProtoInfo.TCP; tcp != nil {
		b = nested(b, ctaProtoInfo, func(b []byte) []byte {
			return nested(b, ctaInfoTCP, func(b []byte) []byte {
				b = attr8(b, ctaTCPState, tcp.State)
				b = attr8(attr8(b, ctaTCPScaleOrig, tcp.OriginalWindowScale), ctaTCPScale2, tcp.ReplyWindowScale)
				b = attr16(b, ctaTCPFlagsOrig, tcp.OriginalFlags)
				return attr16(b, ctaTCPFlags2, tcp.ReplyFlags)
			})
		})
	}
	return b
}

// appendHelper appends which helper reads an entry; without a name, none.
func appendHelper(b []byte, name string) []byte {
	return nested(b, ctaHelp, func(b []byte) []byte { return attr(b, ctaHelpName, append([]byte(name), 0)...) })
}

func appendTuple(b []byte, t *conntrack.Tuple) []byte {
	b = nested(b, ctaTupleIP, func(b []byte) []byte {
		src, dst := t.IP.SourceAddress, t.IP.DestinationAddress
		if src.Is4() {
			src4, dst4 := src.As4(), dst.As4()
			return attr(attr(b, ctaIPv4Src, src4[:]...), ctaIPv4Dst, dst4[:]...)
		}
		src6, dst6 := src.As16(), dst.As16()
		return attr(attr(b, ctaIPv6Src, src6[:]...), ctaIPv6Dst, dst6[:]...)
	})
	return nested(b, ctaTupleProto, func(b []byte) []byte {
		p := &t.Proto
		b = attr8(b, ctaProtoNum, p.Protocol)
		switch p.Protocol {
		case unix.IPPROTO_ICMP:
			return appendEcho(b, ctaICMPID, p)
		case unix.IPPROTO_ICMPV6:
			return appendEcho(b, ctaICMPv6ID, p)
		}
		if !hasPorts(p) {
			return b
		}
		return attr16(attr16(b, ctaProtoSrcPort, p.SourcePort), ctaProtoDst, p.DestinationPort)
	})
}

// hasPorts says whether a tuple is written with ports, or GRE's keys. A kernel that tells flows of another protocol
// apart by more than addresses refuses an entry without: it would fit no packet. One that does not takes the entry.
func hasPorts(p *conntrack.ProtoTuple) bool {
	switch p.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_GRE:
		return true
	}
	return p.SourcePort|p.DestinationPort != 0
}

func appendEcho(b []byte, id uint16, p *conntrack.ProtoTuple) []byte {
	return attr8(attr8(attr16(b, id, p.ICMPID), id+1, p.ICMPType), id+2, p.ICMPCode)
}

// attr appends one attribute (include/uapi/linux/netlink.h): length, type, value, and padding to 4 bytes.
func attr(b []byte, kind uint16, value ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func attr8(b []byte, kind uint16, v uint8) []byte { return attr(b, kind, v) }

func attr16(b []byte, kind, v uint16) []byte { return attr(b, kind, byte(v>>8), byte(v)) }

func attr32(b []byte, kind uint16, v uint32) []byte {
	return attr(b, kind, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// nested appends an attribute that holds what inner appends.
func nested(b []byte, kind uint16, inner func([]byte) []byte) []byte {
	start := len(b)
	b = inner(attr(b, kind|unix.NLA_F_NESTED))
	binary.NativeEndian.PutUint16(b[start:], uint16(min(len(b)-start, math.MaxUint16)))
	return b
}
