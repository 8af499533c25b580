package firewall

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// TestFlowLayout holds where everything in the table's memory is, for a program of the kernel that walks it.
func TestFlowLayout(t *testing.T) {
	var e entry
	var b bucket
	for _, c := range []struct {
		what      string
		got, want uintptr
	}{
		{"an entry", unsafe.Sizeof(e), 128},
		{"aHigh", unsafe.Offsetof(e.aHigh), 0},
		{"aLow", unsafe.Offsetof(e.aLow), 8},
		{"bHigh", unsafe.Offsetof(e.bHigh), 16},
		{"bLow", unsafe.Offsetof(e.bLow), 24},
		{"rest", unsafe.Offsetof(e.rest), 32},
		{"stamp", unsafe.Offsetof(e.stamp), 40},
		{"seen", unsafe.Offsetof(e.seen), 44},
		{"next", unsafe.Offsetof(e.next), 48},
		{"rule", unsafe.Offsetof(e.rule), 52},
		{"points", unsafe.Offsetof(e.points), 56},
		{"owner", unsafe.Offsetof(e.owner), 60},
		{"state", unsafe.Offsetof(e.state), 62},
		{"flags", unsafe.Offsetof(e.flags), 63},
		{"frames", unsafe.Offsetof(e.frames), 64},
		{"low", unsafe.Offsetof(e.low), 72},
		{"high", unsafe.Offsetof(e.high), 80},
		{"options", unsafe.Offsetof(e.options), 82},
		{"lastWin", unsafe.Offsetof(e.lastWin), 84},
		{"last", unsafe.Offsetof(e.last), 86},
		{"changed", unsafe.Offsetof(e.changed), 87},
		{"lastEnd", unsafe.Offsetof(e.lastEnd), 88},
		{"side", unsafe.Offsetof(e.side), 92},
		{"a side", unsafe.Sizeof(e.side[0]), 16},
		{"a side's end", unsafe.Offsetof(e.side[0].end), 0},
		{"a side's maxEnd", unsafe.Offsetof(e.side[0].maxEnd), 4},
		{"a side's maxWin", unsafe.Offsetof(e.side[0].maxWin), 8},
		{"a side's maxAck", unsafe.Offsetof(e.side[0].maxAck), 12},
		{"a bucket", unsafe.Sizeof(b), 64},
		{"lock", unsafe.Offsetof(b.lock), 0},
		{"more", unsafe.Offsetof(b.more), 4},
		{"tags", unsafe.Offsetof(b.tags), 8},
		{"index", unsafe.Offsetof(b.index), 24},
		{"a shard", unsafe.Sizeof(shard{}), 64},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

// TestSlots: the slots that have a tag are found, all of them and no other.
func TestSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := rapid.SampledFrom([]uint16{0, 1, 2, 3, 0x7fff, 0x8000, 0x8001, 0xffff})
		var b bucket
		for i := range b.tags {
			b.tags[i] = tag.Draw(t, "tag")
		}
		wanted := tag.Draw(t, "wanted")
		var got [bucketSlots]bool
		for slots := b.with(wanted); slots != 0; slots &= slots - 1 {
			got[slotOf(slots)] = true
		}
		for i, other := range b.tags {
			if got[i] != (other == wanted) {
				t.Fatalf("%x in %x: slots %v", wanted, b.tags, got)
			}
		}
	})
}

// given is a table's memory as a program of the kernel has it, which knows nothing but the layout.
type given struct {
	entries, buckets []byte
	seeds            Seeds
}

// memory is for FlowsConfig.
func (g *given) memory(entries, buckets int) (e, b []byte, err error) {
	lines := func(n int) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&make([]bucket, n/64)[0])), n) }
	g.entries, g.buckets = lines(entries), lines(buckets)
	if uintptr(unsafe.Pointer(&g.entries[0]))%64 != 0 || uintptr(unsafe.Pointer(&g.buckets[0]))%64 != 0 {
		err = errors.New("Go's memory is not at a multiple of 64")
	}
	return g.entries, g.buckets, err
}

