package bench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where the figures come from.
type Machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Kernel   string            `json:"kernel"`
	System   string            `json:"system"`
	Go       string            `json:"go"`
	Load     string            `json:"load"`               // averages over 1, 5 and 15 minutes when the run began
	Packages map[string]string `json:"packages,omitempty"` // Debian package, version
}

func thisMachine(ctx context.Context) (Machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Machine{}, err
	}
	m := Machine{CPU: fileField("/proc/cpuinfo", "model name", ":"), Cores: runtime.NumCPU(),
		Kernel: string(bytes.TrimRight(u.Release[:], "\x00")),
		System: strings.Trim(fileField("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Go:     strings.TrimPrefix(runtime.Version(), "go"), Packages: map[string]string{}}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return Machine{}, err
	}
	m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	for _, name := range []string{"openvswitch-switch", "vde2", "iperf3", "nftables"} {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", name).Output()
		if err == nil && len(out) > 0 {
			m.Packages[name] = string(out)
		}
	}
	return m, nil
}

// fileField is the value of the first line of a file that begins with the key; empty where there is none.
func fileField(path, key, separator string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
