package probe

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestTry tries what this machine's loopback answers, refuses and ignores.
func TestTry(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	quiet, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	loop := netip.MustParseAddr("127.0.0.1")
	port := func(a net.Addr) uint16 { return netip.MustParseAddrPort(a.String()).Port() }
	targets := []Target{
		{"tcp", loop, port(open.Addr())},
		{"tcp", loop, port(closed.Addr())},
		{"udp", loop, port(quiet.LocalAddr())},
		{"udp", loop, port(closed.Addr())},
	}
	want := []Outcome{Answered, Refused, Silent, Refused}
	for i, r := range Try(t.Context(), targets, 300*time.Millisecond) {
		if r.Outcome != want[i] || r.Target != targets[i].String() {
			t.Errorf("%s: %+v, want %s", targets[i], r, want[i])
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"tcp/10.10.2.10/80", "udp/fd00::1/5201", "icmp/10.10.2.10"} {
		if got, err := ParseTarget(s); err != nil || got.String() != s {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "tcp", "tcp/10.10.2.10", "tcp/10.10.2.10/0", "tcp/10.10.2.10/65536", "icmp/10.10.2.10/1", "sctp/10.10.2.10/1", "tcp/server/80"} {
		if got, err := ParseTarget(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// TestReadICMP says what a ping makes of the messages that it may meet.
func TestReadICMP(t *testing.T) {
	const id = 0x1234
	message := func(kind, code byte, inner int, innerType byte, innerID uint16) []byte {
		m := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, make([]byte, inner)...)
		m = append(m, innerType, 0, 0, 0, 0, 0, 0, 1)
		binary.BigEndian.PutUint16(m[8+inner+4:], innerID)
		return m
	}
	for _, c := range []struct {
		what string
		v4   bool
		m    []byte
		done bool
		err  error
	}{
		{"reply", true, []byte{0, 0, 0, 0, 0x12, 0x34, 0, 1}, true, nil},
		{"reply", false, []byte{129, 0, 0, 0, 0x12, 0x34, 0, 1}, true, nil},
		{"another's reply", true, []byte{0, 0, 0, 0, 0x12, 0x35, 0, 1}, false, nil},
		{"prohibited", true, message(3, 13, 20, 8, id), true, errProhibited},
		{"prohibited", false, message(1, 1, 40, 128, id), true, errProhibited},
		{"no such host", true, message(3, 1, 20, 8, id), true, errUnreachable},
		{"another's error", true, message(3, 13, 20, 8, id+1), false, nil},
		{"cut short", true, message(3, 13, 20, 8, id)[:30], false, nil},
		{"nothing", true, nil, false, nil},
	} {
		if done, err := families[c.v4].read(c.m, id); done != c.done || !errors.Is(err, c.err) {
			t.Errorf("%s: %v %v", c.what, done, err)
		}
	}
}
