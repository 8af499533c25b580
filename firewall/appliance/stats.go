package appliance

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Stats is what the appliance counts since it booted.
type Stats struct {
	Flows     int           `json:"flows"`     // conntrack entries now
	Capacity  int           `json:"capacity"`  // conntrack entries at most
	Inserted  uint64        `json:"inserted"`  // entries made by packets
	Dropped   uint64        `json:"dropped"`   // packets dropped because no entry could be made, table-full included
	Invalid   uint64        `json:"invalid"`   // packets that conntrack could not place
	Forwarded uint64        `json:"forwarded"` // IP packets routed, both families
	Busy      time.Duration `json:"busy_ns"`   // of the CPUs; of the whole host's where the appliance is a namespace
}

// Stats reads the counters.
func (a *Appliance) Stats() (Stats, error) {
	s, err := a.flowStats()
	if err != nil {
		return s, err
	}
	v4, err := snmp("/proc/net/snmp", "Ip:", "ForwDatagrams")
	if err != nil {
		return s, err
	}
	v6, err := snmp6("/proc/net/snmp6", "Ip6OutForwDatagrams")
	if err != nil {
		return s, err
	}
	s.Forwarded = v4 + v6
	s.Busy, err = busy()
	return s, err
}

func (a *Appliance) flowStats() (Stats, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.conn()
	if err != nil {
		return Stats{}, err
	}
	table, err := c.StatsGlobal()
	if err != nil {
		return Stats{}, fmt.Errorf("count flows: %w", err)
	}
	s := Stats{Flows: int(table.Entries), Capacity: int(table.MaxEntries)}
	cpus, err := c.Stats()
	if err != nil {
		return s, fmt.Errorf("read conntrack's counters: %w", err)
	}
	for _, cpu := range cpus {
		s.Inserted += uint64(cpu.Insert)
		s.Dropped += uint64(cpu.Drop) + uint64(cpu.InsertFailed)
		s.Invalid += uint64(cpu.Invalid)
	}
	return s, nil
}

// snmp reads one value of a file whose lines come in pairs, names and values, as /proc/net/snmp.
func snmp(path, group, name string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name && i < len(fields) {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("%s: no %s %s", path, group, name)
}

// snmp6 reads one value of a file with a name and a value on each line, as /proc/net/snmp6.
func snmp6(path, name string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == name {
			return strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}

// userHz is the unit of /proc/stat, the same on every Linux that Sluice runs on.
const userHz = 100

// busy is the CPUs' time in anything but idling and waiting for disks (proc(5), /proc/stat).
func busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks uint64
	for i, field := range strings.Fields(line) {
		const idle, iowait, guest = 4, 5, 9 // guest time is in user time, too
		if i == 0 || i == idle || i == iowait || i >= guest {
			continue
		}
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHz, nil
}
