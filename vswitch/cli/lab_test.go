package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/firewall/inspect"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/control"
	"sluice/vswitch/user"
)

// testLab is a lab in this process: a real switch with the real engine on memory NICs. Its guests are fake: a command
// "in a guest" runs on this machine. So is its appliance: it remembers, answers
// probes in slow, and forwards nothing.
type testLab struct {
	name      string
	dir       string // where its guests' commands run
	sw        *vswitch.Switch
	inventory *firewall.Inventory
	client    vnic.NIC     // the client's end of its vNIC
	fw        atomic.Value // how the appliance's machine is: a string
}

var (
	gatewayMAC = frame.MAC{2, 0, 0, 0, 0, 1}
	clientMAC  = frame.MAC{2, 0, 0, 0, 1, 10}
	serverMAC  = frame.MAC{2, 0, 0, 0, 2, 10}
	clientAddr = netip.MustParseAddr("10.10.1.10")
	serverAddr = netip.MustParseAddr("10.10.2.10")
	lan        = netip.MustParsePrefix("10.10.1.0/24")
	dmz        = netip.MustParsePrefix("10.10.2.0/24")
)

const testPolicy = `services:
  web: {tcp: 80}
rules:
  - {name: web, from: client, to: server, service: web, action: allow}
default: drop
`

var testInventory = &firewall.Inventory{
	Segments: []firewall.InvSegment{
		{Name: "lan", ID: 1, Prefixes: []netip.Prefix{lan}}, {Name: "dmz", ID: 2, Prefixes: []netip.Prefix{dmz}},
	},
	Guests: []firewall.InvGuest{
		{Name: "client", VNICs: []firewall.InvVNIC{{Port: 1, Segment: 1, MAC: clientMAC, Addrs: []netip.Addr{clientAddr}}}},
		{Name: "server", VNICs: []firewall.InvVNIC{{Port: 2, Segment: 2, MAC: serverMAC, Addrs: []netip.Addr{serverAddr}}}},
	},
}

func newTestLab(name, dir string) (*testLab, error) {
	sw, err := vswitch.New(vswitch.Config{Name: name, Engine: user.New, Segments: []vswitch.Segment{
		{Name: "lan", Prefixes: []netip.Prefix{lan}, Gateways: []netip.Addr{lan.Addr().Next()}, GatewayMAC: gatewayMAC, MTU: 1500},
		{Name: "dmz", Prefixes: []netip.Prefix{dmz}, Gateways: []netip.Addr{dmz.Addr().Next()}, GatewayMAC: gatewayMAC, MTU: 1500},
	}, Outer: frame.Outer{Local: probesTo, LocalMAC: frame.MAC{2, 2}, PeerMAC: frame.MAC{2, 1}}})
	if err != nil {
		return nil, err
	}
	lab := &testLab{name: name, dir: dir, sw: sw, inventory: testInventory}
	lab.fw.Store("ready")
	if err := lab.connect(); err != nil {
		sw.Close()
		return nil, err
	}
	return lab, nil
}

// connect joins the guests and the appliance to the switch, and puts a policy in force.
func (l *testLab) connect() error {
	ctx := context.Background()
	steer, back := vnic.Pipe("fw/steer", vnic.PipeOptions{})
	if err := l.sw.AddPort(ctx, vswitch.Port{ID: 5, Name: "fw/steer", MAC: frame.MAC{2, 1}, Service: true, Steer: true}, steer); err != nil {
		return err
	}
	go drain(back)
	for _, p := range []vswitch.Port{
		{ID: 1, Name: "client", Segment: 1, MAC: clientMAC, Addrs: []netip.Addr{clientAddr}},
		{ID: 2, Name: "server", Segment: 2, MAC: serverMAC, Addrs: []netip.Addr{serverAddr}},
		{ID: 3, Name: "fw/0", Segment: 1, MAC: gatewayMAC, Service: true},
		{ID: 4, Name: "fw/1", Segment: 2, MAC: gatewayMAC, Service: true},
	} {
		sw, guest := vnic.Pipe(p.Name, vnic.PipeOptions{})
		if err := l.sw.AddPort(ctx, p, sw); err != nil {
			return err
		}
		if p.ID == 1 {
			l.client = guest
		}
		if p.Service {
			go l.answerProbes(guest, back)
		} else {
			go drain(guest)
		}
	}
	l.sw.SetAppliance(&fakeAppliance{})
	policy, err := l.LoadPolicy("lab.yaml", []byte(testPolicy))
	if err != nil {
		return err
	}
	_, err = l.sw.SetPolicy(ctx, policy)
	return err
}

// drain takes what a guest is sent.
func drain(nic vnic.NIC) {
	var b frame.Batch
	for nic.ReadBatch(&b) == nil {
	}
}

// probesTo is where the switch's probes go.
var probesTo = frame.AddrFrom(netip.MustParseAddr("169.254.83.1"))

// answerProbes brings probes that come to the appliance back to the switch, and takes everything else. A stalled one
// brings none back.
func (l *testLab) answerProbes(nic, back vnic.NIC) {
	var b frame.Batch
	for nic.ReadBatch(&b) == nil {
		for i := range b.N {
			var k frame.Key
			if frame.Parse(&b.Frames[i], &k) == frame.ReasonNone && k.Dst == probesTo && l.fw.Load() != "stalled" {
				back.WriteBatch([]*frame.Frame{&b.Frames[i]})
			}
		}
	}
}