// bucketOf is the bucket of a hash, as bytes.
func (g *given) bucketOf(hash uint64) []byte {
	each := uint64(len(g.buckets) / 64 / 64)
	return g.buckets[(hash%each*64+hash>>58)*64:][:64]
}

// find gives a flow's entry, or nil.
func (g *given) find(id *flowID) []byte {
	hash := g.seeds.hash(id)
	b := g.bucketOf(hash)
	at := func(i uint32) []byte { return g.entries[(i-1)*128:][:128] }
	is := func(e []byte) bool { return *(*flowID)(unsafe.Pointer(&e[0])) == *id }
	for slot := range 8 {
		if binary.NativeEndian.Uint16(b[8+2*slot:]) == uint16(hash>>32)|1 {
			if e := at(binary.NativeEndian.Uint32(b[24+4*slot:])); is(e) {
				return e
			}
		}
	}
	for i := binary.NativeEndian.Uint32(b[4:]); i != 0; {
		e := at(i)
		if is(e) {
			return e
		}
		i = binary.NativeEndian.Uint32(e[48:])
	}
	return nil
}

// TestGivenMemory: a table that is full lies in the memory and has the seeds that it was given, and all of its flows
// are found there, those in chains, too. After half of them are gone, no bucket that has a free slot has a chain.
func TestGivenMemory(t *testing.T) {
	const flows = 4096
	g := &given{seeds: drawSeeds()}
	w := newWorld(t, mustCompile(t, mustLoad(t, "default: allow\n"), Fast))
	table := mustFlows(FlowsConfig{Max: flows, PerPort: flows, Memory: g.memory, Seeds: g.seeds, Shared: true})
	w.cx.Flows = table
	_, k := parsePacket("client > server udp 1 80").frame(t)
	for i := range 2 * flows {
		k.SrcPort = uint16(i)
		w.g.Check(&w.cx, Point{client, FromGuest}, k)
	}
	chained := func() (chains, loose int) {
		for i := range table.buckets {
			if b := &table.buckets[i]; b.more != 0 {
				if chains++; b.with(0) != 0 {
					loose++
				}
			}
		}
		return chains, loose
	}
	held := func() (n int) {
		table.all(func(_ *shard, e *entry) {
			if n++; g.find(&e.flowID) == nil {
				t.Errorf("a flow is not found in the memory: %+v", e.flowID)
			}
		})
		return n
	}
	if n := held(); n != table.Len() || n < flows-flows/50 {
		t.Errorf("%d flows are in the memory, %d in the table", n, table.Len())
	}
	if chains, loose := chained(); chains == 0 || loose != 0 {
		t.Errorf("%d buckets have chains, %d of them and a free slot", chains, loose)
	}
	checkTable(t, table)
	table.all(func(s *shard, e *entry) {
		if e.bPort()%2 == 0 && e.aPort()%2 == 0 {
			table.remove(s, e)
		}
	})
	if _, loose := chained(); loose != 0 {
		t.Errorf("%d buckets have a chain and a free slot", loose)
	}
	held()
	checkTable(t, table)
}

// TestMemoryThatDoesNotFit: what gives a table's memory may fail, and what it gives may be too little, or not at a line
// of the cache.
func TestMemoryThatDoesNotFit(t *testing.T) {
	refused := errors.New("refused")
	for what, memory := range map[string]func(e, b []byte) ([]byte, []byte, error){
		"refused":            func(_, _ []byte) ([]byte, []byte, error) { return nil, nil, refused },
		"few entries":        func(e, b []byte) ([]byte, []byte, error) { return e[:len(e)-64], b, nil },
		"few buckets":        func(e, b []byte) ([]byte, []byte, error) { return e, b[:len(b)-64], nil },
		"entries not a line": func(e, b []byte) ([]byte, []byte, error) { return append(e, 0)[8:], b, nil },
		"buckets not a line": func(e, b []byte) ([]byte, []byte, error) { return e, append(b, make([]byte, 64)...)[8:], nil },
	} {
		f, err := NewFlows(FlowsConfig{Max: 4096, Memory: func(entries, buckets int) ([]byte, []byte, error) {
			e, b, err := (&given{}).memory(entries, buckets)
			if err != nil {
				return nil, nil, err
			}
			return memory(e, b)
		}})
		if f != nil || err == nil || errors.Is(err, refused) != (what == "refused") {
			t.Errorf("%s: %v", what, err)
		}
	}
	f, err := NewFlows(FlowsConfig{Max: maxFlows + 1, Memory: func(_, _ int) ([]byte, []byte, error) {
		t.Error("memory was asked for more flows than have an index")
		return nil, nil, refused
	}})
	if f != nil || err == nil {
		t.Error("more flows than have an index")
	}
}

