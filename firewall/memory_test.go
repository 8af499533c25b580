package firewall

import (
	"runtime"
	"testing"
)

// TestKeptMemory: what stays of a long policy while it is in force is in proportion to its text. A lab lives for hours,
// and a machine has many.
func TestKeptMemory(t *testing.T) {
	const each = 16 // bytes kept for a byte of the text: its rules, its program, and the text itself
	text := honest(1 << 20)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	p, err := Load("p.yaml", []byte(text), lab)
	if err != nil {
		t.Fatal(err)
	}
	program, err := Compile(p, Fast)
	if err != nil {
		t.Fatal(err)
	}
	if kept := heap() - before; kept > each*uint64(len(text)) {
		t.Errorf("a policy of %d bytes keeps %d bytes", len(text), kept)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(program)
}