// sendSYN has the client send the first frame of a TCP connection to the server.
func (l *testLab) sendSYN(port uint16) error {
	eth, err := frameSYN(port)
	if err != nil {
		return err
	}
	f := frame.New(len(eth))
	copy(f.Eth(), eth)
	if sent, err := l.client.WriteBatch([]*frame.Frame{f}); sent != 1 {
		return fmt.Errorf("the frame was not taken: %v", err)
	}
	return nil
}

func frameSYN(port uint16) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: clientAddr.AsSlice(), DstIP: serverAddr.AsSlice()}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), SYN: true, Window: 1000}
	tcp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: net.HardwareAddr(clientMAC[:]), DstMAC: net.HardwareAddr(gatewayMAC[:]), EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
	return buf.Bytes(), err
}

func (l *testLab) Inspect() control.LabInfo {
	st := l.sw.Status()
	return control.LabInfo{
		Name: l.name, PID: os.Getpid(), Engine: "user", Placement: st.Placement.String(), Epoch: st.Epoch,
		Guests: []control.GuestInfo{
			{Name: "client", Kind: "embedded", State: "ready", Addresses: []string{"10.10.1.10/24"}},
			{Name: "server", Kind: "embedded", State: "ready", Addresses: []string{"10.10.2.10/24"}},
			{Name: "fw", Kind: "embedded", State: l.fw.Load().(string), Appliance: true, Addresses: []string{}},
		},
	}
}

func (l *testLab) Inventory() *firewall.Inventory { return l.inventory }

func (l *testLab) LoadPolicy(file string, src []byte) (*firewall.Policy, error) {
	return firewall.Load(file, src, l.inventory)
}

func (l *testLab) Exec(ctx context.Context, _ string, req control.ExecRequest, s control.Streams) (int, error) {
	cmd := exec.CommandContext(ctx, req.Argv[0], req.Argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to the client must not reach it by itself
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 127, nil
	}
	go func() { // not by Wait's means: input that never ends is no reason to wait
		io.Copy(stdin, s.Stdin)
		stdin.Close()
	}()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case sig := <-s.Signals:
				cmd.Process.Signal(map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[sig])
			case size := <-s.Resizes:
				fmt.Fprintf(s.Stderr, "now %dx%d\r\n", size.Cols, size.Rows)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

func (l *testLab) Console(ctx context.Context, guest string, req control.ExecRequest, s control.Streams) (int, error) {
	fmt.Fprintf(s.Stdout, "console of %s, %dx%d\r\n", guest, req.Size.Cols, req.Size.Rows)
	req.Argv = []string{"cat"}
	return l.Exec(ctx, guest, req, s)
}

func (l *testLab) Appliance(_ context.Context, d control.Drill) error {
	if d == control.Resume && l.fw.Load() != "stalled" {
		return fault.Errorf(fault.BadInput, "fw is not stalled")
	}
	l.fw.Store(map[control.Drill]string{control.Kill: "failed", control.Stall: "stalled", control.Resume: "ready", control.Restart: "ready"}[d])
	return nil
}

// Inspections is of one that has met a signature, whose name steers terminals.
func (l *testLab) Inspections(context.Context) (inspect.Report, error) {
	r := inspect.Report{Frames: 3, Bytes: 300, Verdicts: map[string]uint64{"pass": 2, "reset": 1}, Flows: 1, Missed: 1}
	r.Matches = []inspect.Count{{Name: "eicar", Count: 1}}
	r.Anomalies = []inspect.Count{{Name: "frag\x1bment", Count: 4}}
	r.Sightings = []inspect.Sighting{{What: "eicar", Verdict: "reset", Proto: 6,
		Src: netip.AddrPortFrom(serverAddr, 80), Dst: netip.AddrPortFrom(clientAddr, 40000)}}
	return r, nil
}

func (l *testLab) Stop() {}

// fakeAppliance is always ready, and remembers flows as conntrack would.
type fakeAppliance struct {
	mu    sync.Mutex
	flows []firewall.FlowRecord
}

func (a *fakeAppliance) Ready(context.Context) error { return nil }

func (a *fakeAppliance) SetPolicy(context.Context, string, uint64) error { return nil }

func (a *fakeAppliance) PutFlows(_ context.Context, recs []firewall.FlowRecord) (firewall.Carried, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flows = append(a.flows, recs...)
	return firewall.Carried{}, nil
}

func (a *fakeAppliance) FlushFlows(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flows = nil
	return nil
}

func (a *fakeAppliance) Flows(context.Context) ([]firewall.FlowRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flows, nil
}

func (a *fakeAppliance) DeleteFlows(_ context.Context, recs []firewall.FlowRecord) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.flows)
	a.flows = nil
	return n, nil
}

func (a *fakeAppliance) Steer(context.Context, firewall.SteerSpec) error { return nil }
func (a *fakeAppliance) EndSteer(context.Context, uint8) error           { return nil }

func (a *fakeAppliance) Absent() bool                                        { return false }
func (a *fakeAppliance) Administer(context.Context, *firewall.Edition) error { return nil }
