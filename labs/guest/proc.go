package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// userHz is the unit of times in /proc, the same on every Linux that Sluice runs on.
const userHz = 100

// cpuTime is what processes have used themselves, user and system. One that has gone counts nothing.
func cpuTime(pids []int) (time.Duration, error) {
	var ticks uint64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
		fields := strings.Fields(rest) // from the state on: proc(5) field 3
		const utime, stime = 14 - 3, 15 - 3
		if len(fields) <= stime {
			return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
		}
		for _, i := range []int{utime, stime} {
			n, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / userHz, nil
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

// namespaceOf names the namespace that a process is in, as the kernel does: "net:[4026531840]". It is empty for a process
// that has ended.
func namespaceOf(pid int, kind string) string {
	name, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind))
	if err != nil {
		return ""
	}
	return name
}
