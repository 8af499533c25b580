package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// startVDE starts one vde_switch that holds both TAPs: the shortest way through VDE, without plugs in processes of
// their own. The TAPs' other ends are the guests'.
func startVDE(ctx context.Context, b *bed) error {
	args := []string{"-s", filepath.Join(b.dir, "vde"), "-M", filepath.Join(b.dir, "vde.mgmt")}
	for _, name := range portName {
		args = append(args, "-tap", name)
	}
	cmd := exec.Command("vde_switch", args...)
	if _, err := cmd.StdinPipe(); err != nil { // held open: vde_switch ends with its standard input
		return err
	}
	p, err := b.keep(b.sw.spawn(cmd))
	if err != nil {
		return err
	}
	for i, name := range portName {
		err := p.until(ctx, "wait for VDE's "+name, func() bool {
			_, err := b.sw.LinkByName(name)
			return err == nil
		})
		if err != nil {
			return err
		}
		tap, err := b.sw.LinkByName(name)
		if err != nil {
			return err
		}
		if err := b.sw.LinkSetNsFd(tap, int(b.far[i].ns)); err != nil {
			return fmt.Errorf("give %s to its guest: %w", name, err)
		}
		if err := b.guestUp(i, name); err != nil {
			return err
		}
	}
	return nil
}

const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// ovs starts an OVS of our own, with its own database and sockets, on the devices of the wiring.
func ovs(tso bool) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		db := filepath.Join(b.dir, "conf.db")
		if _, err := b.sw.run(ctx, nil, "ovsdb-tool", "create", db, ovsSchema); err != nil {
			return err
		}
		sock := filepath.Join(b.dir, "db.sock")
		server, err := b.keep(b.sw.spawn(b.ovsProgram("ovsdb-server", db, "--remote=punix:"+sock)))
		if err != nil {
			return err
		}
		ctl := func(args ...string) error {
			_, err := b.sw.run(ctx, nil, "ovs-vsctl", append([]string{"--db=unix:" + sock, "--timeout=10"}, args...)...)
			return err
		}
		err = server.until(ctx, "wait for OVS's database", func() bool { return ctl("--no-wait", "init") == nil })
		if err != nil {
			return err
		}
		err = ctl("--no-wait", "set", "Open_vSwitch", ".", fmt.Sprintf("other_config:userspace-tso-enable=%t", tso))
		if err != nil {
			return err
		}
		if _, err := b.keep(b.sw.spawn(b.ovsProgram("ovs-vswitchd", "unix:"+sock))); err != nil {
			return err
		}
		// Without --no-wait ovs-vsctl returns once ovs-vswitchd has done it.
		return ctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
			"--", "add-port", "br0", portName[0], "--", "add-port", "br0", portName[1])
	}
}

// ovsProgram keeps everything that OVS writes in the bed's directory.
func (b *bed) ovsProgram(name string, args ...string) *exec.Cmd {
	args = append(args, "--unixctl="+filepath.Join(b.dir, name+".ctl"), "--pidfile="+filepath.Join(b.dir, name+".pid"),
		"-vconsole:warn", "-vsyslog:off", "-vfile:off")
	cmd := exec.Command(name, args...)
	cmd.Env = append(cmd.Environ(), "OVS_RUNDIR="+b.dir, "OVS_LOGDIR="+b.dir, "OVS_DBDIR="+b.dir)
	return cmd
}
