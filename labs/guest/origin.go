package guest

import (
	"fmt"
	"net"
	"os"
)

// origin is where a QEMU guest's memory comes from. The zero value is a boot, with memory of its own.
type origin struct {
	memory *os.File // it lies in this file
	state  *os.File // of a clone: what the devices and the processor were like when the memory was saved
}

// clone says whether the guest does not boot, but goes on.
func (o origin) clone() bool { return o.state != nil }

// template says whether the guest will be one.
func (o origin) template() bool { return o.memory != nil && o.state == nil }

func (s *Spec) memory() int {
	if s.MemoryMiB == 0 {
		return DefaultMemoryMiB
	}
	return s.MemoryMiB
}

func (s *Spec) cpus() int { return max(s.CPUs, 1) }

// Ports for vNICs come in steps, so that guests with few more vNICs than others are clones of the same template. A bus
// has room for 24 beside the machine's own devices.
const (
	portStep  = 4
	portsMost = 24
)

// ports is how many ports for vNICs a guest's machine has; 0 for one with more vNICs than ports can be, which has its
// vNICs on the machine's own bus and cannot be a clone.
func (s *Spec) ports() int {
	n := (max(len(s.NICs), 1) + portStep - 1) / portStep * portStep
	if n > portsMost {
		return 0
	}
	return n
}

// nicDevice is QEMU's device for a vNIC, by its properties. A kernel numbers the vNICs that it finds in the order of
// their ports when it boots, and in the reverse order where they are plugged in all at once: their ports are chosen so
// that a clone has the first one first, too.
func (s *Spec) nicDevice(i int, cloned bool) map[string]string {
	mac := s.NICs[i].MAC
	d := map[string]string{"driver": "virtio-net-pci", "netdev": fmt.Sprint("nic", i), "mac": net.HardwareAddr(mac[:]).String(), "romfile": ""}
	switch {
	case cloned:
		d["bus"] = fmt.Sprint("port", len(s.NICs)-1-i)
	case s.ports() > 0:
		d["bus"] = fmt.Sprint("port", i)
	}
	return d
}
