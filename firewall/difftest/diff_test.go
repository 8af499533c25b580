package difftest

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/vnic/frame"
)

var (
	frames = flag.Int("frames", 4000, "how many packets to compare")
	seed   = flag.Uint64("seed", 1, "of what is generated")
)

// A session is so many packets under one policy, with empty flow tables at its beginning. It takes less time than the
// shortest timeout.
const (
	session = 400
	burst   = 40 // packets on their way at once
)

// outcome is what became of a packet.
type outcome uint8

const (
	dropped outcome = iota
	passed
	rejected
)

func (o outcome) String() string { return [...]string{"drop", "pass", "reject"}[o] }

func TestRootEngineEqualsNFT(t *testing.T) {
	rig := newRig(t)
	rnd := rand.New(rand.NewPCG(*seed, 0))
	differences, counts := 0, [3]int{}
	for done := 0; done < *frames && differences < 20; done += session {
		text := policyText(rnd)
		policy, err := firewall.Load("policy.yaml", []byte(text), inventory())
		if err != nil {
			t.Fatal(err)
		}
		script, err := policy.NFT(firewall.NFTOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rig.apply(script)
		e := newEngine(t, policy)
		g := newGenerator(rnd, rig)
		var history []string
		equal := true // after one difference the flows of the two are not the same any more
		for n := 0; n < session && equal; n += burst {
			var out []sent
			answers := map[uint64]bool{}
			for len(out) < burst {
				s := g.packet(uint32(n + len(out)))
				if k := answerOf(s); k == 0 || !answers[k] {
					answers[k] = true
					out = append(out, s)
				}
			}
			got := outcomes(rig.exchange(out), out, uint32(n))
			for i, s := range out {
				want, why := e.judge(s)
				if want == rejected && unanswered(s.whole) {
					want = dropped
				}
				s.excluded = isExcluded(policy, s.from) && isExcluded(policy, s.to)
				counts[got[i]]++
				history = append(history, fmt.Sprintf("%3d %s > %s %s: nft %s, engine %s %s", n+i, s.from.addr, s.to.addr, describe(s.whole), got[i], want, why))
				if got[i] != want && equal && !reasoned(s, got[i], want) {
					equal = false
					differences++
					t.Errorf("policy %d:\n%s\n%s\n%s\n%x", done/session, text, related(history), history[len(history)-1], s.eth)
				}
			}
		}
	}
	t.Logf("%d packets: nft dropped %d, passed %d, rejected %d; %d differences", *frames, counts[dropped], counts[passed], counts[rejected], differences)
	for o, n := range counts {
		if n < *frames/50 {
			t.Errorf("only %d packets are %v: the test compares too little", n, outcome(o))
		}
	}
}

// reasoned is the list of differences that are meant.
//   - Fragmented neighbour discovery and group membership, which no stack sends (RFC 6980): the engine drops them.
//   - A reject of protocols of which the kernel knows no checksum (OSPF, VRRP, IGMP): only the engine answers.
//   - A later fragment alone between two guests that the policy excludes: the engine looks at nothing; a router waits
//     for the rest.
func reasoned(s sent, nft, engine outcome) bool {
	const housekeeping = 130 // to 137, and 143
	var k frame.Key
	frame.Parse(frame.From(s.whole), &k)
	t := k.ICMPType
	if s.rest != nil && k.Proto == frame.ProtoICMPv6 && (t >= housekeeping && t <= 137 || t == 143) {
		return engine == dropped && nft != dropped
	}
	if (k.Proto == 89 || k.Proto == 112 || k.Proto == 2) && engine == rejected && nft == dropped {
		return true
	}
	return s.alone() && s.excluded && engine == passed && nft == dropped
}

// answerOf tells by a number how a segment would be reset; 0 is that it would not. A reset does not say which of two
// alike it answers, so a burst has one.
func answerOf(s sent) uint64 {
	var k frame.Key
	if frame.Parse(frame.From(s.whole), &k) != frame.ReasonNone || k.Proto != frame.ProtoTCP || k.TCPFlags&frame.TCPRst != 0 {
		return 0
	}
	if k.TCPFlags&frame.TCPAck != 0 { // the reset is where the other side was said to be
		return k.Hash() ^ uint64(k.Ack)<<20 | 1<<63
	}
	return k.Hash() ^ uint64(k.Seq+k.PayloadLen+uint32(k.TCPFlags&frame.TCPFin)+uint32(k.TCPFlags&frame.TCPSyn)/frame.TCPSyn)<<20
}

// isExcluded says whether the policy is not for a host's vNIC.
func isExcluded(p *firewall.Policy, h host) bool {
	return h.guest != "" && (slices.Contains(p.Exclude, h.guest) || slices.Contains(p.Exclude, "web") && h.segment == 1)
}

// engine is the program at both insertion points, and a router between them.
type engine struct {
	t  *testing.T
	g  *firewall.Program
	cx firewall.Context
}

func newEngine(t *testing.T, p *firewall.Policy) *engine {
	g, err := firewall.Compile(p, firewall.Fast)
	if err != nil {
		t.Fatal(err)
	}
	flows, err := firewall.NewFlows(firewall.FlowsConfig{Max: 4096})
	if err != nil {
		t.Fatal(err)
	}
	return &engine{t: t, g: g, cx: firewall.Context{Now: 1e15, Flows: flows}}
}

// judge says what becomes of a packet; of a fragmented one, what becomes of its second half once the first has passed.
func (e *engine) judge(s sent) (outcome, string) {
	o, why := e.judgeFrame(s, s.eth)
	if o == passed && s.rest != nil {
		return e.judgeFrame(s, s.rest)
	}
	return o, why
}

func (e *engine) judgeFrame(s sent, eth []byte) (outcome, string) {
	f := frame.From(eth)
	var k frame.Key
	if r := frame.Parse(f, &k); r != frame.ReasonNone {
		return dropped, r.String()
	}
	e.cx.Eth = f.Eth()
	for _, pt := range []firewall.Point{{Port: s.from.port, Dir: firewall.FromGuest}, {Port: s.to.port, Dir: firewall.ToGuest}} {
		v := e.g.Check(&e.cx, pt, &k)
		switch {
		case v.Flags&firewall.VerdictReject != 0:
			return rejected, e.g.RuleName(v.Rule) + " " + pt.Dir.String()
		case v.Action != firewall.Pass:
			return dropped, v.Reason.String() + " " + e.g.RuleName(v.Rule) + " " + pt.Dir.String()
		}
		k.TTL--
	}
	return passed, ""
}

// outcomes tells from what came out of the router what became of each packet.
func outcomes(came [][]byte, out []sent, first uint32) []outcome {
	o := make([]outcome, len(out))
	for _, eth := range came {
		if i, ok := numberIn(eth, first, len(out)); ok {
			o[i] = passed
			if isReject(eth) {
				o[i] = rejected
			}
			continue
		}
		for i, s := range out { // a reset carries no payload
			if isResetFor(eth, s) && o[i] == dropped {
				o[i] = rejected
				break
			}
		}
	}
	return o
}

// numberIn finds a packet's number in a frame. An error's own number is behind that of the packet inside it.
func numberIn(eth []byte, first uint32, n int) (int, bool) {
	at := bytes.LastIndex(eth, magic)
	if at < 0 || len(eth) < at+len(magic)+4 {
		return 0, false
	}
	i := binary.BigEndian.Uint32(eth[at+len(magic):]) - first
	return int(i), i < uint32(n)
}

// isReject says whether a frame is the router's own ICMP answer: administratively prohibited.
func isReject(eth []byte) bool {
	if eth[12] == 8 {
		return eth[23] == 1 && eth[34] == 3 && eth[35] == 13
	}
	return eth[20] == 58 && eth[54] == 1 && eth[55] == 1
}

// unanswered says whether a packet is one that nobody answers: a reset, or an ICMP error (RFC 1122 3.2.2, RFC 4443
// 2.4), for which Linux also takes the types of ICMP that it does not know; and those of protocols whose checksum the
// kernel does not know, which it does not answer.
func unanswered(eth []byte) bool {
	var k frame.Key
	frame.Parse(frame.From(eth), &k)
	switch k.Proto {
	case 51, 135, 139, 140: // ah, mobility, hip, shim6
		return true
	}
	p := gopacket.NewPacket(eth, layers.LayerTypeEthernet, gopacket.NoCopy)
	t, isTCP := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	four, is4 := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	six, is6 := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	switch {
	case is4:
		kind := four.TypeCode.Type()
		return kind != 0 && kind != 8 && (kind < 13 || kind > 18)
	case is6:
		return six.TypeCode.Type() < 128
	}
	return isTCP && t.RST
}

// isResetFor says whether a frame is the router's answer to a segment that it rejects.
func isResetFor(eth []byte, s sent) bool {
	p := gopacket.NewPacket(eth, layers.LayerTypeEthernet, gopacket.NoCopy)
	t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || !t.RST || s.alone() {
		return false
	}
	q := gopacket.NewPacket(s.whole, layers.LayerTypeEthernet, gopacket.NoCopy)
	u, ok := q.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || u.RST || p.NetworkLayer().NetworkFlow() != q.NetworkLayer().NetworkFlow().Reverse() || t.SrcPort != u.DstPort || t.DstPort != u.SrcPort {
		return false
	}
	if u.ACK { // the answer is where the other side was said to be
		return !t.ACK && t.Seq == u.Ack
	}
	end := u.Seq + uint32(len(u.Payload))
	for _, flag := range []bool{u.SYN, u.FIN} {
		if flag {
			end++
		}
	}
	return t.ACK && t.Seq == 0 && t.Ack == end
}

// describe is a packet for people.
func describe(eth []byte) string {
	p := gopacket.NewPacket(eth, layers.LayerTypeEthernet, gopacket.NoCopy)
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		return fmt.Sprintf("tcp %d %d %s seq %d ack %d win %d len %d %v", l.SrcPort, l.DstPort, tcpFlags(l), l.Seq, l.Ack, l.Window, len(l.Payload), l.Options)
	case *layers.UDP:
		return fmt.Sprintf("udp %d %d", l.SrcPort, l.DstPort)
	}
	if l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return fmt.Sprintf("%v id %d %x", l.TypeCode, l.Id, l.Payload)
	}
	if l, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		return fmt.Sprintf("%v %x", l.TypeCode, l.Payload)
	}
	return fmt.Sprintf("%x", eth[14:])
}

func tcpFlags(l *layers.TCP) (s string) {
	for i, has := range []bool{l.SYN, l.ACK, l.FIN, l.RST, l.PSH, l.URG} {
		if has {
			s += "SAFRPU"[i : i+1]
		}
	}
	return s
}

// related are the earlier packets between the same two addresses; of TCP, those of the same connection.
func related(history []string) (out string) {
	ends := func(line string) []string { // "N FROM > TO tcp PORT PORT ..."
		w := strings.Fields(line)
		from, to := w[1], strings.TrimSuffix(w[3], ":")
		if w[4] == "tcp" {
			from, to = from+" tcp "+w[5], to+" tcp "+w[6]
		}
		return []string{min(from, to), max(from, to)}
	}
	last := ends(history[len(history)-1])
	for _, h := range history[:len(history)-1] {
		if slices.Equal(ends(h), last) {
			out += h + "\n"
		}
	}
	return out
}
