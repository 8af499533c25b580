package appliance

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// The far end of the tunnel is the kernel's own: for each port a bump in the wire, which is two GENEVE devices with a
// bridge between them. What a guest has sent comes in by the one, meets nft's bridge family with conntrack, and goes
// back to the switch by the other, whose VNI says that it was let through. What nft answers goes out where the frame
// came in.

// MaxBumps is how many bumps the appliance holds at most, of all sessions together.
const MaxBumps = 1024

var (
	errSession  = errors.New("sessions are numbered from 1")
	errPort     = fmt.Errorf("ports are numbered from 1 to %d", frame.MaxSteerPort)
	errBumps    = fmt.Errorf("more than %d ports", MaxBumps)
	errNoJudge  = errors.New("no ruleset for steered frames is in force")
	errUnjudged = errors.New("frames are steered here, and this ruleset has nothing about them")
)

// Steer makes what is missing for a session. errors.ErrUnsupported says that this kernel lacks the parts.
func (a *Appliance) Steer(s firewall.SteerSpec) error {
	if s.Session == 0 {
		return errSession
	}
	if len(s.Ports) >= MaxBumps { // one is the probe's
		return errBumps
	}
	for _, p := range s.Ports {
		if p == 0 || p > frame.MaxSteerPort {
			return fmt.Errorf("port %d: %w", p, errPort)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tunnel(s)
}

// EndSteer removes what a session has. It is no error if there is nothing.
func (a *Appliance) EndSteer(session uint8) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return endTunnel(session)
}

// tunnel makes the bumps of a session. Where it cannot, a new session leaves nothing. a.mu is held.
func (a *Appliance) tunnel(s firewall.SteerSpec) error {
	if err := a.canTunnel(); err != nil {
		return err
	}
	if !judges(a.script) {
		return errNoJudge
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	have, bumps := map[string]netlink.Link{}, 0
	for _, l := range links {
		have[l.Attrs().Name] = l
		if l.Type() == "bridge" {
			bumps++
		}
	}
	isNew := !bump{session: s.Session}.complete(have)
	ports := append([]frame.PortID{0}, s.Ports...)
	slices.Sort(ports)
	for _, p := range slices.Compact(ports) {
		b := bump{s.Session, p}
		if b.complete(have) {
			continue
		}
		if bumps++; bumps > MaxBumps {
			err = errBumps
		} else {
			err = b.make(have)
		}
		if err != nil && isNew {
			err = errors.Join(err, endTunnel(s.Session))
		}
		if err != nil {
			return fmt.Errorf("far end of port %d: %w", p, err)
		}
	}
	return nil
}

// judges says whether a ruleset is one that lets nothing pass a bump unjudged.
func judges(script string) bool { return strings.Contains(script, "\ntable bridge sluice {\n") }

// bump is the far end of one port in one session.
type bump struct {
	session uint8
	port    frame.PortID
}

func (b bump) name(device string) string {
	if b.port == 0 {
		return fmt.Sprintf("%s%s%d", firewall.SteerProbes, device, b.session)
	}
	return fmt.Sprintf("%s%d-%d", device, b.session, b.port)
}

// complete is told by the device that is set up last.
func (b bump) complete(have map[string]netlink.Link) bool {
	in := have[b.name(firewall.SteerIn)]
	return in != nil && in.Attrs().Flags&net.FlagUp != 0
}

// make makes a bump, in an order in which no frame passes before all is there.
func (b bump) make(have map[string]netlink.Link) error {
	off, none := false, uint16(0)
	bridge, err := device(have, &netlink.Bridge{LinkAttrs: b.attrs(firewall.SteerBridge), MulticastSnooping: &off, GroupFwdMask: &none})
	if err != nil {
		return err
	}
	for _, end := range []struct {
		device string
		back   bool
	}{{firewall.SteerOut, true}, {firewall.SteerIn, false}} {
		l, err := device(have, &netlink.Geneve{
			LinkAttrs: b.attrs(end.device), ID: uint32(frame.NewVNI(b.session, b.port, end.back)),
			Remote: frame.TunnelSwitch.AsSlice(), Dport: frame.GenevePort,
		})
		if err != nil {
			return err
		}
		if err := join(l, bridge); err != nil {
			return fmt.Errorf("%s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// steerMTU lets the longest frame that is steered pass.
const steerMTU = frame.MaxSteered - frame.MinLen

func (b bump) attrs(device string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.Group = b.name(device), deviceGroup(b.session)
	return a
}

// device makes a device where it is missing. It speaks no IPv6: what it would say would look like what the appliance
// has let through.
func device(have map[string]netlink.Link, want netlink.Link) (netlink.Link, error) {
	name := want.Attrs().Name
	if l := have[name]; l != nil {
		return l, nil
	}
	if err := netlink.LinkAdd(want); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	err := disableIPv6(name)
	if err == nil {
		err = netlink.LinkSetMTU(want, steerMTU)
	}
	if _, bridge := want.(*netlink.Bridge); err == nil && bridge {
		err = netlink.LinkSetUp(want)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, errors.Join(err, netlink.LinkDel(want)))
	}
	return want, nil
}

// join puts a device into its bridge, which learns nothing from it: what comes in by one goes out by the other.
func join(l, bridge netlink.Link) error {
	if err := netlink.LinkSetMaster(l, bridge); err != nil {
		return fmt.Errorf("join the bridge: %w", err)
	}
	if err := netlink.LinkSetLearning(l, false); err != nil {
		return fmt.Errorf("learn nothing: %w", err)
	}
	return netlink.LinkSetUp(l)
}

// fits says what is wrong with a ruleset here: that this kernel cannot judge steered frames, or that there are such
// frames, and it does not. a.mu is held.
func (a *Appliance) fits(script string) error {
	if judges(script) {
		return a.canTunnel()
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Type() == "geneve" }) {
		return errUnjudged
	}
	return nil
}

// deviceGroup is the group of a session's devices (ip link show group N), so that they end together.
func deviceGroup(session uint8) uint32 { return 0x53<<8 | uint32(session) }

// endTunnel removes the devices of a session, all at once.
func endTunnel(session uint8) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(deviceGroup(session))))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the devices of session %d: %w", session, err)
	}
	return nil
}
