package bench

import (
	"context"
	"errors"
	"os/exec"

	"sluice/firewall"
)

// subject is a switch that is measured.
type subject struct {
	name  string
	what  string // one line for the reader
	gso   bool   // takes GSO frames and half-done checksums, as its guests' cards then send them
	taps  bool   // makes TAPs of its own: the guests are packet sockets or kernels on these, whatever the wiring
	needs []string
	start func(ctx context.Context, b *bed) error // joins portName[0] and [1] in b.sw
}

// subjects in the order of tables.
func subjects() []subject {
	return []subject{
		engineSubject("user-off", "the user engine, placement off: no policy, flows tracked", firewall.Off, 0),
		engineSubject("user-fast", "the user engine, placement fast: the reference policy, stateful, both insertion points", firewall.Fast, 0),
		engineSubject("user-fast-1000", "the same with 1,000 rules", firewall.Fast, manyRules),
		engineSubject("kernel-fast", "the kernel engine, placement fast: the reference policy", firewall.Fast, 0),
		engineSubject("kernel-fast-1000", "the same with 1,000 rules", firewall.Fast, manyRules),
		{name: "redirect", what: "bare BPF redirect between the two devices (tcx): no switch at all, the limit", gso: true, start: startRedirect},
		{name: "bridge", what: "Linux bridge, no firewall", gso: true, start: startBridge},
		{name: "bridge-nft", what: "Linux bridge, the reference policy in nft, stateful (br_netfilter)", gso: true,
			needs: []string{"nft"}, start: nftBridge(0)},
		{name: "bridge-nft-1000", what: "the same with 1,000 rules", gso: true, needs: []string{"nft"}, start: nftBridge(manyRules)},
		{name: "ovs", what: "OVS userspace datapath (netdev), as installed; guests' offloads off, as it requires",
			needs: []string{"ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ethtool"}, start: ovs(false)},
		{name: "ovs-tso", what: "the same with its experimental userspace-tso-enable", gso: true,
			needs: []string{"ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl"}, start: ovs(true)},
		{name: "vde", what: "VDE 2, one vde_switch with TAPs of its own", taps: true, needs: []string{"vde_switch"}, start: startVDE},
	}
}

// manyRules is how many rules the big policy has.
const manyRules = 1000

// missing names the first program of the subject that is not installed.
func (s subject) missing() string {
	for _, name := range s.needs {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}

// lay makes a bed with the subject and a player on it.
func (s subject) lay(ctx context.Context, p Plan, w Wiring) (*bed, error) {
	b, err := newBed(w)
	if err != nil {
		return nil, err
	}
	b.ownTAPs, b.profile = s.taps, p.Profile
	if !s.taps {
		err = b.wire(ctx, s.gso)
	}
	if err == nil {
		err = s.start(ctx, b)
	}
	if err == nil {
		err = b.play()
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}
