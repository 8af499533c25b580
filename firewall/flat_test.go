package firewall

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// flatOf is a program's flat one.
func flatOf(p *Program) []byte {
	b := flat.New(p.FlatSize())
	p.PutFlat(b)
	return b
}

// guardedLab is the reference lab with gateways, whose client is guarded.
func guardedLab() *Inventory {
	inv := &Inventory{Segments: withGateways(), Guests: append([]InvGuest{}, lab.Guests...)}
	v := inv.Guests[0].VNICs[0]
	v.Guarded = true
	inv.Guests[0].VNICs = []InvVNIC{v}
	return inv
}

// manyWays has whatever there is in a flat program.
const manyWays = `
services: {web: {tcp: 80}, some: {tcp: [1-9, 20-29, 80], udp: 53}, acks: {tcp: 1-80, flags: [ack/ack]}}
default: reject
exclude: [other]
midstream: true
limits: {flows: 100, per-source: {flows: 50, new-per-second: 20}}
timeouts: {udp-single: 5s}
rules:
  - {name: stateless, from: client, to: 10.10.2.0/25, service: some, action: allow, stateless: true}
  - {name: acks, from: dmz, service: acks, action: allow, log: true}
  - {name: six, to: "fd00:10:2::/64", action: allow}
  - {name: there, to: server, service: web, applied-to: server, action: drop}
  - {name: web, service: web, action: allow}
`

// someFrames are frames of many kinds, and their keys.
func someFrames(t testing.TB) (frames []*frame.Frame, keys []*frame.Key) {
	for _, text := range []string{
		"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 80 A", "client > server tcp 4000 80 F",
		"client > server tcp 4000 80 R", "client > server tcp 4001 25 S", "server > client tcp 80 4001 A", "other > server tcp 1 80 S",
		"client6 > server6 tcp 4000 80 S", "server6 > client6 udp 53 53", "client > server udp 5000 53", "server > client udp 53 5000",
		"client > server echo 7", "server > client echo-reply 7", "server > client unreachable client > server udp 5000 53",
		"client6 > server6 udp 1 5201 first", "client6 > server6 udp 1 5201 later", "client > server proto 47", "client6 > server6 ns",
		"10.10.1.99 > server udp 1 2", "server > 10.10.1.1 udp 1 53", "client > other tcp 1 80 S",
	} {
		f, k := parsePacket(text).frame(t)
		frames, keys = append(frames, f), append(keys, k)
	}
	return frames, keys
}

// TestReadFlat: a program that is read back from its bytes says of each frame what the one that was written says, and
// keeps the same flows.
func TestReadFlat(t *testing.T) {
	frames, keys := someFrames(t)
	inv := guardedLab()
	passed, dropped := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just(manyWays), rapid.Custom(func(t *rapid.T) string { return drawPolicy(t, "p") })).Draw(t, "policy")
		p, err := Load("p.yaml", []byte(text), inv)
		if err != nil {
			t.Fatal(err)
		}
		g, _ := Compile(p, rapid.SampledFrom([]Placement{Off, Fast, Slow, Tunnel, Push, Inspect}).Draw(t, "placement"))
		back, err := ReadFlat(flatOf(g))
		if err != nil {
			t.Fatal(err)
		}
		programs := []*Program{g, back}
		contexts := []Context{{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 4096})}, {Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 4096})}}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range 300 {
			n, pt, later := r.IntN(len(frames)), Point{frame.PortID(r.IntN(5)), Dir(r.IntN(2))}, r.Int64N(1e9)
			var said [2]Verdict
			for i := range said {
				contexts[i].Eth, contexts[i].Now = frames[n].Eth(), contexts[i].Now+later
				said[i] = programs[i].Check(&contexts[i], pt, keys[n])
			}
			if said[0] != said[1] {
				t.Fatalf("frame %d at %v: %+v; read back %+v", n, pt, said[0], said[1])
			}
			if said[0].Action == Drop {
				dropped++
			} else {
				passed++
			}
		}
		if a, b := contexts[0].Flows.Len(), contexts[1].Flows.Len(); a != b {
			t.Fatalf("%d flows; read back %d", a, b)
		}
	})
	if min(passed, dropped) < 1000 {
		t.Errorf("%d passed, %d were dropped", passed, dropped)
	}
}

