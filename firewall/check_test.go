package firewall

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/vnic/frame"
)

// What ends the chain of an IPv6 packet is the protocol that rules are asked about, whatever is behind it.
func TestRulesSeeTheEndOfTheChain(t *testing.T) {
	const head = "services: {web: {tcp: 80}, ends: {protocol: [ah, 135, 139, 140]}}\n"
	allow := head + "default: drop\nrules:\n  - {name: r, service: %s, action: allow}\n"
	deny := head + "default: allow\nrules:\n  - {name: r, service: %s, action: drop}\n"
	for _, proto := range []uint8{51, 135, 139, 140} {
		for _, v6 := range []bool{false, true} {
			for text, want := range map[string]bool{
				strings.Replace(allow, "%s", "web", 1): false, strings.Replace(allow, "%s", "ends", 1): true,
				strings.Replace(deny, "%s", "web", 1): true, strings.Replace(deny, "%s", "ends", 1): false,
			} {
				w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
				if got := w.behind(proto, v6) == Pass; got != want {
					t.Errorf("TCP 80 behind %d, IPv6 %v: passes %v, want %v under\n%s", proto, v6, got, want, text)
				}
			}
		}
	}
}

// behind says what becomes of a SYN to port 80 behind a header of a protocol that ends the chain.
func (w *world) behind(proto uint8, v6 bool) Action {
	from, to := "client", "server"
	if v6 {
		from, to = "client6", "server6"
	}
	plain, _ := parsePacket(from + " > " + to + " tcp 4000 80 S").frame(w.t)
	at := map[bool]int{false: 34, true: 54}[v6]
	header := []byte{frame.ProtoTCP, 0, 0, 0, 0, 0, 0, 0} // of 8 bytes, in every one of them
	eth := slices.Concat(plain.Eth()[:at], header, plain.Eth()[at:])
	if v6 {
		eth[20] = proto
		binary.BigEndian.PutUint16(eth[18:], uint16(len(eth)-54))
	} else {
		eth[23] = proto
		binary.BigEndian.PutUint16(eth[16:], uint16(len(eth)-14))
		frame.SetIPv4Checksum(eth[14:])
	}
	f := frame.From(eth)
	var k frame.Key
	if r := frame.Parse(f, &k); r != frame.ReasonNone {
		w.t.Fatal(r)
	}
	w.cx.Eth = f.Eth()
	if v := w.g.Check(&w.cx, Point{w.g.policy.PortOf(k.Src.IP()), FromGuest}, &k); v.Action != Pass {
		return v.Action
	}
	return w.g.Check(&w.cx, Point{w.g.policy.PortOf(k.Dst.IP()), ToGuest}, &k).Action
}

