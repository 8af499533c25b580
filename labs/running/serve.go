package running

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
	"sluice/vswitch/control"
)

// Inspect describes the lab now. With the methods below it makes world a control.Lab.
func (w *world) Inspect() control.LabInfo {
	s := w.sw.Status()
	info := control.LabInfo{
		Name: w.lab.Name, PID: os.Getpid(), Engine: w.engine, Placement: s.Placement.String(), Epoch: s.Epoch,
		CPU: ownCPU().Seconds(), Guests: []control.GuestInfo{},
	}
	states := w.states()
	for i, r := range w.guests {
		g := control.GuestInfo{Name: r.Name, Kind: r.Kind, Appliance: r.appliance, State: states[i], Addresses: []string{}, CPU: r.cpu().Seconds()}
		if m := r.machine(); m != nil {
			up := m.CameUp()
			g.Boot, g.BootTime = string(up.How), up.After.Seconds()
		}
		for _, c := range r.cards {
			for _, a := range c.Addrs {
				bits := w.lab.Segments[c.Segment-1].SubnetOf(a).Bits()
				g.Addresses = append(g.Addresses, netip.PrefixFrom(a, bits).String())
			}
		}
		info.Guests = append(info.Guests, g)
	}
	return info
}

// states asks all guests at once how they are.
func (w *world) states() []string {
	states := make([]string, len(w.guests))
	var asking sync.WaitGroup
	for i, r := range w.guests {
		asking.Go(func() { states[i] = r.tried(w.life) })
	}
	asking.Wait()
	return states
}

// ownCPU is what this process has used so far, user and system.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Exec runs a command in a guest.
func (w *world) Exec(ctx context.Context, name string, req control.ExecRequest, s control.Streams) (int, error) {
	if len(req.Argv) == 0 {
		return 0, fault.Errorf(fault.BadInput, "no command to run")
	}
	return w.run(ctx, name, req, s)
}

// Console runs a shell in a guest, on a terminal.
func (w *world) Console(ctx context.Context, name string, req control.ExecRequest, s control.Streams) (int, error) {
	if len(req.Argv) == 0 {
		req.Argv = []string{agent.Shell, "-l"}
	}
	req.TTY = true
	return w.run(ctx, name, req, s)
}

func (w *world) run(ctx context.Context, name string, req control.ExecRequest, s control.Streams) (int, error) {
	a, err := w.agentOf(name)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return a.Exec(ctx, agent.Command{
		Args: req.Argv, Env: environment(req.Env), TTY: req.TTY, Size: agent.Size(req.Size),
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Resize: sizes(ctx, s.Resizes), Signals: s.Signals,
	})
}

// agentOf finds a guest's agent by the guest's name.
func (w *world) agentOf(name string) (*agent.Client, error) {
	i := slices.IndexFunc(w.guests, func(r *resident) bool { return r.Name == name })
	switch {
	case i < 0:
		return nil, fault.Errorf(fault.BadInput, "no guest %q in lab %s", name, w.lab.Name)
	case w.guests[i].Kind == labfile.KindHost:
		return nil, fault.Errorf(fault.BadInput, "%s is a device of this machine: run the command without sluice", name)
	}
	if state := w.guests[i].state(); state != ready {
		return nil, fault.Errorf(fault.Failed, "guest %s is %s", name, state)
	}
	if a := w.guests[i].machine().Agent(); a != nil {
		return a, nil
	}
	return nil, fault.Errorf(fault.Failed, "guest %s does not answer", name)
}

func environment(env map[string]string) []string {
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// sizes turns the terminal's sizes into the agent's, until ctx ends.
func sizes(ctx context.Context, in <-chan control.WindowSize) <-chan agent.Size {
	out := make(chan agent.Size)
	go func() {
		defer close(out)
		for {
			select {
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- agent.Size(s):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// Stop ends the lab process; see serveLab.
func (w *world) Stop() { w.stop() }

// Inventory is what a policy may refer to.
func (w *world) Inventory() *firewall.Inventory { return w.lab.Inventory() }

// LoadPolicy reads a policy against this lab's nouns.
func (w *world) LoadPolicy(file string, src []byte) (*firewall.Policy, error) {
	return firewall.Load(file, src, w.lab.Inventory())
}
