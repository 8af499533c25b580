package running

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/labs/guest"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// world is everything a deployed lab is made of. It exists in the lab process only.
type world struct {
	lab    *labfile.Lab
	deploy *deployment
	engine string
	dir    string
	hostNS *os.File
	stop   context.CancelFunc
	sw     *vswitch.Switch
	desk   *desk       // in the appliance
	guests []*resident // in the file's order, the appliance last

	life     context.Context // ends when the lab is taken down
	end      context.CancelFunc
	drilling chan struct{} // holds a token while a drill runs, and once the lab is taken down

	// What touches the machine that the lab runs on; tests have others.
	boot func(context.Context, *resident, func(string)) error
	open func(*resident, labfile.Card) (vnic.NIC, error)
}

func newWorld(lab *labfile.Lab, d *deployment, e engine, dir string, hostNS *os.File, stop context.CancelFunc) (*world, error) {
	sw, err := vswitch.New(vswitch.Config{
		Name: lab.Name, Engine: e.make, Segments: lab.SwitchSegments(), Log: slog.Default(), Handover: lab.Handover, Outer: lab.Outer(),
	})
	if err != nil {
		return nil, fmt.Errorf("make the switch: %w", err)
	}
	w := &world{
		lab: lab, deploy: d, engine: e.name, dir: dir, hostNS: hostNS, stop: stop, sw: sw, desk: newDesk(lab, sw), drilling: make(chan struct{}, 1),
	}
	w.life, w.end = context.WithCancel(context.Background())
	w.boot, w.open = w.bootGuest, w.openNIC
	sw.SetMeter(w.usage)
	for _, g := range lab.Machines() {
		w.guests = append(w.guests, &resident{Guest: g, appliance: g == lab.Appliance})
	}
	for _, c := range lab.Cards() {
		r := w.guests[len(w.guests)-1]
		if c.Guest >= 0 {
			r = w.guests[c.Guest]
		}
		r.cards = append(r.cards, c)
	}
	return w, nil
}

// build boots every guest at once and puts the policy in force, and only then joins the guests to the switch: no frame
// is forwarded before the policy decides.
func (w *world) build(ctx context.Context, progress func(string)) error {
	if err := w.bootAll(ctx, progress); err != nil {
		return err
	}
	for _, r := range w.guests {
		if !r.appliance {
			if err := w.join(ctx, r); err != nil {
				return err
			}
		}
		w.watch(r)
	}
	return nil
}

// bootAll returns when every guest is ready and the policy is in force. That waits for the appliance only, not for
// guests that boot longer: so it is the first one that boots.
func (w *world) bootAll(ctx context.Context, progress func(string)) error {
	booting, ctx := errgroup.WithContext(ctx)
	first, begin := context.WithCancel(ctx)
	defer begin()
	if w.lab.Appliance == nil {
		booting.Go(func() error { return w.enforce(ctx) })
	}
	if w.lab.Appliance == nil || w.lab.Appliance.Kind != labfile.KindQEMU {
		begin()
	}
	for _, r := range w.guests {
		booting.Go(func() error {
			if r.appliance {
				r.began = begin
				defer begin()
			} else {
				<-first.Done()
			}
			begun := time.Now()
			if err := w.boot(ctx, r, progress); err != nil {
				return err
			}
			progress(fmt.Sprintf("%s is ready after %.1f s", r.Name, time.Since(begun).Seconds()))
			if !r.appliance {
				return nil
			}
			if err := w.join(ctx, r); err != nil {
				return err
			}
			w.sw.SetAppliance(slowSide{r.machine(), w.desk})
			return w.enforce(ctx)
		})
	}
	return booting.Wait()
}

// enforce puts the lab's policy in force where the lab says. A student's that is to be administered in the appliance is
// pushed there, over the lab's own.
func (w *world) enforce(ctx context.Context) error {
	first, pushes := w.lab.Policy, w.lab.Placement == firewall.Push && w.lab.Own != nil
	if pushes {
		first = w.lab.Own
	}
	if _, err := w.sw.SetPolicy(ctx, first); err != nil {
		return fmt.Errorf("apply the policy: %w", err)
	}
	if _, err := w.sw.Place(ctx, w.lab.Placement, vswitch.PlaceOptions{First: true}); err != nil {
		return fmt.Errorf("place the firewall: %w", err)
	}
	if pushes {
		return w.pushInside(ctx, w.lab.Policy.Source)
	}
	return nil
}

