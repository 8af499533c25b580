package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// userHz is the unit of times in /proc, the same on every Linux that Sluice runs on.
const userHz = 100

// cpuTime is what processes have used, and the children that they have waited for: user and system, to a tick of 1/100
// s. Of a whole PID namespace that is everything that ever ran in it, because its init waits for orphans. It lacks
// children whose parent ignores SIGCHLD, and for this one look a child that ends after its parent was read and before
// it was read itself.
func cpuTime(pids []int) (time.Duration, error) {
	var ticks uint64
	for _, pid := range pids {
		fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		for _, i := range []int{statUser, statSystem, statChildUser, statChildSystem} {
			n, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / userHz, nil
}

// Fields of /proc/PID/stat (proc(5)), counted from the state, the first after the name.
const (
	statState       = 0
	statUser        = 14 - 3
	statSystem      = 15 - 3
	statChildUser   = 16 - 3
	statChildSystem = 17 - 3
)

// statFields reads a stat file. The name of the program may hold anything, so it is cut off by its last parenthesis.
func statFields(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= statChildSystem {
		return nil, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	return fields, nil
}

// moves says whether any thread of a process may still run: it is neither stopped nor dead.
func moves(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(stats, func(path string) bool {
		fields, err := statFields(path)
		return err == nil && !strings.Contains("TtZX", fields[statState])
	})
}

// processes are the host's processes by their number, those of other users included.
func processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// namespaceOf names the namespace that a process is in, as the kernel does: "net:[4026531840]". It is empty for a
// process that has ended.
func namespaceOf(pid int, kind string) string {
	name, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind))
	if err != nil {
		return ""
	}
	return name
}
