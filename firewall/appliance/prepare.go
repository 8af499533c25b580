package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/firewall"
)

// Neighbour is an entry of the neighbour table that is there from the beginning.
type Neighbour struct {
	NIC  string     `json:"nic"` // name of the vNIC: eth0
	Addr netip.Addr `json:"addr"`
	MAC  string     `json:"mac"` // colon form
}

// routing makes a kernel forward. Paths are under /proc/sys/net.
var routing = []struct{ path, value string }{
	{"ipv4/ip_forward", "1"}, // first: it resets others
	{"ipv6/conf/all/forwarding", "1"},
	{"ipv4/conf/all/rp_filter", "0"}, // placements may bring a guest's frames in by another vNIC
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/conf/all/accept_source_route", "0"}, // the engine drops such packets before (ip-options)
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
	{"ipv6/conf/all/accept_ra", "0"},
	{"ipv4/icmp_ratelimit", "0"}, // every reject is answered, as the engine does
	{"ipv6/icmp/ratelimit", "0"},
	{"ipv4/icmp_msgs_per_sec", "1000000"},
	{"netfilter/nf_conntrack_tcp_be_liberal", "0"}, // until a policy says otherwise (Settings); entries that were carried here say so themselves
	{"netfilter/nf_conntrack_tcp_loose", "0"},      // likewise: a flow begins with SYN, as in the engine
	{"netfilter/nf_conntrack_acct", "1"},
}

// hostWide are set once for a whole kernel, which an appliance in a namespace does not own.
var hostWide = []struct{ path, value string }{
	{"/proc/sys/net/netfilter/nf_conntrack_max", strconv.Itoa(MaxFlows)},
	{"/sys/module/nf_conntrack/parameters/hashsize", strconv.Itoa(MaxFlows / 4)},
}

// Prepare makes this network namespace a router that tracks flows. Its NICs must be there already.
func Prepare() error {
	for _, s := range routing {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", s.path), []byte(s.value), 0); err != nil && !absent(s.path, err) {
			return fmt.Errorf("prepare routing: %w", err)
		}
	}
	for _, s := range hostWide {
		if err := os.WriteFile(s.path, []byte(s.value), 0); err != nil && !notOurs(err) {
			return fmt.Errorf("enlarge the flow table: %w", err)
		}
	}
	return prepareNICs()
}

// notOurs is true where a setting belongs to another namespace: it cannot be written, or is not shown.
func notOurs(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) ||
		errors.Is(err, unix.EOPNOTSUPP)
}

// absent is true for a setting that only a kernel's first namespace has.
func absent(path string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && (path == "ipv4/icmp_msgs_per_sec" || path == "ipv6/icmp/ratelimit")
}

// knownAsks is how often, once a second, the kernel asks a neighbour that it knows before it believes it gone. The
// answers come by the queue that the guests' frames fill: after the usual three an overloaded appliance would call
// guests unreachable that are there. Frames go on meanwhile, and one that moves is told of.
const knownAsks = "100"

// prepareNICs undoes for each NIC what it took from the defaults when it was made.
func prepareNICs() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list NICs: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Name == firewall.SteerNIC { // its only neighbour is the switch, which speaks IPv4 there
			if err := disableIPv6(firewall.SteerNIC); err != nil {
				return err
			}
		}
		name := l.Attrs().Name
		for path, value := range map[string]string{
			"ipv4/conf/" + name + "/rp_filter":      "0",
			"ipv4/conf/" + name + "/send_redirects": "0",
			"ipv4/neigh/" + name + "/ucast_solicit": knownAsks,
			"ipv6/neigh/" + name + "/ucast_solicit": knownAsks,
		} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", path), []byte(value), 0); err != nil {
				return fmt.Errorf("prepare %s: %w", name, err)
			}
		}
	}
	return nil
}

func disableIPv6(nic string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", nic, "disable_ipv6"), []byte("1"), 0); err != nil {
		return fmt.Errorf("prepare %s: %w", nic, err)
	}
	return nil
}

// AddNeighbours adds neighbours, in place of what is known of the same addresses. They are not permanent, because a
// guest's address may move to another, and the switch then says so by ARP or ND; but no guest that makes the table full
// pushes them out (NTF_EXT_LEARNED).
func AddNeighbours(all []Neighbour) error {
	for _, n := range all {
		if err := addNeighbour(n); err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", n.Addr, n.NIC, err)
		}
	}
	return nil
}

func addNeighbour(n Neighbour) error {
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(n.NIC)
	if err != nil {
		return err
	}
	entry := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: n.Addr.AsSlice(), HardwareAddr: mac}
	if n.NIC != firewall.SteerNIC { // where nobody asks and nothing moves
		entry.State, entry.Flags = netlink.NUD_STALE, unix.NTF_EXT_LEARNED // used at once, and asked for again: the switch answers
	}
	return netlink.NeighSet(entry)
}
