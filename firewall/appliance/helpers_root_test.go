package appliance

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// between is an appliance that routes between two hosts, each in a namespace of its own. The test's thread is in the
// appliance's.
type between struct {
	*Appliance
	t     *testing.T
	hosts map[string]netns.NsHandle
	inv   *firewall.Inventory
}

var addrs = map[string]netip.Addr{"client": netip.MustParseAddr("10.10.1.10"), "server": netip.MustParseAddr("10.10.2.10")}

func newBetween(t *testing.T) *between {
	b := &between{Appliance: inside(t), t: t, hosts: map[string]netns.NsHandle{}, inv: &firewall.Inventory{}}
	router, err := netns.Get()
	b.must(err)
	t.Cleanup(func() { _ = router.Close() })
	for i, name := range []string{"client", "server"} {
		a := addrs[name]
		port := firewall.InvVNIC{Port: frame.PortID(i + 1), Segment: frame.SegmentID(i + 1), Addrs: []netip.Addr{a}}
		b.inv.Guests = append(b.inv.Guests, firewall.InvGuest{Name: name, VNICs: []firewall.InvVNIC{port}})
		b.must(unix.Unshare(unix.CLONE_NEWNET))
		host, err := netns.Get()
		b.must(err)
		t.Cleanup(func() { _ = host.Close() })
		b.hosts[name] = host
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: fmt.Sprint("eth", i), PeerNamespace: netlink.NsFd(router),
		}
		b.must(netlink.LinkAdd(veth))
		gateway := a.As4()
		gateway[3] = 1
		b.address("eth0", a)
		b.must(netlink.RouteAdd(&netlink.Route{Gw: gateway[:]}))
		b.must(netns.Set(router))
		b.address(fmt.Sprint("eth", i), netip.AddrFrom4(gateway))
	}
	return b
}

func (b *between) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *between) address(nic string, a netip.Addr) {
	b.t.Helper()
	l, err := netlink.LinkByName(nic)
	b.must(err)
	b.must(netlink.LinkSetUp(l))
	b.must(netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
}

// at does something in a host's namespace, on a thread of its own. A socket stays where it was made.
func (b *between) at(host string, do func() error) {
	b.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- errors.Join(netns.Set(b.hosts[host]), do())
	}()
	b.must(<-done)
}

// apply puts a policy in force that allows what client begins with server at the helpers' ports.
func (b *between) apply(helpers string) {
	b.t.Helper()
	p, err := firewall.Load("p.yaml", fmt.Appendf(nil, `services: {control: {tcp: 21, udp: 69}}
default: drop
helpers: %s
rules: [{name: control, from: client, to: server, service: control, action: allow}]
`, helpers), b.inv)
	b.must(err)
	script, err := p.NFT(firewall.NFTOptions{})
	b.must(err)
	b.must(b.ApplyNFT(script))
}

// control is a connection of FTP, from both ends.
type control struct {
	b              *between
	client, server net.Conn
	heard          *bufio.Reader
}

func (b *between) connect() *control {
	b.t.Helper()
	c := &control{b: b}
	var l net.Listener
	b.at("server", func() (err error) {
		l, err = net.Listen("tcp4", addrs["server"].String()+":21")
		return err
	})
	defer l.Close()
	b.at("client", func() (err error) {
		c.client, err = net.DialTimeout("tcp4", addrs["server"].String()+":21", 10*time.Second)
		return err
	})
	var err error
	c.server, err = l.Accept()
	b.must(err)
	c.heard = bufio.NewReader(c.server)
	b.t.Cleanup(func() { c.client.Close(); c.server.Close() })
	return c
}

// say sends a line, alone in its segment, and waits until it has come.
func (c *control) say(line string) {
	c.b.t.Helper()
	_, err := fmt.Fprint(c.client, line, "\r\n")
	c.b.must(err)
	c.b.must(c.server.SetReadDeadline(time.Now().Add(10 * time.Second)))
	got, err := c.heard.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != line {
		c.b.t.Fatalf("the server heard %q, %v", got, err)
	}
}

// announce says where the client waits for data. What the helper sees first of a connection that it has not read from
// its beginning it cannot place: so something else comes before.
func (c *control) announce(port int) {
	c.b.t.Helper()
	c.say("USER x")
	c.say(fmt.Sprintf("PORT %s,%d,%d", strings.ReplaceAll(addrs["client"].String(), ".", ","), port>>8, port&0xff))
}

// data has the server begin a connection to the client's port, and says whether it comes about.
func (b *between) data(port int) net.Conn {
	b.t.Helper()
	var l net.Listener
	b.at("client", func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", addrs["client"], port))
		return err
	})
	defer l.Close()
	var c net.Conn
	b.at("server", func() (err error) {
		c, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", addrs["client"], port), time.Second) // a SYN and one more
		if os.IsTimeout(err) {
			err = nil
		}
		return err
	})
	if c != nil {
		b.t.Cleanup(func() { c.Close() })
	}
	return c
}

