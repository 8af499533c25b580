package appliance

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// judging is what nft must be able to do with what passes a bridge, and a rule that does it.
var judging = []struct{ what, rule string }{
	{"track connections", "notrack; ct state new accept"},
	{"reject", "reject with icmpx admin-prohibited"},
}

// canTunnel says what this kernel lacks for the far end of a tunnel. What it has once, it keeps. a.mu is held.
func (a *Appliance) canTunnel() error {
	if a.tunnels {
		return nil
	}
	var lacks []string
	for _, l := range []netlink.Link{&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "test-br"}}, &netlink.Geneve{LinkAttrs: netlink.LinkAttrs{Name: "test-geneve"}, ID: 1}} {
		switch err := netlink.LinkAdd(l); {
		case errors.Is(err, unix.EOPNOTSUPP):
			lacks = append(lacks, "has no "+l.Type()+" devices")
		case err != nil:
			return fmt.Errorf("try %s devices: %w", l.Type(), err)
		default:
			if err := netlink.LinkDel(l); err != nil {
				return fmt.Errorf("remove %s: %w", l.Attrs().Name, err)
			}
		}
	}
	lacks = append(lacks, a.cannotJudge()...)
	if len(lacks) > 0 {
		return fmt.Errorf("the appliance's kernel %s: %w", strings.Join(lacks, ", "), errors.ErrUnsupported)
	}
	a.tunnels = true
	return nil
}

// cannotJudge says what nft lacks. Mostly that is nothing, and one call tells: each is slow in an emulated machine.
func (a *Appliance) cannotJudge() (lacks []string) {
	takes := func(rules string) bool {
		return a.takes("bridge", "chain c { type filter hook prerouting priority 0; "+rules+"; }")
	}
	var all []string
	for _, j := range judging {
		all = append(all, j.rule)
	}
	if takes(strings.Join(all, "; ")) {
		return nil
	}
	for _, j := range judging {
		if !takes(j.rule) {
			lacks = append(lacks, "cannot "+j.what+" on a bridge")
		}
	}
	if len(lacks) == 0 {
		lacks = append(lacks, "cannot judge what passes a bridge")
	}
	return lacks
}

// takes says whether nft would take a table of a family.
func (a *Appliance) takes(family, table string) bool {
	cmd := exec.Command("nft", "--check", "-f", "-")
	cmd.Stdin = strings.NewReader("table " + family + " test {\n" + table + "\n}\n")
	return a.run(cmd) == nil
}
