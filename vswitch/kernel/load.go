package kernel

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/cilium/ebpf"

	"sluice/vnic"
)

// object is bpf/port.c, as scripts/bpf compiles it.
//
//go:embed port.o
var object []byte

// loadDecide loads the program of a port's ingress: one for all ports.
func loadDecide() (*ebpf.Program, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	if err := spec.Variables["punt_offset"].Set(uint32(vnic.PuntOffset)); err != nil {
		return nil, err
	}
	var loaded struct {
		Decide *ebpf.Program `ebpf:"decide"`
	}
	err = spec.LoadAndAssign(&loaded, nil)
	return loaded.Decide, err
}