// bootGuest makes a guest's devices, boots it and waits until its agent says that it is configured.
func (w *world) bootGuest(ctx context.Context, r *resident, progress func(string)) (err error) {
	if r.Kind == labfile.KindHost {
		return nil // its device is made when it joins
	}
	spec, err := w.spec(r)
	if err != nil {
		return fmt.Errorf("make the vNICs of %s: %w", r.Name, err)
	}
	m, err := guest.New(spec)
	if err != nil {
		return err
	}
	r.setMachine(m)
	progress(fmt.Sprintf("%s boots (%s)", r.Name, r.Kind))
	if err := m.Boot(ctx); err != nil {
		return err
	}
	if r.Kind == labfile.KindNetns {
		if err := w.plugIn(r); err != nil {
			return fmt.Errorf("make the vNICs of %s: %w", r.Name, err)
		}
	}
	if err := m.Configure(ctx); err != nil || !r.appliance {
		return err
	}
	return errors.Join(w.shut(ctx, m), w.instruct(ctx, m))
}

// shut makes an appliance that is new let nothing pass until the switch has given it the policy: it may get frames
// before. Where the switch enforces the policy, it never gives it: what is steered to the inspector comes all the same.
// An appliance that has the policy before any guest is joined needs none of it.
func (w *world) shut(ctx context.Context, m guest.Machine) error {
	if given := w.lab.Placement == firewall.Slow || w.lab.Placement == firewall.Tunnel; given && !w.guestsJoined() {
		return nil
	}
	p, err := firewall.Load("shut", []byte("default: drop\n"), w.lab.Inventory())
	if err != nil {
		return err
	}
	nft, err := p.NFT(firewall.NFTOptions{Comment: "nothing passes yet but what is steered to be looked into", Steer: true})
	if err != nil {
		return err
	}
	return slowSide{machine: m}.SetPolicy(ctx, nft, 0)
}

// guestsJoined says whether any guest can send.
func (w *world) guestsJoined() bool {
	return slices.ContainsFunc(w.guests, func(r *resident) bool { return !r.appliance && r.hasJoined() })
}

// spec describes a guest for its maker. TAPs are made here, in place of what an earlier machine left: QEMU inherits the
// guest's end.
func (w *world) spec(r *resident) (s guest.Spec, err error) {
	defer func() {
		for _, n := range s.NICs {
			if err != nil && n.TAP != nil {
				n.TAP.Close()
			}
		}
	}()
	s = guest.Spec{
		Lab: onMachine(w.dir), Name: r.Name, Kind: guest.Kind(r.Kind), Dir: filepath.Join(w.dir, guestsDir, r.Name),
		Image: w.deploy.Image, Services: r.Services, Hosts: w.hosts(), Appliance: r.appliance,
		MemoryMiB: r.Memory, CPUs: r.CPUs, Accel: w.deploy.Accel, Boot: w.deploy.Boot, Began: r.began, Tell: w.sw.Tell,
	}
	if r.appliance {
		s.Neighbours = w.neighbours()
	}
	for _, c := range r.cards {
		if err := vnic.Delete(deviceName(c)); err != nil {
			return s, err
		}
		s.NICs = append(s.NICs, w.nic(r, c))
		if r.Kind != labfile.KindQEMU {
			continue
		}
		n := &s.NICs[len(s.NICs)-1]
		if n.TAP, err = vnic.NewTAP(deviceName(c), frame.OffloadNone); err != nil {
			return s, err
		}
		if err := vnic.SetMTU(deviceName(c), n.MTU); err != nil {
			return s, err
		}
	}
	if flavor, ok := s.Flavor(); ok {
		s.Template = w.deploy.templates[flavor]
	}
	return s, nil
}

// nic describes a vNIC for its guest. Each has its segment's gateways, of which the first one's come first; the
// appliance needs none.
func (w *world) nic(r *resident, c labfile.Card) guest.NIC {
	if c.Steer() {
		net := netip.PrefixFrom(frame.TunnelAppliance, frame.TunnelNet.Bits())
		return guest.NIC{Name: firewall.SteerNIC, MAC: c.MAC, MTU: frame.SteerMTU, Addrs: []netip.Prefix{net}}
	}
	seg := w.lab.Segments[c.Segment-1]
	n := guest.NIC{Name: fmt.Sprintf("eth%d", c.Index), MAC: c.MAC, MTU: seg.MTU}
	for _, a := range c.Addrs {
		n.Addrs = append(n.Addrs, netip.PrefixFrom(a, seg.SubnetOf(a).Bits()))
	}
	if !r.appliance {
		n.Gateways = seg.Gateways()
	}
	return n
}

