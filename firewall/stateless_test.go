package firewall

import (
	"strings"
	"testing"
)

// A stateless rule passes what it matches, packet by packet, and nothing that answers it.
func TestStateless(t *testing.T) {
	const services = "services: {web: {tcp: 80}, dns: {udp: 53}, icmp: {icmp: any}, all: {tcp: any}}\n"
	for _, c := range []struct{ policy, session, want string }{
		{"default: drop\nrules: [{name: a, to: server, service: web, action: allow, stateless: true}]",
			"client > server tcp 1 80 S; server > client tcp 80 1 SA; client > server tcp 1 80 A; client > server tcp 1 80 FS; client > server tcp 1 81 S",
			"pass; state-mismatch from-guest; pass; pass; default from-guest"},
		{"default: drop\nrules: [{name: a, service: web, action: allow, stateless: true}, {name: b, from: server, service: all, action: allow}]",
			"client > server tcp 1 80 S; server > client tcp 80 1 SA", "pass; state-mismatch from-guest"},
		{"default: drop\nrules: [{name: a, to: server, service: web, action: drop, stateless: true}, {name: b, service: all, action: allow}]",
			"client > server tcp 1 80 S; client > server tcp 1 81 S; server > client tcp 81 1 SA", "rule from-guest; pass; pass"},
		{"default: drop\nrules: [{name: a, service: dns, action: allow, direction: out, stateless: true}]", "client > server udp 1 53", "default to-guest"},
		{"default: drop\nrules: [{name: a, service: dns, action: allow, direction: out, stateless: true}, {name: b, service: dns, action: allow}]",
			"client > server udp 1 53; server > client udp 53 1", "pass; default from-guest"},
		{"default: drop\nrules: [{name: a, service: dns, action: allow, stateless: true}]",
			"client > server udp 1 53; server > client unreachable client > server udp 1 53", "pass; state-mismatch from-guest"},
		{"default: drop\nrules: [{name: a, service: [dns, icmp], action: allow, stateless: true}]",
			"client > server udp 1 53; server > client unreachable client > server udp 1 53; server > client stray", "pass; pass; pass"},
		{"default: drop\nrules: [{name: a, service: dns, action: allow, stateless: true}]", "client > server udp 1 53 first; client > server udp 1 53 later", "pass; pass"},
		{"default: drop\nexclude: client\nrules: [{name: a, service: dns, to: server, action: allow, stateless: true}]", "client > server udp 1 53; other > client udp 1 53", "pass; default from-guest"},
	} {
		w := newWorld(t, mustCompile(t, mustLoad(t, services+c.policy), Fast))
		var got []string
		for _, p := range strings.Split(c.session, "; ") {
			got = append(got, w.send(p))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.policy, c.session, s, c.want)
		}
	}
}

// A new stateless rule holds for the packets of flows that are known already, and makes no flows itself.
func TestStatelessAndKnownFlows(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, "services: {dns: {udp: 53}}\ndefault: allow\n"), Fast))
	w.send("client > server udp 1 53")
	w.g = mustCompile(t, mustLoad(t, "services: {dns: {udp: 53}}\ndefault: allow\nrules: [{name: a, service: dns, action: drop, stateless: true}]"), Fast)
	if got := w.send("client > server udp 1 53"); got != "rule from-guest" {
		t.Error(got)
	}
	if got := w.send("server > client udp 53 1"); got != "revoked from-guest" { // its first packet is denied now
		t.Error(got)
	}
	w.cx.Flows.Clear()
	w.g = mustCompile(t, mustLoad(t, "services: {dns: {udp: 53}}\ndefault: drop\nrules: [{name: a, service: dns, action: allow, stateless: true}]"), Fast)
	w.send("client > server udp 1 53")
	if n := w.cx.Flows.Len(); n != 0 {
		t.Errorf("%d flows", n)
	}
}

// A rule counts what hit it, and what its flows have carried: while they live, and after.
func TestRuleCounters(t *testing.T) {
	const text = "services: {web: {tcp: 80}, dns: {udp: 53}, ntp: {udp: 123}}\ndefault: drop\n" +
		"rules: [{name: s, service: ntp, action: allow, stateless: true}, {name: web, service: web, action: allow}, {name: no, service: dns, action: drop}]"
	w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
	const bytes = 28 + 17 // of UDP with the tests' payload
	count := func(name string, hits, frames, byteCount uint64) {
		t.Helper()
		for _, r := range w.g.Rules(w.cx.Flows) {
			if r.Name == name && (r.Hits != hits || r.Frames != frames || r.Bytes != byteCount) {
				t.Errorf("%s: %d hits, %d frames, %d bytes; want %d, %d, %d", name, r.Hits, r.Frames, r.Bytes, hits, frames, byteCount)
			}
		}
	}
	for _, p := range strings.Split(shake, "; ") {
		w.send(p)
	}
	syn, ack := uint64(20+28), uint64(20+20) // with 5 bytes of options, and padding
	count("web", 2, 3, 2*syn+ack)
	w.send("client > server udp 1 123")
	w.send("client > server udp 1 123")
	w.send("client > server udp 1 53")
	count("s", 4, 4, 4*bytes)
	count("no", 1, 1, bytes)
	count("default", 0, 0, 0)
	w.send("client > server tcp 4000 23 S")
	count("default", 1, 1, 57)
	before := w.g
	w.g = mustCompile(t, w.g.policy, Off) // what flows carry while nobody asks rules is theirs, too
	w.send("client > server tcp 4000 80 A seq=1001 ack=5001 len=0")
	count("web", 2, 4, 2*syn+2*ack)
	w.cx.Flows.Clear()
	count("web", 2, 4, 2*syn+2*ack)
	w.g = before
	count("web", 2, 4, 2*syn+2*ack)
	w.g = mustCompile(t, mustLoad(t, text+"\nmidstream: true"), Fast) // another policy has counters of its own
	count("web", 0, 0, 0)
	w.send("client > server tcp 4000 80 S")
	w.g = mustCompile(t, mustLoad(t, text+"\nmidstream: false"), Fast)
	w.send("client > server tcp 4000 80 S") // let live on, by a third
	w.cx.Flows.Clear()
	count("web", 2, 2, 2*57)
	w.cx.Dry = true
	w.send("client > server udp 1 123")
	count("s", 0, 0, 0)
}
