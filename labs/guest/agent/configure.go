package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/firewall/appliance"
)

// configure brings the guest to what cfg says.
func (g *guest) configure(cfg Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := cfg.check(); err != nil {
		return err
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"seed the random numbers", func() error { return g.reseed(cfg.Seed) }},
		{"set the clock", func() error { return g.setClock(cfg.Now) }},
		{"set the host name", func() error { return g.setNames(cfg) }},
		{"load modules", func() error { return g.loadModules(cfg) }},
		{"set sysctls", func() error { return setSysctls(cfg.Sysctls) }},
		{"wait for the NICs", func() error { return g.awaitNICs(cfg.NICs) }},
		{"set up the NICs", func() error { return setNICs(cfg.NICs) }},
		{"set up the legs", func() error { return g.setLegs(cfg) }},
		{"forward", func() error { return g.forward(cfg.Appliance) }},
		{"set neighbours", func() error { return appliance.AddNeighbours(cfg.Neighbours) }},
		{"start services", func() error { return g.services.start(cfg.Services) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	g.configured = true
	return nil
}

func (g *guest) setClock(now time.Time) error {
	if !g.ownKernel || now.IsZero() {
		return nil
	}
	tv := unix.NsecToTimeval(now.UnixNano())
	return unix.Settimeofday(&tv)
}

func (g *guest) loadModules(cfg Config) error {
	if !g.ownKernel || !cfg.Appliance {
		return nil
	}
	return loadModules(applianceModules...)
}

func (g *guest) forward(yes bool) error {
	if !yes {
		return nil
	}
	return appliance.Prepare()
}

// setLegs leaves the appliance alone: it is a router, and has one table.
func (g *guest) setLegs(cfg Config) error {
	if cfg.Appliance {
		return nil
	}
	return setLegs(cfg.NICs)
}

func (g *guest) setNames(cfg Config) error {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, h := range cfg.Hosts {
		fmt.Fprintf(&hosts, "%s %s\n", h.Addr, h.Name)
	}
	if g.ownKernel { // a namespace guest's name was set when it was made
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile("/etc/machine-id", []byte(cfg.MachineID+"\n"), 0o444),
		os.WriteFile("/etc/hostname", []byte(cfg.Hostname+"\n"), 0o644),
		os.WriteFile("/etc/hosts", []byte(hosts.String()), 0o644))
}

func setSysctls(values map[string]string) error {
	for name, v := range values {
		path := name
		if !strings.Contains(name, "/") {
			path = strings.ReplaceAll(name, ".", "/")
		}
		if !filepath.IsLocal(path) {
			return fmt.Errorf("%s: not a sysctl", name)
		}
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(v), 0); err != nil {
			return err
		}
	}
	return nil
}

func setNICs(nics []NIC) error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	for i, n := range nics {
		if err := setNIC(n, i); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// setNIC sets up a card. The first one's gateways are those of a packet whose sender has not chosen an address yet.
func setNIC(n NIC, place int) error {
	l, err := findNIC(n)
	if err != nil {
		return err
	}
	// No router speaks in a lab but the gateway, which is told here; and a guest's addresses are the lab file's only.
	quiet := map[string]string{"accept_ra": "0", "accept_dad": "0", "autoconf": "0"}
	if len(n.Addrs) > 0 && !slices.ContainsFunc(n.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		quiet["disable_ipv6"] = "1" // it would tell its segment about groups that nobody asks for
	}
	for key, v := range quiet {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", n.Name, key), []byte(v), 0); err != nil {
			return err
		}
	}
	if n.MTU > 0 {
		if err := netlink.LinkSetMTU(l, n.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", n.MTU, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, p := range n.Addrs {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // the lab file has no duplicates, and detection takes a second
		}
		if err := netlink.AddrReplace(l, a); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	metric := 0 // the kernel's default
	if place > 0 {
		metric = laterMetric + place
	}
	return addGateways(l, n.Gateways, 0, metric)
}

// findNIC finds the card by its MAC, else by its name, and gives it what it lacks of the two.
func findNIC(n NIC) (netlink.Link, error) {
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return nil, err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() != mac.String() {
			continue
		}
		if l.Attrs().Name == n.Name {
			return l, nil
		}
		if err := moveAway(links, n.Name); err != nil {
			return nil, err
		}
		return l, netlink.LinkSetName(l, n.Name)
	}
	l, err := netlink.LinkByName(n.Name)
	if err != nil {
		return nil, fmt.Errorf("no NIC with MAC %s: %w", mac, err)
	}
	return l, netlink.LinkSetHardwareAddr(l, mac)
}

// moveAway frees a name that the kernel gave to another card.
func moveAway(links []netlink.Link, name string) error {
	for _, l := range links {
		if l.Attrs().Name == name {
			return netlink.LinkSetName(l, "was"+strconv.Itoa(l.Attrs().Index))
		}
	}
	return nil
}