// hosts are the names that every guest knows: each guest's first vNIC.
func (w *world) hosts() []agent.Host {
	var out []agent.Host
	for _, r := range w.guests {
		for _, a := range r.cards[0].Addrs {
			out = append(out, agent.Host{Name: r.Name, Addr: a})
		}
	}
	return out
}

// neighbours are all guests as the appliance sees them, and the switch at the tunnel's other end, so that its first
// packet to one waits for nobody.
func (w *world) neighbours() []appliance.Neighbour {
	out := []appliance.Neighbour{{NIC: firewall.SteerNIC, Addr: frame.TunnelSwitch, MAC: net.HardwareAddr(labfile.SteerMAC[:]).String()}}
	for _, r := range w.guests {
		for _, c := range r.cards {
			for _, a := range c.Addrs {
				if !r.appliance { // the appliance has a vNIC on each segment, in their order
					out = append(out, appliance.Neighbour{NIC: fmt.Sprintf("eth%d", c.Segment-1), Addr: a, MAC: net.HardwareAddr(c.MAC[:]).String()})
				}
			}
		}
	}
	return out
}

// deviceName is a port's device in the lab's namespace, or in that of the guest's ends. It has the port's number, not
// the guest's name, which may be longer than the 15 bytes of a device's name.
func deviceName(c labfile.Card) string { return fmt.Sprintf("p%d", c.Port) }

// hostDeviceName is a host port's device, which is in the host's own namespace among those of other labs.
func (w *world) hostDeviceName(c labfile.Card) string {
	return fmt.Sprintf("sl%08x-%d", crc32.ChecksumIEEE([]byte(onMachine(w.dir))), c.Port)
}

// plugIn gives a namespace guest its vNICs.
func (w *world) plugIn(r *resident) error {
	ns, err := os.Open(r.machine().NetNS())
	if err != nil {
		return fmt.Errorf("open the guest's namespace: %w", err)
	}
	defer ns.Close()
	r.dropEnds() // of a machine that never joined
	r.ends, err = makeEnds(func() error {
		for _, c := range r.cards {
			nic := w.nic(r, c)
			if err := vnic.NewVeth(deviceName(c), vnic.VethPeer{Name: nic.Name, MAC: c.MAC, NetNS: ns}); err != nil {
				return err
			}
			if err := vnic.SetMTU(deviceName(c), nic.MTU); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// join gives the switch the ports of a guest.
func (w *world) join(ctx context.Context, r *resident) error {
	defer r.dropEnds()
	for _, c := range r.cards {
		nic, err := w.open(r, c)
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.Name, err)
		}
		port := vswitch.Port{ID: c.Port, Name: c.Name, Segment: c.Segment, MAC: c.MAC, Addrs: c.Addrs, Service: r.appliance, Steer: c.Steer()}
		if err := w.sw.AddPort(ctx, port, nic); err != nil {
			return errors.Join(fmt.Errorf("attach %s: %w", c.Name, err), nic.Close())
		}
		r.joined(c.Port)
	}
	return nil
}

func (w *world) openNIC(r *resident, c labfile.Card) (vnic.NIC, error) {
	switch r.Kind {
	case labfile.KindQEMU:
		return vnic.OpenPacket(deviceName(c))
	case labfile.KindNetns:
		return openEnd(r.ends, deviceName(c))
	}
	n := w.nic(r, c)
	return vnic.OpenHost(w.hostDeviceName(c), vnic.HostOptions{Addrs: n.Addrs, MAC: c.MAC, MTU: n.MTU, NetNS: w.hostNS})
}

// closeWait bounds how long guests may take to end.
const closeWait = 4 * time.Second

// close ends every guest and the switch. Devices go with the namespace.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	w.desk.end()
	w.end()
	select {
	case w.drilling <- struct{}{}: // and never given back
	case <-ctx.Done():
		slog.Warn("a drill does not end")
	}
	var ending errgroup.Group
	for _, r := range w.guests {
		if m := r.machine(); m != nil {
			ending.Go(func() error { return m.Stop(ctx) })
		}
	}
	return errors.Join(ending.Wait(), w.sw.Close())
}