// TestRootHelperFTP: what a control connection announces passes where the helper reads it, and nowhere else.
func TestRootHelperFTP(t *testing.T) {
	b := newBetween(t)
	b.apply("[]")
	b.connect().announce(4000)
	if b.data(4000) != nil {
		t.Fatal("without a helper the server's connection to the client passes")
	}
	b.apply("[ftp]")
	c := b.connect()
	if b.data(4001) != nil {
		t.Fatal("what nobody has announced passes")
	}
	c.announce(4001)
	if b.data(4001) == nil {
		t.Fatal("what was announced does not pass")
	}
	flows, err := b.Flows()
	b.must(err)
	for _, f := range flows {
		if f.Related != (f.Dst.Port() == 4001) {
			t.Errorf("%s to %s: related %v", f.Src, f.Dst, f.Related)
		}
	}
	c.announce(4002)
	b.apply("[tftp]")
	if b.data(4002) != nil {
		t.Error("what was announced before the helper was taken away passes")
	}
	c.announce(4003)
	if b.data(4003) != nil {
		t.Error("a helper that was taken away reads on")
	}
}

// TestRootHelperTFTP: the answer to a request comes from a port that nobody knew.
func TestRootHelperTFTP(t *testing.T) {
	b := newBetween(t)
	for _, helpers := range []string{"ftp", "[ftp, tftp]"} {
		b.apply(helpers)
		b.must(b.FlushFlows())
		var client, server *net.UDPConn
		listen := func(who string, port int, c **net.UDPConn) {
			t.Helper()
			b.at(who, func() (err error) {
				*c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: addrs[who].AsSlice(), Port: port})
				return err
			})
			t.Cleanup(func() { (*c).Close() })
		}
		listen("client", 0, &client)
		listen("server", 5000, &server)
		_, err := client.WriteTo([]byte("\x00\x01file\x00octet\x00"), &net.UDPAddr{IP: addrs["server"].AsSlice(), Port: 69})
		b.must(err)
		b.waitFlow(69)
		_, err = server.WriteTo([]byte("\x00\x03\x00\x01data"), client.LocalAddr())
		b.must(err)
		b.must(client.SetReadDeadline(time.Now().Add(time.Second)))
		n, _, err := client.ReadFrom(make([]byte, 64))
		if came := n > 0; came != strings.Contains(helpers, "tftp") {
			t.Errorf("helpers %s: the answer came: %v (%v)", helpers, came, err)
		}
		client.Close()
		server.Close()
	}
}

// waitFlow waits until conntrack has a flow to a port.
func (b *between) waitFlow(port uint16) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		flows, err := b.Flows()
		b.must(err)
		if slices.ContainsFunc(flows, func(f firewall.FlowRecord) bool { return f.Dst.Port() == port }) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no flow to port %d: %+v", port, flows)
		}
	}
}

// TestRootHelperOfCarriedFlows: a connection that began elsewhere is read, too: one that conntrack is told of, and one
// that it knows from before the policy had a helper.
func TestRootHelperOfCarriedFlows(t *testing.T) {
	b := newBetween(t)
	for port, known := range map[int]bool{4101: false, 4102: true} {
		b.apply("[]")
		c := b.connect()
		flows, err := b.Flows()
		b.must(err)
		b.apply("ftp")
		if !known {
			b.must(b.FlushFlows())
		}
		for range 2 { // the second time there is nothing to do
			put(t, b.Appliance, flows...)
		}
		c.announce(port)
		if b.data(port) == nil {
			t.Errorf("known before: %v: what was announced does not pass", known)
		}
		b.must(b.FlushFlows())
	}
}

// TestRootNoSuchHelper: a kernel without the module says its name, and nothing has changed.
func TestRootNoSuchHelper(t *testing.T) {
	a := inside(t)
	b := &between{Appliance: a, t: t, inv: &firewall.Inventory{}}
	b.must(a.ApplyNFT("table inet before { }\n"))
	a.Run = func(cmd *exec.Cmd) error { // as a kernel without it would
		if s, ok := cmd.Stdin.(*strings.Reader); ok && s.Len() > 0 {
			var text strings.Builder
			_, _ = s.WriteTo(&text)
			cmd.Stdin = strings.NewReader(strings.ReplaceAll(text.String(), `type "tftp"`, `type "none"`))
		}
		return cmd.Run()
	}
	script := "table inet sluice {\n" + firewall.Helpers[0].NFT() + "\n" + firewall.Helpers[1].NFT() + "\n}\n"
	err := a.ApplyNFT(script)
	const lacking = "no module nf_conntrack_tftp, which helpers: [tftp] needs"
	if err == nil || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), lacking) {
		t.Errorf("%v", err)
	}
	out, err := exec.Command("nft", "list", "ruleset").Output()
	b.must(err)
	if got := strings.Join(strings.Fields(string(out)), " "); got != "table inet before { }" {
		t.Errorf("the ruleset is %q", got)
	}
}
