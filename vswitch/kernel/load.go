package kernel

import (
	"bytes"
	_ "embed"
	"fmt"
	"math/rand/v2"

	"github.com/cilium/ebpf"

	"sluice/firewall"
	"sluice/vnic"
)

// object is bpf/port.c, as scripts/bpf compiles it.
//
//go:embed port.o
var object []byte

// objects is what is loaded of it.
type objects struct {
	Decide    *ebpf.Program `ebpf:"decide"`
	Elsewhere *ebpf.Program `ebpf:"elsewhere"`

	Settings *ebpf.Map `ebpf:"the_settings"`
	PortOf   *ebpf.Map `ebpf:"port_of"`
	Ports    *ebpf.Map `ebpf:"ports"`
	Counts   *ebpf.Map `ebpf:"counts"`
	Walks    *ebpf.Map `ebpf:"walks"`
	Entries  *ebpf.Map `ebpf:"entries"`
	Buckets  *ebpf.Map `ebpf:"buckets"`
	Ways     *ebpf.Map `ebpf:"ways"`
}

// load loads programs and tables: for a flow table of so many entries and buckets.
func (o *objects) load(entries, buckets int, seeds firewall.Seeds) error {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return fmt.Errorf("read the object: %w", err)
	}
	spec.Maps["entries"].MaxEntries = uint32(entries)
	spec.Maps["buckets"].MaxEntries = uint32(buckets)
	spec.Maps["ways"].MaxEntries = 2 * uint32(entries)
	if err := spec.Variables["punt_offset"].Set(uint32(vnic.PuntOffset)); err != nil {
		return err
	}
	if err := spec.Variables["seeds"].Set(seeds); err != nil {
		return err
	}
	return spec.LoadAndAssign(o, nil)
}

func (o *objects) close() error {
	var err error
	for _, c := range []interface{ Close() error }{
		o.Decide, o.Elsewhere, o.Settings, o.PortOf, o.Ports, o.Counts, o.Walks, o.Entries, o.Buckets, o.Ways,
	} {
		if e := c.Close(); err == nil {
			err = e
		}
	}
	return err
}

func drawSeeds() (s firewall.Seeds) {
	for i := range s {
		s[i] = rand.Uint64()
	}
	return s
}