// A session is packets in order, separated by ;, and after = what becomes of each.
func TestSessions(t *testing.T) {
	for _, c := range []struct{ name, session, want string }{
		{"handshake", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; client > server tcp 4000 80 A; server > client tcp 80 4000 A", "pass; pass; pass; pass"},
		{"handshake, IPv6", "client6 > server6 tcp 4000 80 S; server6 > client6 tcp 80 4000 SA; client6 > server6 tcp 4000 80 A", "pass; pass; pass"},
		{"denied port", "client > server tcp 4000 23 S", "default from-guest"},
		{"the other way", "server > client tcp 4000 80 S", "default from-guest"},
		{"another guest", "other > server tcp 4000 80 S", "default from-guest"},
		{"no SYN", "client > server tcp 4000 80 A", "state-mismatch from-guest"},
		{"SYN and ACK first", "client > server tcp 4000 80 SA", "state-mismatch from-guest"},
		{"SYN and FIN", "client > server tcp 4000 80 SF", "state-mismatch from-guest"},
		{"RST first", "client > server tcp 4000 80 R", "state-mismatch from-guest"},
		{"ACK before the answer", "client > server tcp 4000 80 S; client > server tcp 4000 80 A", "pass; state-mismatch from-guest"},
		{"SYN again", "client > server tcp 4000 80 S; client > server tcp 4000 80 S", "pass; pass"},
		{"refused", "client > server tcp 4000 80 S; server > client tcp 80 4000 RA; client > server tcp 4000 80 S", "pass; pass; pass"},
		{"null flags in a flow", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; client > server tcp 4000 80 -", "pass; pass; state-mismatch from-guest"},
		{"reply's SYN in an open flow", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; server > client tcp 80 4000 S", "pass; pass; state-mismatch from-guest"},
		{"close", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; client > server tcp 4000 80 A; client > server tcp 4000 80 FA; server > client tcp 80 4000 FA; client > server tcp 4000 80 A", "pass; pass; pass; pass; pass; pass"},
		{"closed, then begun by the server", "client > server tcp 4000 80 S; server > client tcp 80 4000 RA; server > client tcp 80 4000 S", "pass; pass; default from-guest"},
		{"RST before the answer", "client > server tcp 4000 80 S; client > server tcp 4000 80 R; server > client tcp 80 4000 SA", "pass; state-mismatch from-guest; state-mismatch from-guest"},
		{"SYN and ACK from who began", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; client > server tcp 4000 80 A; client > server tcp 4000 80 SA", "pass; pass; pass; state-mismatch from-guest"},
		{"begun again after the close", "client > server tcp 4000 80 S; server > client tcp 80 4000 SA; client > server tcp 4000 80 A; client > server tcp 4000 80 FA; server > client tcp 80 4000 FA; client > server tcp 4000 80 A; client > server tcp 4000 80 S; client > server tcp 4000 80 A", "pass; pass; pass; pass; pass; pass; pass; state-mismatch from-guest"},
		{"simultaneous open", "client > server tcp 4000 80 S; server > client tcp 80 4000 S; client > server tcp 4000 80 SA; server > client tcp 80 4000 A; client > server tcp 4000 80 SA", "pass; pass; pass; pass; state-mismatch from-guest"},
		{"UDP and its reply", "client > server udp 4000 5201; server > client udp 5201 4000", "pass; pass"},
		{"UDP, other ports", "client > server udp 4000 5201; server > client udp 5202 4000", "pass; default from-guest"},
		{"echo", "client > server echo 7; server > client echo-reply 7", "pass; pass"},
		{"echo, IPv6", "client6 > server6 echo 7; server6 > client6 echo-reply 7", "pass; pass"},
		{"reply without echo", "server > client echo-reply 7", "state-mismatch from-guest"},
		{"reply to another echo", "client > server echo 7; server > client echo-reply 8", "pass; state-mismatch from-guest"},
		{"echo back", "client > server echo 7; server > client echo 7", "pass; default from-guest"},
		{"stray type", "client > server stray", "state-mismatch from-guest"},
		{"timestamp", "client > server timestamp", "default from-guest"},
		{"error about a flow", "client > server udp 4000 5201; server > client unreachable client > server udp 4000 5201", "pass; pass"},
		{"error, IPv6", "client6 > server6 udp 4000 5201; server6 > client6 unreachable client6 > server6 udp 4000 5201", "pass; pass"},
		{"error about no flow", "server > client unreachable client > server udp 4000 5201", "state-mismatch from-guest"},
		{"error to whom it does not concern", "client > server udp 4000 5201; server > other unreachable client > server udp 4000 5201", "pass; state-mismatch from-guest"},
		{"error about an echo", "client > server echo 7; server > client unreachable client > server echo 7", "pass; pass"},
		{"error about a reply", "client > server udp 4000 5201; client > server unreachable server > client udp 5201 4000", "pass; pass"},
		{"fragments", "client > server udp 1 5201 first; client > server udp 1 5201 later", "pass; pass"},
		{"fragments, IPv6", "client6 > server6 udp 1 5201 first; client6 > server6 udp 1 5201 later", "pass; pass"},
		{"later fragment alone", "client > server udp 1 5201 later", "fragment from-guest"},
		{"fragments, denied", "client > server udp 1 53 first; client > server udp 1 53 later", "default from-guest; fragment from-guest"},
		{"later fragment of another packet", "client > server udp 1 5201 first; client > server udp 1 5201 stray", "pass; fragment from-guest"},
		{"later fragment of another", "client > server udp 1 5201 first; other > server udp 1 5201 later", "pass; fragment from-guest"},
		{"fragments of a known flow", "client > server udp 1 5201; server > client udp 5201 1; client > server udp 1 5201 first; client > server udp 1 5201 later", "pass; pass; pass; pass"},
		{"other protocol", "client > server proto 47", "default from-guest"},
		{"neighbour solicitation from far", "client6 > server6 ns", "default from-guest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
			var got []string
			for _, p := range strings.Split(c.session, ";") {
				got = append(got, w.send(p))
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.session, s, c.want)
			}
		})
	}
}

// What the rules say of one packet, at both points.
func TestRules(t *testing.T) {
	for _, c := range []struct{ rules, packet, want string }{
		{"[{name: a, action: drop}]", "client > server tcp 1 80 S", "rule from-guest"},
		{"[{name: a, action: reject}]", "client > server tcp 1 80 S", "reject from-guest"},
		{"[{name: a, direction: in, action: drop}]", "client > server tcp 1 80 S", "rule to-guest"},
		{"[{name: a, direction: out, action: drop}]", "client > server tcp 1 80 S", "rule from-guest"},
		{"[{name: a, applied-to: server, action: drop}]", "client > server tcp 1 80 S", "rule to-guest"},
		{"[{name: a, applied-to: [client], action: reject}]", "client > server tcp 1 80 S", "reject from-guest"},
		{"[{name: a, applied-to: other, action: drop}]", "client > server tcp 1 80 S", "pass"},
		{"[{name: a, applied-to: lan, action: drop}]", "server > client tcp 1 80 S", "rule to-guest"},
		{"[{name: a, from: [server, other], action: drop}]", "client > server tcp 1 80 S", "pass"},
		{"[{name: a, from: lan, action: drop}]", "client6 > server6 tcp 1 80 S", "rule from-guest"},
		{"[{name: a, from: g, action: drop}]", "client6 > server6 tcp 1 80 S", "rule from-guest"},
		{"[{name: a, to: 10.10.2.0/28, action: drop}]", "client > server tcp 1 80 S", "rule from-guest"},
		{"[{name: a, to: 10.10.2.0/28, action: drop}]", "client6 > server6 tcp 1 80 S", "pass"},
		{"[{name: a, to: 10.10.2.11, action: drop}]", "client > server tcp 1 80 S", "pass"},
		{"[{name: a, service: high, action: drop}]", "client > server tcp 1 8005 S", "rule from-guest"},
		{"[{name: a, service: high, action: drop}]", "client > server tcp 1 8011 S", "pass"},
		{"[{name: a, service: high, action: drop}]", "client > server udp 1 8005", "pass"},
		{"[{name: a, service: ping, action: drop}]", "client6 > server6 echo 1", "rule from-guest"},
		{"[{name: a, service: gre, action: drop}]", "client > server proto 47", "rule from-guest"},
		{"[{name: a, service: high, action: allow}, {name: b, action: drop}]", "client > server tcp 1 8005 S", "pass"},
		{"[{name: b, action: drop}, {name: a, service: high, action: allow}]", "client > server tcp 1 8005 S", "rule from-guest"},
	} {
		text := "groups: {g: [h], h: [client]}\nservices: {high: {tcp: [8000-8010, 9000]}, ping: {icmp: echo}, gre: {protocol: gre}}\ndefault: allow\nrules: " + c.rules
		w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
		if got := w.send(c.packet); got != c.want {
			t.Errorf("%s: %s: got %s, want %s", c.rules, c.packet, got, c.want)
		}
		if f, k := parsePacket(c.packet).frame(t); k.Proto != 0 {
			d := w.g.policy.Evaluate(tupleOf(k))
			if (d.Action == RuleAllow) != (c.want == "pass") {
				t.Errorf("%s: %s: Evaluate says %v of %d bytes, Check %s", c.rules, c.packet, d, f.Len, c.want)
			}
		}
	}
}

// What a policy says beside its rules.
func TestOptions(t *testing.T) {
	for _, c := range []struct{ options, session, want string }{
		{"exclude: client", "client > server tcp 1 80 S", "default to-guest"},
		{"exclude: [client, server]", "client > server tcp 1 80 A", "pass"},
		{"exclude: dmz", "client > server tcp 1 80 S", "default from-guest"},
		{"midstream: true", "client > server tcp 1 7777 A; server > client tcp 7777 1 A; client > server tcp 1 7777 FA", "pass; pass; pass"},
		{"midstream: true", "client > server tcp 1 7777 FA", "state-mismatch from-guest"},
		{"midstream: false", "client > server tcp 1 7777 A", "state-mismatch from-guest"},
		{"limits: {flows: 2}", "client > server tcp 1 7777 S; client > server tcp 2 7777 S; client > server tcp 3 7777 S; client > server tcp 1 7777 S", "pass; pass; state-limit from-guest; pass"},
		{"limits: {new-per-second: 20}", "client > server tcp 1 7777 S; client > server tcp 2 7777 S; client > server tcp 3 7777 S", "pass; pass; state-limit from-guest"},
		{"timeouts: {tcp-first: 1s}", "client > server tcp 1 7777 S; wait 2; server > client tcp 7777 1 SA", "pass; -; state-mismatch from-guest"},
		{"timeouts: {tcp-first: 3s}", "client > server tcp 1 7777 S; wait 2; server > client tcp 7777 1 SA", "pass; -; pass"},
		{"limits: {new-per-second: 20}", "client > server tcp 1 7777 S; client > server tcp 2 7777 S; wait 1; client > server tcp 3 7777 S", "pass; pass; -; pass"},
	} {
		text := c.options + "\nservices: {s: {tcp: 7777}}\ndefault: drop\nsections:\n  - name: only\n    rules:\n      - {name: a, service: s, action: allow}\n"
		w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
		var got []string
		for _, p := range strings.Split(c.session, "; ") {
			if s, ok := strings.CutPrefix(p, "wait "); ok {
				w.cx.Now += int64(number(s)) * int64(time.Second)
				got = append(got, "-")
				continue
			}
			got = append(got, w.send(p))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.options, c.session, s, c.want)
		}
	}
}

func tupleOf(k *frame.Key) Tuple {
	t := Tuple{Proto: k.Proto, ICMPType: k.ICMPType, ICMPCode: k.ICMPCode}
	t.Src, t.Dst = addrPort(k.Src, k.SrcPort), addrPort(k.Dst, k.DstPort)
	return t
}

func TestUnenforcedPlacementsPassAndTrack(t *testing.T) {
	for _, pl := range []Placement{Off, Slow, Tunnel} {
		w := newWorld(t, mustCompile(t, mustLoad(t, reference), pl))
		for _, p := range []string{"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 23 S", "other > server tcp 1 1 A", "server > client stray"} {
			if got := w.send(p); got != "pass" {
				t.Errorf("%v: %s: %s", pl, p, got)
			}
		}
		if n := w.cx.Flows.Len(); n != 2 {
			t.Errorf("%v: %d flows, want 2", pl, n)
		}
	}
}

// A change from off to fast: what the policy allows lives on, what it denies is cut, and each is judged in the
// direction in which it began.
func TestFlowsOutliveAChange(t *testing.T) {
	p := mustLoad(t, reference)
	w := newWorld(t, mustCompile(t, p, Off))
	for _, s := range []string{"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 80 A",
		"client > server tcp 4001 23 S", "server > client tcp 23 4001 SA", "client > server tcp 4001 23 A"} {
		w.send(s)
	}
	w.g = mustCompile(t, p, Fast)
	for _, c := range []struct{ packet, want string }{
		{"server > client tcp 80 4000 A", "pass"},
		{"client > server tcp 4000 80 A", "pass"},
		{"server > client tcp 23 4001 A", "revoked from-guest"},
		{"client > server tcp 4001 23 A", "state-mismatch from-guest"},
	} {
		if got := w.send(c.packet); got != c.want {
			t.Errorf("%s: %s, want %s", c.packet, got, c.want)
		}
	}
}

func TestRevalidateCutsAtOnce(t *testing.T) {
	p := mustLoad(t, reference)
	w := newWorld(t, mustCompile(t, p, Off))
	w.send("client > server tcp 4000 80 S")
	w.send("client > server tcp 4001 23 S")
	if cut := w.cx.Flows.Revalidate(mustCompile(t, p, Fast)); cut != 1 || w.cx.Flows.Len() != 1 {
		t.Errorf("cut %d, %d left", cut, w.cx.Flows.Len())
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	var steps []Step
	w.cx.Rec, w.cx.Dry = func(s Step) { steps = append(steps, s) }, true
	if got := w.send("client > server tcp 4000 80 S"); got != "pass" {
		t.Fatal(got)
	}
	if len(steps) != 2 || steps[0].Rule != "web" || steps[0].Where != "policy.yaml:10" {
		t.Errorf("steps %+v", steps)
	}
	if w.cx.Flows.Len() != 0 || w.g.Rules(w.cx.Flows)[1].Hits != 0 {
		t.Error("a dry check left a trace")
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	for _, c := range []struct{ name, packet string }{
		{"new and denied", "client > server tcp 1 23 S"},
		{"stray", "client > server tcp 1 80 A"},
		{"known", "client > server tcp 2 80 S"},
		{"echo", "client > server echo 3"},
		{"error", "server > client unreachable client > server echo 3"},
		{"first fragment", "client > server udp 9 5201 first"},
		{"later fragment", "client > server udp 9 5201 later"},
	} {
		f, k := parsePacket(c.packet).frame(t)
		w.cx.Eth = f.Eth()
		pt := Point{w.g.policy.PortOf(k.Src.IP()), FromGuest}
		if n := testing.AllocsPerRun(100, func() { w.g.Check(&w.cx, pt, k) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	f, k := parsePacket("client > server udp 1 5201").frame(t)
	w.cx.Eth = f.Eth()
	if n := testing.AllocsPerRun(1000, func() { k.SrcPort++; w.g.Check(&w.cx, Point{client, FromGuest}, k) }); n != 0 {
		t.Errorf("new flows: %v allocations", n)
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	w.send("client > server udp 4000 5201")
	w.cx.Now += int64(59 * time.Second)
	if got := w.send("server > client udp 5201 4000"); got != "pass" {
		t.Error("forgotten too early:", got)
	}
	w.cx.Now += int64(61 * time.Second)
	if got := w.send("server > client udp 5201 4000"); got != "default from-guest" {
		t.Error("not forgotten:", got)
	}
	w.send("client > server udp 4001 5201")
	w.cx.Now += int64(61 * time.Second)
	n := 0
	for range expireCalls {
		n += w.cx.Flows.Expire(w.cx.Now)
	}
	if n != 1 || w.cx.Flows.Len() != 0 || w.cx.Flows.PortLen(client) != 0 {
		t.Errorf("expired %d, %d left, port has %d", n, w.cx.Flows.Len(), w.cx.Flows.PortLen(client))
	}
}
