package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/kernel"
	"sluice/vswitch/user"
)

// engines by their names.
var engines = map[string]vswitch.NewEngine{"user": user.New, "kernel": kernel.New}

// engineSubject is the switch itself in a process of its own, as a lab has it: its name begins with the engine's.
func engineSubject(name, what string, placement firewall.Placement, rules int) subject {
	return subject{name: name, what: what, gso: true, start: func(ctx context.Context, b *bed) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		kind, _, _ := strings.Cut(name, "-")
		cmd := exec.Command(self, "bench", "engine", "--engine", kind, "--placement", placement.String(), "--rules", strconv.Itoa(rules))
		if b.profile != "" {
			cmd.Args = append(cmd.Args, "--profile", fmt.Sprintf("%s.%s.%s", b.profile, name, b.wiring))
		}
		if _, err := cmd.StdinPipe(); err != nil { // held open: the engine ends with its standard input
			return err
		}
		said, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		p, err := b.keep(b.sw.spawn(cmd))
		if err != nil {
			return err
		}
		if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != engineReady {
			p.stop()
			return fmt.Errorf("the engine did not start (%w): %s", errors.Join(err, p.err), p.said.String())
		}
		return nil
	}}
}

// engineReady is what the engine's process prints once frames may come.
const engineReady = "ready\n"

func engineCommand() *cobra.Command {
	var kind, placement, profile string
	var rules int
	cmd := &cobra.Command{
		Use: "engine", Hidden: true, Args: cobra.NoArgs, Short: "Run the switch of a measurement",
		RunE: func(cmd *cobra.Command, _ []string) error {
			pl, err := firewall.ParsePlacement(placement)
			if err != nil {
				return err
			}
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			return serveEngine(cmd.Context(), engines[kind], pl, rules)
		},
	}
	cmd.Flags().StringVar(&kind, "engine", "", "")
	cmd.Flags().StringVar(&placement, "placement", "", "")
	cmd.Flags().StringVar(&profile, "profile", "", "")
	cmd.Flags().IntVar(&rules, "rules", 0, "")
	return cmd
}

// serveEngine runs a switch with two guests on one segment until its standard input ends or it is told to stop.
func serveEngine(ctx context.Context, engine vswitch.NewEngine, placement firewall.Placement, rules int) error {
	sw, err := vswitch.New(vswitch.Config{Name: "bench", Engine: engine, Segments: []vswitch.Segment{lan}})
	if err != nil {
		return err
	}
	defer sw.Close()
	inv := inventory()
	policy, err := firewall.Load("bench.yaml", []byte(policyText(rules)), inv)
	if err != nil {
		return err
	}
	if _, err := sw.SetPolicy(ctx, policy); err != nil {
		return err
	}
	for i, g := range inv.Guests {
		if err := vnic.Seal(portName[i]); err != nil {
			return err
		}
		nic, err := vnic.OpenPacket(portName[i])
		if err != nil {
			return err
		}
		v := g.VNICs[0]
		port := vswitch.Port{ID: v.Port, Name: g.Name, Segment: v.Segment, MAC: v.MAC, Addrs: v.Addrs}
		if err := sw.AddPort(ctx, port, nic); err != nil {
			return err
		}
	}
	if placement != firewall.Off {
		if _, err := sw.Place(ctx, placement, vswitch.PlaceOptions{}); err != nil {
			return err
		}
	}
	fmt.Print(engineReady)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// lan is the segment of both guests.
var lan = vswitch.Segment{
	Name: "lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.10.1.0/24")},
	Gateways: []netip.Addr{netip.MustParseAddr("10.10.1.1")}, GatewayMAC: frame.MAC{2, 0x51, 0, 0, 1, 1}, MTU: 1500,
}

// inventory is the two guests, called as in the reference lab.
func inventory() *firewall.Inventory {
	inv := &firewall.Inventory{Segments: []firewall.InvSegment{{Name: lan.Name, ID: 1, Prefixes: lan.Prefixes}}}
	for i, name := range []string{"client", "server"} {
		addr, _ := netip.AddrFromSlice(guestIP[i])
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: name, VNICs: []firewall.InvVNIC{{
			Port: frame.PortID(i + 1), Segment: 1, MAC: frame.MAC(guestMAC[i]), Addrs: []netip.Addr{addr}}}})
	}
	return inv
}

// policyText is the policy of the reference lab (fast-vs-slow), after so many rules that match nothing of it. nftRules
// says the same to nft.
func policyText(before int) string {
	var s strings.Builder
	s.WriteString("services:\n  speed: {tcp: [80, 5201, 7777], udp: 5201}\n  ping: {icmp: echo}\n")
	for i := range before {
		fmt.Fprintf(&s, "  s%d: {tcp: %d}\n", i, 1000+i)
	}
	s.WriteString("default: drop\nrules:\n")
	for i := range before {
		fmt.Fprintf(&s, "  - {name: r%d, from: %s, to: server, service: s%d, action: allow}\n", i, strangerIP(i), i)
	}
	s.WriteString("  - {name: ping, from: client, to: server, service: ping, action: allow}\n")
	s.WriteString("  - {name: speed, from: client, to: server, service: speed, action: allow}\n")
	return s.String()
}
