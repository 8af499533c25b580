// Package labfile says what a lab is: it reads lab files and what lies beside them (policies, signatures, a student's
// work), and refuses what is wrong in them, with its place. It runs nothing and touches no device: a lab that lives is
// labs/running. It judges no student: it reads what is to be checked, and labs/check checks it.
package labfile

import (
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/labs/check"
	"sluice/labs/guest"
	"sluice/vswitch"
)

// Lab is a lab file that passed every check: its names are unique, its addresses lie in their segments, and its policy
// compiles for it.
type Lab struct {
	Name      string
	Title     string
	Files     fs.FS // the folder's files
	Segments  []Segment
	Guests    []Guest // in the order of the file
	Appliance *Guest  // nil: only the placements off and fast can be chosen
	Policy    *firewall.Policy
	Own       *firewall.Policy   // the lab's own, where Policy is a student's; else nil
	Placement firewall.Placement // where the policy is enforced once deployed
	Handover  vswitch.Handover   // the default for changes
	Kind      string             // of guests that leave it open, where deploy does not say: KindQEMU where the lesson needs it
	Params    map[string]string  // as drawn for the student
	Theirs    []string           // files that a student may hand in, beside answers
	Handout   []string           // files that a student begins with, beside those of Theirs and the README
	Inspect   Inspect
	Tasks     []check.Task
	Ref       string // what it was loaded by: a name, or the path of a folder
	Work      Work   // whose version it is
	File      string // the lab file as messages call it
}

// Inspect is what the appliance looks for in the placement inspect.
type Inspect struct {
	Signatures  []byte // a signature file's text; empty: only what is looked for without one
	BypassAfter int    // clean bytes of a flow after which its rest is not looked at; 0 is never
}

// Segment is one broadcast domain of a lab.
type Segment struct {
	Name     string
	Subnet   netip.Prefix // IPv4; invalid where there is none
	Subnet6  netip.Prefix // invalid where there is none
	Gateway  netip.Addr   // the first address of Subnet where the file does not say
	Gateway6 netip.Addr
	MTU      int           // bytes of IP packet, 1280 to 9000
	MACAge   time.Duration // how long the switch remembers a silent MAC; 0 where the file does not say
}

// Prefixes are the segment's subnets.
func (s Segment) Prefixes() []netip.Prefix { return valid(s.Subnet, s.Subnet6) }

// valid are those of both families that there are.
func valid[T interface{ IsValid() bool }](both ...T) []T {
	return slices.DeleteFunc(both, func(x T) bool { return !x.IsValid() })
}

// SubnetOf is the segment's subnet of an address's family.
func (s Segment) SubnetOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return s.Subnet
	}
	return s.Subnet6
}

// Gateways are the gateway's addresses, in the order of Prefixes.
func (s Segment) Gateways() []netip.Addr { return valid(s.Gateway, s.Gateway6) }

// The kinds of guest. KindAuto is QEMU where it works, else a network namespace.
const (
	KindAuto  = "auto"
	KindQEMU  = string(guest.QEMU)
	KindNetns = string(guest.NetNS)
	KindHost  = "host" // a device in the host's own namespace: no machine at all
)

// Guest is a machine of a lab.
type Guest struct {
	Name     string
	Kind     string // KindAuto where the file does not say
	VNICs    []VNIC
	Services []string
	Memory   int // MiB
	// Unguarded lets the guest send from any MAC and address (spoofguard: false). Else its vNICs may only use their
	// own.
	Unguarded bool
	CPUs      int
}

// VNIC is one network card of a guest.
type VNIC struct {
	Segment  int        // index in Lab.Segments
	Address  netip.Addr // IPv4; invalid where the segment has none
	Address6 netip.Addr
}

// Addrs are the vNIC's addresses.
func (v VNIC) Addrs() []netip.Addr { return valid(v.Address, v.Address6) }
