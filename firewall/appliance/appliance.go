// Package appliance is what runs inside the firewall VM: it makes a kernel a router with nftables between its vNICs,
// applies a ruleset, reads and writes conntrack, and makes the far end of the tunnel. How it is reached is not its
// business, nor what the rules mean.
package appliance

import (
	"errors"
	"os/exec"
	"sync"

	"github.com/ti-mo/conntrack"

	"sluice/firewall"
)

// MaxFlows is how many flows the appliance keeps, reads and takes at most.
const MaxFlows = 1 << 18

// Appliance is the slow side's kernel, as seen from inside the firewall VM. The zero value is ready; its methods may be
// called at once.
type Appliance struct {
	// Run runs a program to its end; nil means exec.Cmd.Run. An init process needs its own way.
	Run func(*exec.Cmd) error

	mu     sync.Mutex      // one change at a time
	flows  *conntrack.Conn // reads
	writer *ctWriter
	script string // the ruleset in force, as ApplyNFT got it
	gen    uint32 // the kernel's ruleset generation after it
	// helpers are those that it declares.
	helpers []firewall.Helper

	tunnels bool // this kernel has what a tunnel's far end needs
}

// Close lets go of the kernel's sockets. What was applied stays.
func (a *Appliance) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	if a.flows != nil {
		err = a.flows.Close()
	}
	if a.writer != nil {
		err = errors.Join(err, a.writer.close())
	}
	a.flows, a.writer = nil, nil
	return err
}
