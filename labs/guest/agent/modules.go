package agent

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel modules by name, without what they depend on: those that every guest loads at its start, those that the
// appliance loads, and those that modprobe may be asked for later. An image holds them all.
var (
	bootModules      = []string{"virtio_pci", "virtio_console", "virtio_net", "virtio_balloon"}
	applianceModules = []string{
		"nf_tables", "nf_conntrack", "nf_conntrack_netlink", "nft_ct", "nft_limit", "nft_log", "nf_log_syslog", "nft_reject_inet",
		"geneve", "bridge", "nf_conntrack_bridge", "nft_reject_bridge", // the tunnel's far end
	}
	otherModules = []string{
		"crc32c_generic", "nft_reject_ipv4", "nft_reject_ipv6", "nft_meta_bridge", "nft_queue", "nft_nat", "nft_masq",
		"nft_redir", "nft_chain_nat", "nft_hash", "nft_numgen", "nft_objref", "nft_quota", "nft_connlimit", "nft_fib_inet", "nft_fwd_netdev",
		"nft_dup_netdev", "nf_conntrack_ftp", "nf_conntrack_tftp", "nfnetlink_queue", "nfnetlink_log", "veth", "tun", "dummy", "virtio_rng",
		"inet_diag", "tcp_diag", "udp_diag", "sch_ingress", "cls_bpf", "act_bpf", "sch_netem", "sch_tbf", "sch_htb",
	}
)

// Modules are the kernel modules that an image needs, without what they depend on. Only the first required ones must be
// in the kernel's package; the rest are put in where they are.
func Modules() (required, optional []string) {
	return append(append([]string{}, bootModules...), applianceModules...), otherModules
}

// loadModules loads modules and, before each, what it depends on, as modules.dep of the image says.
func loadModules(names ...string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	dir := filepath.Join("/lib/modules", unix.ByteSliceToString(u.Release[:]))
	deps, err := readDeps(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	for _, name := range names {
		files, ok := deps[name]
		if !ok {
			return fmt.Errorf("no module %s in this image", name)
		}
		for i := len(files) - 1; i >= 0; i-- {
			if err := loadModule(filepath.Join(dir, files[i])); err != nil {
				return fmt.Errorf("load %s: %w", files[i], err)
			}
		}
	}
	return nil
}

// readDeps reads modules.dep: for each module its file and, after it, those it depends on, the deepest last.
func readDeps(path string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	deps := map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, needs, _ := strings.Cut(lines.Text(), ":")
		deps[ModuleName(file)] = append([]string{file}, strings.Fields(needs)...)
	}
	return deps, lines.Err()
}

// ModuleName is a module's name by its file's.
func ModuleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// loadModule loads a module, unless it is there already: the kernel would read all of it before it says so.
func loadModule(path string) error {
	if _, err := os.Stat(filepath.Join("/sys/module", ModuleName(path), "initstate")); err == nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
