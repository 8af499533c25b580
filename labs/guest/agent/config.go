package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"sluice/firewall/appliance"
)

// Config is everything a guest is told once it has booted. All of it comes from the lab file; nothing from the guest.
type Config struct {
	Hostname   string                `json:"hostname"`
	NICs       []NIC                 `json:"nics,omitempty"`
	Hosts      []Host                `json:"hosts,omitempty"`      // for /etc/hosts
	Services   []string              `json:"services,omitempty"`   // of ServiceNames
	Sysctls    map[string]string     `json:"sysctls,omitempty"`    // by path under /proc/sys, dots or slashes
	Appliance  bool                  `json:"appliance,omitempty"`  // forwards between its NICs, and takes nft and flows
	Neighbours []appliance.Neighbour `json:"neighbours,omitempty"` // of the appliance
	Now        time.Time             `json:"now,omitzero"`         // the guest's clock is set to it, where it has one of its own
	MachineID  string                `json:"machine_id,omitempty"` // for /etc/machine-id, machine-id(5)
	Seed       []byte                `json:"seed,omitempty"`       // for the guest's random numbers, where its kernel is its own
}

// check is an error for what no guest can be brought to. It is asked first, so that nothing is half done.
func (c *Config) check() error {
	for _, n := range c.NICs {
		if _, err := net.ParseMAC(n.MAC); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	for _, s := range c.Services {
		if !slices.Contains(ServiceNames, s) {
			return fmt.Errorf("no service %s; there are %v", s, ServiceNames)
		}
	}
	return nil
}

// NIC is one vNIC as the guest sees it.
type NIC struct {
	Name     string         `json:"name"`               // what the guest calls it: eth0
	MAC      string         `json:"mac"`                // colon form; finds the card, or is given to the one called Name
	Addrs    []netip.Prefix `json:"addrs,omitempty"`    // address and prefix length, IPv4 and IPv6
	Gateways []netip.Addr   `json:"gateways,omitempty"` // default routes
	MTU      int            `json:"mtu,omitempty"`      // bytes of IP packet; 0 leaves it
}

// Host is one name in /etc/hosts.
type Host struct {
	Name string     `json:"name"`
	Addr netip.Addr `json:"addr"`
}

// Info is what an agent says of its guest.
type Info struct {
	Version    int           `json:"version"` // of the protocol
	Hostname   string        `json:"hostname"`
	Kernel     string        `json:"kernel"`     // release, as uname -r
	Uptime     time.Duration `json:"uptime_ns"`  // since the guest's kernel began
	Configured bool          `json:"configured"` // Configure has succeeded
	Services   []string      `json:"services,omitempty"`
}
