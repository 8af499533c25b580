package appliance

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A change of placement waits for flows to be carried, so they go to ctnetlink in batches: one system call for many entries,
// where ti-mo/conntrack makes three for each. A batch is small enough for the answers to fit a socket's buffer.
const batchSize = 64

// answerTimeout is for one batch; the kernel answers within the system call that asks.
const answerTimeout = 5 * time.Second

// ctWriter writes entries to conntrack.
type ctWriter struct {
	conn *netlink.Conn
}

func dialWriter() (*ctWriter, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return &ctWriter{conn: c}, nil
}

// What a batch does with each of its entries.
var (
	putEntry    = ctVerb{nl.IPCTNL_MSG_CT_NEW, netlink.Create} // without Excl an entry that is there is refreshed
	deleteEntry = ctVerb{nl.IPCTNL_MSG_CT_DELETE, 0}
)

type ctVerb struct {
	message netfilter.MessageType
	flags   netlink.HeaderFlags
}

// do sends entries and gives, for each, what the kernel said of it.
func (w *ctWriter) do(v ctVerb, entries []conntrack.Flow) ([]error, error) {
	said := make([]error, 0, len(entries))
	for len(entries) > 0 {
		n := min(len(entries), batchSize)
		some, err := w.batch(v, entries[:n])
		if err != nil {
			return said, err
		}
		said, entries = append(said, some...), entries[n:]
	}
	return said, nil
}

func (w *ctWriter) batch(v ctVerb, entries []conntrack.Flow) ([]error, error) {
	messages := make([]netlink.Message, len(entries))
	for i := range entries {
		m, err := marshalEntry(v, &entries[i])
		if err != nil {
			return nil, err
		}
		messages[i] = m
	}
	if err := w.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, fmt.Errorf("write to conntrack: %w", err)
	}
	if _, err := w.conn.SendMessages(messages); err != nil {
		return nil, fmt.Errorf("write to conntrack: %w", err)
	}
	said := make([]error, len(entries)) // the answers come in order, one for each
	for i := range said {
		_, err := w.conn.Receive()
		if err != nil && !isAnswer(err) {
			return nil, fmt.Errorf("read from conntrack: %w", err)
		}
		said[i] = err
	}
	return said, nil
}

// isAnswer tells a refusal by ctnetlink from a socket that failed: ENOBUFS says that answers were lost.
func isAnswer(err error) bool {
	var refused *netlink.OpError
	var errno unix.Errno
	return errors.As(err, &refused) && errors.As(refused.Err, &errno) && errno != unix.ENOBUFS
}

// marshalEntry writes what ctnetlink reads (include/uapi/linux/netfilter/nfnetlink_conntrack.h). A deletion needs no more
// than the tuples.
func marshalEntry(v ctVerb, f *conntrack.Flow) (netlink.Message, error) {
	attrs := []netfilter.Attribute{tuple(nl.CTA_TUPLE_ORIG, &f.TupleOrig), tuple(nl.CTA_TUPLE_REPLY, &f.TupleReply)}
	if v == putEntry {
		attrs = append(attrs,
			netfilter.Attribute{Type: nl.CTA_TIMEOUT, Data: netfilter.Uint32Bytes(f.Timeout)},
			netfilter.Attribute{Type: nl.CTA_STATUS, Data: netfilter.Uint32Bytes(uint32(f.Status))})
		if tcp := f.ProtoInfo.TCP; tcp != nil {
			attrs = append(attrs, nest(nl.CTA_PROTOINFO, nest(nl.CTA_PROTOINFO_TCP,
				netfilter.Attribute{Type: nl.CTA_PROTOINFO_TCP_STATE, Data: []byte{tcp.State}},
				netfilter.Attribute{Type: nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, Data: netfilter.Uint16Bytes(tcp.OriginalFlags)},
				netfilter.Attribute{Type: nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, Data: netfilter.Uint16Bytes(tcp.ReplyFlags)})))
		}
	}
	family := netfilter.ProtoIPv4
	if f.TupleOrig.IP.IsIPv6() {
		family = netfilter.ProtoIPv6
	}
	return netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink,
		MessageType: v.message,
		Family:      family,
		Flags:       netlink.Request | netlink.Acknowledge | v.flags,
	}, attrs)
}

func nest(kind uint16, children ...netfilter.Attribute) netfilter.Attribute {
	return netfilter.Attribute{Type: kind, Nested: true, Children: children}
}

func tuple(kind uint16, t *conntrack.Tuple) netfilter.Attribute {
	src, dst := uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if t.IP.IsIPv6() {
		src, dst = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	return nest(kind,
		nest(nl.CTA_TUPLE_IP,
			netfilter.Attribute{Type: src, Data: t.IP.SourceAddress.AsSlice()},
			netfilter.Attribute{Type: dst, Data: t.IP.DestinationAddress.AsSlice()}),
		nest(nl.CTA_TUPLE_PROTO, protoAttrs(&t.Proto)...))
}

// The attributes of an ICMP tuple (enum ctattr_l4proto), which nl does not name: identifier, type, code.
var icmpAttrs = map[uint8][3]uint16{
	unix.IPPROTO_ICMP:   {4, 5, 6},
	unix.IPPROTO_ICMPV6: {7, 8, 9},
}

func protoAttrs(p *conntrack.ProtoTuple) []netfilter.Attribute {
	number := netfilter.Attribute{Type: nl.CTA_PROTO_NUM, Data: []byte{p.Protocol}}
	if icmp, ok := icmpAttrs[p.Protocol]; ok {
		return []netfilter.Attribute{
			number,
			{Type: icmp[0], Data: netfilter.Uint16Bytes(p.ICMPID)},
			{Type: icmp[1], Data: []byte{p.ICMPType}},
			{Type: icmp[2], Data: []byte{p.ICMPCode}},
		}
	}
	return []netfilter.Attribute{
		number,
		{Type: nl.CTA_PROTO_SRC_PORT, Data: netfilter.Uint16Bytes(p.SourcePort)},
		{Type: nl.CTA_PROTO_DST_PORT, Data: netfilter.Uint16Bytes(p.DestinationPort)},
	}
}