// kernel finds flows in a table, counts frames and notes the time, as a program of the kernel does: it knows no mutex,
// and what it does not get the lock of, it leaves.
func (g *given) kernel(ids []flowID, done *atomic.Bool) (counted int) {
	const tries, lockKernel, now = 16, 2, 1e9
	for i := 0; !done.Load(); i++ {
		id := &ids[rand.IntN(len(ids))]
		lock := (*atomic.Uint32)(unsafe.Pointer(&g.bucketOf(g.seeds.hash(id))[0]))
		for range tries {
			if !lock.CompareAndSwap(lockFree, lockKernel) {
				continue
			}
			if e := g.find(id); e != nil {
				binary.NativeEndian.PutUint32(e[64:], binary.NativeEndian.Uint32(e[64:])+1)
				binary.NativeEndian.PutUint32(e[44:], now)
				counted++
			}
			lock.Store(lockFree)
			break
		}
	}
	return counted
}

// TestBesideKernel: while a program of the kernel changes entries, every way of Go to a flow takes the flow's lock (the
// race detector says so), also where the table is full and new flows push out others; and all locks are given back.
func TestBesideKernel(t *testing.T) {
	p := mustLoad(t, reference)
	program := mustCompile(t, p, Fast)
	g := &given{seeds: drawSeeds()}
	flows := mustFlows(FlowsConfig{Max: 4096, PerPort: 4096, Memory: g.memory, Seeds: g.seeds, Shared: true})
	_, k := parsePacket("client > server udp 1 5201").frame(t)
	ids := make([]flowID, 6000)
	for i := range ids {
		k.SrcPort = uint16(i)
		ids[i], _ = identify(k)
	}
	var done atomic.Bool
	var counted atomic.Int64
	var kernel, all sync.WaitGroup
	kernel.Go(func() { counted.Store(int64(g.kernel(ids, &done))) })
	for worker := range 2 {
		all.Go(func() {
			cx, k := Context{Now: 1e15, Flows: flows}, *k
			for i := range 4 * len(ids) {
				k.SrcPort = uint16((i + worker) % len(ids))
				program.Check(&cx, Point{client, FromGuest}, &k)
			}
		})
	}
	all.Go(func() {
		for range 4 {
			flows.Import(1e15, flows.Export(1e15, program, 0))
			flows.Keep(1e15, program, 0)
			flows.Revalidate(program)
			for i := range ids {
				k := frame.Key{Proto: frame.ProtoUDP, Flags: k.Flags, Src: k.Src, Dst: k.Dst, SrcPort: uint16(i), DstPort: k.DstPort}
				flows.Kept(&k, nil, false)
				flows.Judge(&k, frame.VerdictClean)
			}
			for range 1000 {
				flows.KeepsAny(1e15)
			}
			flows.Each(1e15, program, func(FlowRecord) bool { return true })
			flows.Expire(1e15)
			program.Rules(flows)
			flows.Clear()
		}
	})
	all.Wait()
	done.Store(true)
	kernel.Wait()
	if counted.Load() == 0 {
		t.Error("the kernel has counted nothing")
	}
	for i := range flows.buckets {
		if flows.buckets[i].lock.Load() != lockFree {
			t.Fatalf("bucket %d is locked", i)
		}
	}
	checkTable(t, flows)
}
