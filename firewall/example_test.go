package firewall_test

import (
	"fmt"
	"net/netip"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// inventory is what the policies of the examples may name: client at port 1 and server at port 2.
func inventory() *firewall.Inventory {
	guest := func(name string, port frame.PortID, addr string) firewall.InvGuest {
		return firewall.InvGuest{Name: name, VNICs: []firewall.InvVNIC{
			{Port: port, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, byte(port)}, Addrs: []netip.Addr{netip.MustParseAddr(addr)}},
		}}
	}
	return &firewall.Inventory{
		Segments: []firewall.InvSegment{{Name: "lan", ID: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.10.1.0/24")}}},
		Guests:   []firewall.InvGuest{guest("client", 1, "10.10.1.10"), guest("server", 2, "10.10.1.20")},
	}
}

const policy = `services:
  web: {tcp: 80}
default: drop
rules:
  - {name: web, from: client, to: server, service: web, action: allow}
`

func ExampleLoad() {
	p, err := firewall.Load("policy.yaml", []byte(policy), inventory())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(p.Rules), p.Rules[0].Name, p.Default)

	_, err = firewall.Load("policy.yaml", []byte("default: drp\nrules: []\n"), inventory())
	fmt.Println(err)
	// Output:
	// 1 web drop
	// policy.yaml:1:10: no default "drp"
	//     default: drp
	//              ^
	//     did you mean drop?
}

func ExampleProgram_Check() {
	p, err := firewall.Load("policy.yaml", []byte(policy), inventory())
	if err != nil {
		fmt.Println(err)
		return
	}
	program, err := firewall.Compile(p, firewall.Fast)
	if err != nil {
		fmt.Println(err)
		return
	}
	flows, err := firewall.NewFlows(firewall.FlowsConfig{Max: 4096})
	if err != nil {
		fmt.Println(err)
		return
	}
	cx := firewall.Context{Now: 1, Flows: flows}
	check := func(port frame.PortID, dir firewall.Dir, k frame.Key) {
		v := program.Check(&cx, firewall.Point{Port: port, Dir: dir}, &k)
		fmt.Println(port, dir, v.Action, v.Reason)
	}
	client, server := frame.AddrFrom(netip.MustParseAddr("10.10.1.10")), frame.AddrFrom(netip.MustParseAddr("10.10.1.20"))
	syn := frame.Key{
		SrcMAC: frame.MAC{2, 0, 0, 0, 0, 1}, Src: client, Dst: server, SrcPort: 40000, DstPort: 80, EtherType: frame.EtherIPv4,
		Proto: frame.ProtoTCP, TCPFlags: frame.TCPSyn, Flags: frame.KeyIPv4 | frame.KeyL4, Seq: 1000, Window: 64000,
	}
	answer := syn
	answer.SrcMAC[5], answer.Src, answer.Dst, answer.SrcPort, answer.DstPort = 2, server, client, 80, 40000
	answer.TCPFlags, answer.Seq, answer.Ack = frame.TCPSyn|frame.TCPAck, 5000, 1001

	check(1, firewall.FromGuest, syn) // the rule lets it, and a flow begins
	check(2, firewall.ToGuest, syn)
	check(2, firewall.FromGuest, answer) // no rule is asked: it belongs to the flow
	syn.DstPort = 23
	check(1, firewall.FromGuest, syn)
	// Output:
	// 1 from-guest pass none
	// 2 to-guest pass none
	// 2 from-guest pass none
	// 1 from-guest drop default
}
