// Package guest makes the machines on a lab's switch: the image they boot, QEMU virtual machines and namespace machines
// that run it, and the removal of whatever is left of them. It knows no topology: what a guest is connected to, its
// segment and the firewall's placement are the business of labs/running.
package guest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"sluice/firewall/appliance"
	"sluice/labs/guest/agent"
	"sluice/vnic/frame"
)

// Kind is how a guest is made.
type Kind string

// The kinds of guests.
const (
	QEMU  Kind = "qemu"  // a virtual machine with a kernel of its own
	NetNS Kind = "netns" // namespaces of the host's kernel
)

// ErrMissing is wrapped by errors that say that this machine lacks something (a program, a package, space); a command
// exits with 3 then.
var ErrMissing = errors.New("this machine lacks something")

// Spec is what a machine is made from.
type Spec struct {
	Lab       string // unique on this machine; letters, digits, hyphens and underscores
	Name      string // letters, digits and hyphens
	Kind      Kind
	Dir       string // the guest's own folder for sockets and its boot log; made if missing
	Image     *Image
	NICs      []NIC
	Services  []string // of agent.ServiceNames
	Hosts     []agent.Host
	Sysctls   map[string]string
	Appliance bool // the firewall VM

	Neighbours []appliance.Neighbour // of the appliance
	MemoryMiB  int                   // QEMU; 0 means DefaultMemoryMiB
	CPUs       int                   // QEMU; 0 means 1
	Accel      Accel                 // QEMU; from ProbeAccel
	Template   *Template             // QEMU: of the spec's Flavor, to be cloned from; nil: boot
	Boot       Boot                  // QEMU

	// Began is called when a QEMU guest has its turn to boot: only so many do at once. nil: nobody is told.
	Began func()
	// Tell is told of the line to the agent: it broke (EventSilent), it is there again (EventAnswers); that a command
	// in the guest has shut it down (EventDown); and that it boots, as it could not be cloned (EventBoots). nil: nobody
	// is.
	Tell func(event, detail string)
}

// What Spec.Tell is told.
const (
	EventSilent  = "guest-silent"
	EventAnswers = "guest-answers"
	EventDown    = "guest-down"
	EventBoots   = "guest-boots"
)

// NIC is one vNIC of a guest.
type NIC struct {
	Name     string // what the guest calls it: eth0
	MAC      frame.MAC
	Addrs    []netip.Prefix
	Gateways []netip.Addr // default routes
	MTU      int          // bytes of IP packet; 0 leaves it
	TAP      *os.File     // QEMU: the TAP's queue, with vnet_hdr; the machine owns it once Boot is called
}

// DefaultMemoryMiB is the memory of a QEMU guest for which none is asked.
const DefaultMemoryMiB = 256

// State is what is known of a machine.
type State string

// The states of a machine, in order.
const (
	StateNew     State = "new"
	StateBooting State = "booting" // until the agent has answered
	StateBooted  State = "booted"  // the agent answers; not configured
	StateReady   State = "ready"   // configured, services listen
	StateStopped State = "stopped" // ended, by Stop or by itself
)

// CameUp is how a QEMU guest came up.
type CameUp struct {
	How   Boot          // BootClone or BootCold
	After time.Duration // from the start of QEMU until the agent answered
}

// Machine is one guest. Boot and Configure are called once each, in that order; the rest at any time.
type Machine interface {
	Name() string
	Kind() Kind
	// Boot starts the machine and returns when its agent has answered. A QEMU guest has its NICs then; into a namespace
	// guest (NetNS names its namespace) they must be put before Configure.
	Boot(ctx context.Context) error
	// NetNS is the path of a namespace guest's network namespace, from the moment Boot has returned; empty for QEMU.
	NetNS() string
	// Configure gives the guest its addresses, names and services, and returns when it is ready.
	Configure(ctx context.Context) error
	// Agent is the guest's agent; nil before Boot has returned.
	Agent() *agent.Client
	State() State
	// CameUp is how Boot did it; of a namespace guest, and before Boot has returned, it says nothing.
	CameUp() CameUp
	// PIDs are the host's processes of this guest, the main one first.
	PIDs() []int
	// CPUTime is what those processes, and in a namespace guest those that have ended, have used, user and system.
	CPUTime() (time.Duration, error)
	// Pause stops the guest's CPU without telling the guest; Resume lets it go on. A namespace guest's vNICs hear
	// nothing meanwhile: its kernel, the host's, would go on for it.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Done is closed when the machine has ended; Err then says why, nil after Stop and where a command in it has shut
	// it down.
	Done() <-chan struct{}
	Err() error
	// Kill ends the machine as a crash would, and returns when it has ended. What Boot made is for Stop to remove.
	Kill() error
	// Stop ends the machine and removes what Boot made on the host. It may be called at any time, more than once.
	Stop(ctx context.Context) error
}

// New makes a machine by its kind, without starting it.
func New(spec Spec) (Machine, error) {
	if spec.Image == nil {
		return nil, fmt.Errorf("guest %s: no image", spec.Name)
	}
	switch spec.Kind {
	case QEMU:
		return newVirtual(spec), nil
	case NetNS:
		return newNamespace(spec), nil
	}
	return nil, fmt.Errorf("guest %s: no kind %q: qemu or netns", spec.Name, spec.Kind)
}

// A guest is told a new machine-id(5) of so many bytes, and as many random ones as its kernel's generator holds.
const machineIDBytes, seedBytes = 16, 32

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails (crypto/rand)
	return b
}

// agentConfig is what the agent is told of the spec.
func (s *Spec) agentConfig() agent.Config {
	c := agent.Config{
		Hostname:   s.Name,
		Hosts:      s.Hosts,
		Services:   s.Services,
		Sysctls:    s.Sysctls,
		Appliance:  s.Appliance,
		Neighbours: s.Neighbours,
		Now:        time.Now(),
		MachineID:  hex.EncodeToString(random(machineIDBytes)),
		Seed:       random(seedBytes),
	}
	for _, n := range s.NICs {
		c.NICs = append(c.NICs, agent.NIC{
			Name:     n.Name,
			MAC:      net.HardwareAddr(n.MAC[:]).String(),
			Addrs:    n.Addrs,
			Gateways: n.Gateways,
			MTU:      n.MTU,
		})
	}
	return c
}
