// Package appliance is what runs inside the firewall VM: it makes a kernel a router with nftables between its vNICs,
// applies a ruleset, and reads and writes conntrack. How it is reached is not its business, nor what the rules mean.
package appliance

import "net/netip"

// Neighbour is a permanent entry of the neighbour table.
type Neighbour struct {
	NIC  string     `json:"nic"` // name of the vNIC: eth0
	Addr netip.Addr `json:"addr"`
	MAC  string     `json:"mac"` // colon form
}

// Stats is what the appliance counts since it booted.
type Stats struct {
	Flows     int    `json:"flows"`     // conntrack entries now
	Capacity  int    `json:"capacity"`  // conntrack entries at most
	Inserted  uint64 `json:"inserted"`  // entries made by packets
	Dropped   uint64 `json:"dropped"`   // packets dropped because no entry could be made, table-full included
	Invalid   uint64 `json:"invalid"`   // packets that conntrack could not place
	Forwarded uint64 `json:"forwarded"` // IP packets routed, both families
	CPU       uint64 `json:"cpu_ns"`    // nanoseconds of busy CPU
}
