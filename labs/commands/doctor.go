package commands

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch/cli"
)

// finding is what doctor found out about one thing that labs use.
type finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // without it there are no labs at all
	Detail string `json:"detail"`
	Do     string `json:"do,omitempty"` // what would mend it
}

func doctorCommand() *cobra.Command {
	var bundle bool
	cmd := &cobra.Command{
		Use:   "doctor [--bundle [FILE]]",
		Short: "Say what this machine can do, and what it lacks for labs; or pack what a maintainer needs",
		Example: "  sluice doctor\n  sluice doctor --bundle\n" +
			"  sluice doctor --bundle fault.tar.gz --lab fast-vs-slow",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case bundle:
				return makeBundle(cmd, strings.Join(args, ""))
			case len(args) > 0:
				return fault.Errorf(fault.BadInput, "%q: a file is for --bundle", args[0])
			}
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			found := examine(cmd.Context(), func(what string) { out.Note("%s", what) })
			if err := out.Print(found, func(w io.Writer) { writeFindings(w, out, found) }); err != nil {
				return err
			}
			return verdict(found)
		},
	}
	cmd.Flags().BoolVar(&bundle, "bundle", false,
		"write FILE (tar.gz; a name with the time, where none is given) with versions, and each lab's file, policy, receipts, events and log")
	return cmd
}

func writeFindings(w io.Writer, out *cli.Output, found []finding) {
	grid := cli.NewGrid("WHAT", "", "DETAIL")
	for _, f := range found {
		mark := out.Paint(cli.Good, "yes")
		switch {
		case !f.OK && f.Needed:
			mark = out.Paint(cli.Bad, "NO")
		case !f.OK:
			mark = out.Paint(cli.Warn, "no")
		}
		detail := f.Detail
		if f.Do != "" {
			detail += "; " + f.Do
		}
		grid.Row(f.What, mark, detail)
	}
	grid.Write(w, "")
}

// verdict is an error that names what labs cannot do without.
func verdict(found []finding) error {
	var lacks []string
	for _, f := range found {
		if !f.OK && f.Needed {
			lacks = append(lacks, f.What)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return fault.Errorf(fault.Lacks, "this machine lacks what labs need: %s", strings.Join(lacks, ", "))
}

// examine tries each thing out: that a file is there proves little.
func examine(ctx context.Context, progress func(string)) []finding {
	found := []finding{machine(), root(), disk()}
	found = append(found, devices()...)
	found = append(found, programs()...)
	return append(found, images(ctx, progress)...)
}

func machine() finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return finding{What: "machine", Needed: true, Detail: err.Error()}
	}
	release := unix.ByteSliceToString(u.Release[:])
	detail := fmt.Sprintf("%s, %d CPUs, Linux %s", runtime.GOARCH, runtime.NumCPU(), release)
	return finding{What: "machine", OK: runtime.GOOS == "linux", Needed: true, Detail: detail}
}

func root() finding {
	f := finding{What: "root", OK: os.Geteuid() == 0, Needed: true, Detail: fmt.Sprintf("user %d", os.Geteuid())}
	if !f.OK {
		f.Do = "run it with sudo"
	}
	return f
}

// wantedDisk is room for the guest image with its templates and what it is made from, in bytes.
const wantedDisk = 1 << 30

func disk() finding {
	f := finding{What: "disk", Needed: true}
	dir, err := os.UserCacheDir()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	dir = filepath.Join(dir, "sluice")
	at := dir
	var s unix.Statfs_t
	for err = unix.Statfs(at, &s); err != nil && at != "/"; err = unix.Statfs(at, &s) {
		at = filepath.Dir(at) // the cache is not made yet
	}
	free := s.Bavail * uint64(s.Bsize)
	f.OK, f.Detail = err == nil && free >= wantedDisk, fmt.Sprintf("%d MiB free for %s", free>>20, dir)
	if !f.OK {
		f.Do = fmt.Sprintf("make %d MiB free, or set XDG_CACHE_HOME", wantedDisk>>20)
	}
	return f
}

// devices makes one of each device that labs are made of, in a namespace that goes with the thread.
func devices() []finding {
	var found []finding
	try := func(what, do string, f func() error) {
		r := finding{What: what, Needed: true, OK: true, Detail: "made and removed"}
		if err := f(); err != nil {
			r.OK, r.Detail, r.Do = false, err.Error(), do
		}
		found = append(found, r)
	}
	_ = vnic.OnOwnThread(func() error {
		try("network namespace", "it needs root, and CONFIG_NET_NS", func() error { return unix.Unshare(unix.CLONE_NEWNET) })
		if !found[0].OK {
			return nil // what follows would make devices in the host's own namespace
		}
		try("TAP", "modprobe tun", tryTAP)
		try("veth", "modprobe veth", func() error { return vnic.NewVeth("doctor-v", vnic.VethPeer{Name: "doctor-w"}) })
		try("BPF", "it needs CONFIG_BPF_SYSCALL, and sch_ingress or clsact", func() error { return vnic.Seal("doctor-w") })
		try("packet socket", "modprobe af_packet", tryPacket)
		try("kernel conntrack", "modprobe nf_conntrack_netlink", func() error {
			_, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			return err
		})
		return nil
	})
	return found
}

func tryTAP() error {
	tap, err := vnic.NewTAP("doctor-t", frame.OffloadNone)
	if err != nil {
		return err
	}
	return tap.Close()
}

func tryPacket() error {
	nic, err := vnic.OpenPacket("doctor-v")
	if err != nil {
		return err
	}
	return nic.Close()
}

// programs looks for what Debian's packages bring.
func programs() []finding {
	var found []finding
	for _, p := range []struct {
		program, pkg string
		needed       bool
	}{
		{"busybox", "busybox-static", true},
		{"nft", "nftables", true},
		{"conntrack", "conntrack", true},
		{"ip", "iproute2", true},
		{"tcpdump", "tcpdump", true},
		{"iperf3", "iperf3", true},
		{"qemu-system-x86_64", "qemu-system-x86", false},
	} {
		f := finding{What: p.program, Needed: p.needed}
		if path, err := exec.LookPath(p.program); err == nil {
			f.OK, f.Detail = true, path
		} else {
			f.Detail, f.Do = "not installed", "apt-get install "+p.pkg
		}
		found = append(found, f)
	}
	return found
}

// images makes the guest image, if it is not cached, and boots a guest with it to learn whether KVM is one.
func images(ctx context.Context, progress func(string)) []finding {
	f := finding{What: "guest image", Needed: true}
	how := "cached"
	img, err := guest.EnsureImage(ctx, guest.ImageOptions{Progress: func(what string) {
		how = "made just now, and cached"
		progress(what)
	}})
	if err != nil {
		f.Detail = err.Error()
		return []finding{f}
	}
	defer img.LetGo()
	f.OK, f.Detail = true, fmt.Sprintf("kernel %s, %s as %.12s", img.Release, how, img.Key)
	k := finding{What: "KVM"}
	accel, why, err := guest.ProbeAccel(ctx, img)
	if err != nil {
		why = err.Error()
	}
	if k.OK, k.Detail = err == nil && accel == guest.KVM, why; !k.OK {
		k.Do = "guests are emulated instead, which is slower: there is nothing to do"
	}
	u := finding{What: "user namespaces", OK: true, Detail: "root of a namespace guest is nobody on this machine (an appliance's is not)"}
	if err := guest.TryUserSpaces(ctx, img); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		u.OK, u.Detail = false, first
		u.Do = "namespace guests are root of this machine then, with few capabilities; sysctl user.max_user_namespaces, or use QEMU guests"
	}
	return []finding{f, k, u}
}
