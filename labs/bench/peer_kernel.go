package bench

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// startRedirect sends every frame of one device out of the other, and nothing else.
func startRedirect(_ context.Context, b *bed) error {
	return b.sw.do(func() error {
		var index [2]int
		for i, name := range portName {
			l, err := b.sw.LinkByName(name)
			if err != nil {
				return err
			}
			index[i] = l.Attrs().Index
		}
		for i := range index {
			if err := b.redirect(index[i], index[1-i]); err != nil {
				return fmt.Errorf("redirect %s: %w", portName[i], err)
			}
		}
		return nil
	})
}

func (b *bed) redirect(from, to int) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:    ebpf.SchedCLS,
		License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, int32(to)),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		return err
	}
	defer prog.Close() // the link holds it
	l, err := link.AttachTCX(link.TCXOptions{Interface: from, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	b.undo = append(b.undo, l.Close)
	return nil
}

// startBridge makes a Linux bridge without spanning tree, timers of which would delay the first frames.
func startBridge(_ context.Context, b *bed) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := b.sw.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	for _, name := range portName {
		l, err := b.sw.LinkByName(name)
		if err != nil {
			return err
		}
		if err := b.sw.LinkSetMaster(l, bridge); err != nil {
			return fmt.Errorf("put %s into the bridge: %w", name, err)
		}
	}
	return b.sw.LinkSetUp(bridge)
}

// nftBridge makes a bridge whose frames pass nft's forward chain with connection tracking, through br_netfilter: the
// way in which hypervisors do stateful rules on a bridge.
func nftBridge(rules int) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		if err := startBridge(ctx, b); err != nil {
			return err
		}
		err := b.sw.do(func() error {
			return os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
		})
		if err != nil {
			return fmt.Errorf("pass bridged frames to nft: %w", err)
		}
		_, err = b.sw.run(ctx, strings.NewReader(nftRules(rules)), "nft", "-f", "-")
		return err
	}
}

// nftRules is the reference policy, after so many rules that match nothing of it.
func nftRules(before int) string {
	var s strings.Builder
	s.WriteString("table ip bench {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n" +
		"  ct state established,related accept\n  ct state invalid drop\n")
	for i := range before {
		fmt.Fprintf(&s, "  ip saddr %s ip daddr %s tcp dport %d accept\n", strangerIP(i), guestIP[1], 1000+i)
	}
	pair := fmt.Sprintf("  ip saddr %s ip daddr %s ", guestIP[0], guestIP[1])
	s.WriteString(pair + "icmp type echo-request accept\n")
	s.WriteString(pair + "tcp dport { 80, 5201, 7777 } accept\n")
	s.WriteString(pair + "udp dport 5201 accept\n }\n}\n")
	return s.String()
}

// strangerIP is an address of the segment's that neither guest has.
func strangerIP(i int) string { return fmt.Sprintf("10.10.1.%d", 100+i%100) }
