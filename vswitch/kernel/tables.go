package kernel

import (
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// What programs and Go share, as bpf/tables.h has it; what each field means is said there. TestLayout holds both
// against each other.
type (
	way struct {
		generation, until uint32
		flow              uint32
		in, out, mtu      uint16
		flags             uint8
		_                 uint8
		dst, to           frame.MAC
	}
	port struct {
		device          uint32
		generation      atomic.Uint32
		mac, gateway    frame.MAC
		seen            atomic.Uint32
		punted, settled atomic.Uint32
	}
	settings struct {
		open, generation, now atomic.Uint32
		stamp, enforce        uint32
		bucketMask            uint32
		timeouts              [firewall.States]uint32
	}
	walking struct {
		count atomic.Uint64
		_     [7]uint64
	}
	counters struct{ In, InBytes, Out, OutBytes, Slow, SlowBytes uint64 }
)

// The flags of a way.
const (
	wayCheckIn = 1 << iota
	wayCheckOut
	wayRouted
	waySlow
)

// maxPorts and maxDevices are how many ports and indexes of devices the programs know; what is beyond is punted.
const (
	maxPorts   = 4096
	maxDevices = 16384
)

// maxFlows is how many flows the table holds where nobody says: the kernel takes its memory at once, 50 MB.
const maxFlows = 1 << 18

// tables are the maps, and this process's view of them.
type tables struct {
	settings *settings
	ports    []port
	walks    []walking
	ways     []way

	portOf, counts *ebpf.Map
	mapped         [][]byte
}

// view maps a table of values into this process. It lives for as long as t.
func view[T any](t *tables, m *ebpf.Map) ([]T, error) {
	size := int(m.MaxEntries()) * int(m.ValueSize())
	if each := int(unsafe.Sizeof(*new(T))); each != int(m.ValueSize()) {
		return nil, fmt.Errorf("a value of %s has %d bytes, and %s %d", m, m.ValueSize(), reflect.TypeFor[T](), each)
	}
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", m, err)
	}
	t.mapped = append(t.mapped, b)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), m.MaxEntries()), nil
}

// close gives the memory back. Nobody may use it any more.
func (t *tables) close() {
	for _, b := range t.mapped {
		_ = unix.Munmap(b)
	}
	t.mapped = nil
}

// quiet returns once no program walks that began before it was called.
func (t *tables) quiet() {
	for i := range t.walks {
		for was := t.walks[i].count.Load(); was%2 == 1 && t.walks[i].count.Load() == was; {
			runtime.Gosched()
		}
	}
}

// count sums up what programs have counted of a port.
func (t *tables) count(id frame.PortID) (n counters) {
	var each []counters
	if int(id) >= maxPorts || t.counts.Lookup(uint32(id), &each) != nil {
		return n
	}
	for _, c := range each {
		n.In, n.InBytes = n.In+c.In, n.InBytes+c.InBytes
		n.Out, n.OutBytes = n.Out+c.Out, n.OutBytes+c.OutBytes
		n.Slow, n.SlowBytes = n.Slow+c.Slow, n.SlowBytes+c.SlowBytes
	}
	return n
}

// uncount lets a port count from zero.
func (t *tables) uncount(id frame.PortID) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	return t.counts.Update(uint32(id), make([]counters, cpus), ebpf.UpdateAny)
}
