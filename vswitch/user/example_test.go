package user_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/user"
)

// Example is a switch on NICs in memory: two guests on one segment, and a policy that lets one port through.
func Example() {
	ctx := context.Background()
	lan := netip.MustParsePrefix("10.10.1.0/24")
	sw, err := vswitch.New(vswitch.Config{Name: "example", Engine: user.New, Segments: []vswitch.Segment{{Name: "lan", Prefixes: []netip.Prefix{lan}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sw.Close()

	inv := &firewall.Inventory{Segments: []firewall.InvSegment{{Name: "lan", ID: 1, Prefixes: []netip.Prefix{lan}}}}
	plug := func(id frame.PortID, name, addr string) (guest vnic.NIC) {
		p := vswitch.Port{ID: id, Name: name, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, byte(id)}, Addrs: []netip.Addr{netip.MustParseAddr(addr)}}
		nic, guest := vnic.Pipe(name, vnic.PipeOptions{})
		if err := sw.AddPort(ctx, p, nic); err != nil {
			fmt.Println(err)
		}
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: name, VNICs: []firewall.InvVNIC{{Port: id, Segment: 1, MAC: p.MAC, Addrs: p.Addrs}}})
		return guest
	}
	client, server := plug(1, "client", "10.10.1.10"), plug(2, "server", "10.10.1.20")

	policy, err := firewall.Load("policy.yaml", []byte("default: drop\nservices: {dns: {udp: 53}}\nrules:\n"+
		"  - {name: dns, from: client, to: server, service: dns, action: allow}\n"), inv)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := sw.SetPolicy(ctx, policy); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := sw.Place(ctx, firewall.Fast, vswitch.PlaceOptions{}); err != nil {
		fmt.Println(err)
		return
	}

	// The denied frame comes first: what the server reads is the other one.
	client.WriteBatch([]*frame.Frame{exampleUDP(161), exampleUDP(53)})
	var got frame.Batch
	if err := server.ReadBatch(&got); err != nil {
		fmt.Println(err)
		return
	}
	var k frame.Key
	frame.Parse(&got.Frames[0], &k)
	fmt.Println("the server got", got.N, "frame, to port", k.DstPort)

	why, err := sw.Trace(vswitch.TraceRequest{Proto: "udp", From: "client", To: "server", DstPort: 161})
	fmt.Println(why.Verdict, why.Reason, err)
	// Output:
	// the server got 1 frame, to port 53
	// drop default <nil>
}

// exampleUDP is a datagram without payload from client to server.
func exampleUDP(port uint16) *frame.Frame {
	src, dst := frame.AddrFrom(netip.MustParseAddr("10.10.1.10")), frame.AddrFrom(netip.MustParseAddr("10.10.1.20"))
	f := frame.New(14 + 20 + 8)
	frame.PutEth(f.Eth(), frame.MAC{2, 0, 0, 0, 0, 2}, frame.MAC{2, 0, 0, 0, 0, 1}, frame.EtherIPv4)
	frame.PutIPv4(f.Eth()[14:], src, dst, frame.ProtoUDP, 64, 28)
	udp := f.Eth()[34:]
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], 8)
	frame.SetL4Checksum(udp, src, dst, frame.ProtoUDP)
	return f
}
