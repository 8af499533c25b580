package bench

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// The two guests of every measurement, both on one segment. The port is one that the reference policy allows, for TCP
// and for UDP.
var (
	guestMAC = [2]net.HardwareAddr{{2, 0x51, 0, 0, 0, 0x0a}, {2, 0x51, 0, 0, 0, 0x0b}}
	guestIP  = [2]net.IP{net.IPv4(10, 10, 1, 10).To4(), net.IPv4(10, 10, 1, 20).To4()}
)

const (
	guestPort   = 5201
	senderPort  = 40000
	fcs         = 4 // bytes of checksum on the wire that a NIC adds: a "64-byte frame" is 60 bytes here
	vnetLen     = frame.VnetLen
	ethLen      = 14
	tcpSegment  = 1448 // payload of a TCP segment with timestamps at an MTU of 1500, as Linux makes them
	gsoFrame    = 60 * 1000
	stampLen    = 18 // magic 4, run 2, sequence 4, time 8
	stampMagic  = 0x51b1c35a
	udpStampOff = ethLen + 20 + 8
	tcpStampOff = ethLen + 20 + 20
)

// Shape is what the frames of one trial look like.
type Shape struct {
	Size int `json:"size"` // bytes of Ethernet frame, without checksum
	GSO  int `json:"gso"`  // TCP payload of one segment; 0 for a UDP frame of its own
}

// String is the shape's name in tables, with the checksum counted as RFC 2544 does.
func (s Shape) String() string {
	if s.GSO > 0 {
		return fmt.Sprintf("%d kB GSO", s.Size/1000)
	}
	return fmt.Sprintf("%d B", s.Size+fcs)
}

func (s Shape) stampOff() int {
	if s.GSO > 0 {
		return vnetLen + tcpStampOff
	}
	return vnetLen + udpStampOff
}

// data is one frame of the shape, from the first guest to the second, with its virtio_net_hdr before it.
func (s Shape) data() []byte {
	if s.GSO == 0 {
		return udpFrame(0, s.Size)
	}
	f := tcpFrame(0, layers.TCP{ACK: true, PSH: true, Seq: 1001, Ack: 2001}, s.Size)
	h := (*frame.Vnet)(f[:vnetLen])
	h.SetChecksum(ethLen+20, 16)
	h.SetGSO(unix.VIRTIO_NET_HDR_GSO_TCPV4, s.GSO, tcpStampOff)
	ip := f[vnetLen+ethLen:]
	binary.BigEndian.PutUint16(ip[20+16:], pseudoSum(ip[:20], s.Size-ethLen-20))
	return f
}

// kept says whether a received frame still asks for the segments that its sender asked for.
func (s Shape) kept(f []byte) bool {
	h := (*frame.Vnet)(f[:vnetLen])
	return s.GSO == 0 || h.GSOType() == unix.VIRTIO_NET_HDR_GSO_TCPV4 && int(h.GSOSize()) == s.GSO
}

// opening are the frames that begin the flow, from whom to whom by turns: a stateful firewall must have seen them, a
// switch learns from them where the guests are.
func (s Shape) opening() [][]byte {
	const least = udpStampOff + stampLen
	if s.GSO == 0 {
		return [][]byte{udpFrame(0, least), udpFrame(1, least), udpFrame(0, least)}
	}
	return [][]byte{
		tcpFrame(0, layers.TCP{SYN: true, Seq: 1000}, least),
		tcpFrame(1, layers.TCP{SYN: true, ACK: true, Seq: 2000, Ack: 1001}, least),
		tcpFrame(0, layers.TCP{ACK: true, Seq: 1001, Ack: 2001}, least),
	}
}

func udpFrame(from, size int) []byte {
	ports := [2]layers.UDPPort{senderPort, guestPort}
	udp := &layers.UDP{SrcPort: ports[from], DstPort: ports[1-from]} // no checksum (RFC 768): the stamp changes
	return ipFrame(from, layers.IPProtocolUDP, size, udp, udpStampOff, gopacket.SerializeOptions{FixLengths: true})
}

// tcpFrame is a segment padded to size; opening segments have no payload, only padding after the IP packet.
func tcpFrame(from int, tcp layers.TCP, size int) []byte {
	ports := [2]layers.TCPPort{senderPort, guestPort}
	tcp.SrcPort, tcp.DstPort, tcp.Window = ports[from], ports[1-from], 65535
	if !tcp.PSH {
		size = tcpStampOff
	}
	return ipFrame(from, layers.IPProtocolTCP, size, &tcp, tcpStampOff,
		gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true})
}

// ipFrame serialises from the inside out. It panics where gopacket refuses, for every input is a constant.
func ipFrame(from int, proto layers.IPProtocol, size int, l4 gopacket.SerializableLayer, head int,
	how gopacket.SerializeOptions) []byte {
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: proto,
		SrcIP: guestIP[from], DstIP: guestIP[1-from]}
	eth := &layers.Ethernet{SrcMAC: guestMAC[from], DstMAC: guestMAC[1-from], EthernetType: layers.EthernetTypeIPv4}
	if tcp, ok := l4.(*layers.TCP); ok {
		_ = tcp.SetNetworkLayerForChecksum(ip)
	}
	buf := gopacket.NewSerializeBuffer()
	full := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	for _, step := range []struct {
		layer gopacket.SerializableLayer
		how   gopacket.SerializeOptions
	}{{gopacket.Payload(make([]byte, size-head)), full}, {l4, how}, {ip, full}, {eth, full}} {
		if err := step.layer.SerializeTo(buf, step.how); err != nil {
			panic(fmt.Sprintf("bench: make a frame: %v", err))
		}
	}
	return append(make([]byte, vnetLen), buf.Bytes()...)
}

// pseudoSum is the sum of the pseudo-header that a half-done TCP checksum starts from (RFC 9293 3.1).
func pseudoSum(ip []byte, segment int) uint16 {
	sum := uint32(unix.IPPROTO_TCP) + uint32(segment)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// stamp marks a frame so that the receiver knows it again.
func stamp(at []byte, run uint16, seq uint32, now int64) {
	binary.LittleEndian.PutUint32(at, stampMagic)
	binary.LittleEndian.PutUint16(at[4:], run)
	binary.LittleEndian.PutUint32(at[6:], seq)
	binary.LittleEndian.PutUint64(at[10:], uint64(now))
}

// readStamp reads what stamp wrote; ok is false where it is no frame of this run.
func readStamp(at []byte, run uint16) (seq uint32, sent int64, ok bool) {
	if len(at) < stampLen || binary.LittleEndian.Uint32(at) != stampMagic || binary.LittleEndian.Uint16(at[4:]) != run {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(at[6:]), int64(binary.LittleEndian.Uint64(at[10:])), true
}