// TestFlatIsTheSame: a policy has the same bytes in each process: those of this one are known. Where the layout has
// changed, so has the version in flatStart, and the sum here follows.
func TestFlatIsTheSame(t *testing.T) {
	load := func(text string) *Program {
		p, err := Load("p.yaml", []byte(text), guardedLab())
		if err != nil {
			t.Fatal(err)
		}
		return mustCompile(t, p, Inspect)
	}
	b := flatOf(load(manyWays))
	const known = "27c9e0c9634b24bb33f2f810d2e1f8aae13c9f2b72fcd4a184a4095a2814351f"
	if sum := fmt.Sprintf("%x", sha256.Sum256(b)); sum != known || flatStart.Version != 1 {
		t.Errorf("version %d, sum %s", flatStart.Version, sum)
	}
	if !bytes.Equal(b, flatOf(load("# a comment\n"+manyWays))) {
		t.Error("the bytes differ within one process")
	}
}

// TestStamps: two policies whose contents would lead to one stamp have two, whichever comes first has it for good, and
// what another process gave is taken over where it is free.
func TestStamps(t *testing.T) {
	const one, other, zero = 0x123456789abc0000, 0x123456789abc0002, 0x00000001deadbeee
	a, b := stampOf(one), stampOf(other)
	if a != one>>33 || b != a+1 || stampOf(one) != a || stampOf(other) != b {
		t.Errorf("%#x, %#x", a, b)
	}
	if n := stampOf(zero); n == 0 {
		t.Error("a policy has the stamp of none")
	}
	if !keepStamp(a, one) || keepStamp(a, other) || keepStamp(0, one) || !keepStamp(b+1, 1<<40) {
		t.Error("a stamp is taken over where it is another's, or is not where it is free")
	}
}

// walkFlat reads a flat program, and lets it check each of the frames where it can be read. It says whether it was
// refused.
func walkFlat(b []byte, frames []*frame.Frame, keys []*frame.Key, flows *Flows) (refused bool) {
	g, err := ReadFlat(b)
	if err != nil {
		return true
	}
	cx := Context{Now: 1e15, Flows: flows}
	for i := range frames {
		cx.Eth = frames[i].Eth()
		g.Check(&cx, Point{frame.PortID(i % 5), Dir(i / 5 % 2)}, keys[i])
	}
	return false
}

// TestBrokenFlat: a flat program of which one word is broken is refused, or checks frames to an end.
func TestBrokenFlat(t *testing.T) {
	p, err := Load("p.yaml", []byte(manyWays), guardedLab())
	if err != nil {
		t.Fatal(err)
	}
	frames, keys := someFrames(t)
	flows := mustFlows(FlowsConfig{Max: 4096})
	r := rand.New(rand.NewPCG(1, 2))
	b := flatOf(mustCompile(t, p, Fast))
	refused := 0
	for at := 0; at < len(b); at += 4 {
		was := binary.NativeEndian.Uint32(b[at:])
		for _, v := range []uint32{0, was + 1, was - 1, was ^ 1<<r.IntN(32), r.Uint32(), 1<<32 - 1, r.Uint32N(64)} {
			binary.NativeEndian.PutUint32(b[at:], v)
			if walkFlat(b, frames, keys, flows) {
				refused++
			}
		}
		binary.NativeEndian.PutUint32(b[at:], was)
	}
	if refused < 1000 {
		t.Errorf("%d of %d words are refused", refused, len(b)/4)
	}
}

// FuzzReadFlat reads whatever bytes as a flat program.
func FuzzReadFlat(f *testing.F) {
	for _, text := range []string{"default: allow", manyWays} {
		p, err := Load("p.yaml", []byte(text), guardedLab())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(flatOf(mustCompile(f, p, Fast)))
	}
	frames, keys := someFrames(f)
	flows := mustFlows(FlowsConfig{Max: 4096})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := flat.New(len(in) &^ (flat.Line - 1))
		copy(b, in)
		if len(b) >= int(reflect.TypeFor[flatHead]().Size()) { // the fuzzer need not find out how a head begins
			h := flat.Head[flatHead](b)
			h.Start = flatStart
			h.Size = uint32(len(b))
		}
		walkFlat(b, frames, keys, flows)
	})
}

// TestFlatLayout: what lies in a flat program has neither pointers nor padding, and its sizes are those that C has.
func TestFlatLayout(t *testing.T) {
	for size, v := range map[uintptr]any{192: flatHead{}, 2: ruleAction{}, 64: vnicGuard{}, 24: owner{}} {
		one := reflect.TypeOf(v)
		if err := flat.Unfit(one); err != nil {
			t.Error(err)
		}
		if one.Size() != size {
			t.Errorf("%s has %d bytes, not %d", one, one.Size(), size)
		}
	}
}
