package running_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/firewall/inspect"
)

// losses are the counts of all places on the way from the client's kernel to the server's that may lose a frame,
// whatever the placement, by their names: full queues mostly. A machine that is too slow for its load loses frames
// there.
type losses map[string]int

func (l losses) since(old losses) losses {
	n := losses{}
	for name, v := range l {
		if d := v - old[name]; d != 0 {
			n[name] = d
		}
	}
	return n
}

func (l losses) sum() (n int) {
	for v := range maps.Values(l) {
		n += v
	}
	return n
}

func (l losses) String() string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		s = append(s, fmt.Sprintf("%s %d", name, l[name]))
	}
	return "[" + strings.Join(s, ", ") + "]"
}

// lossesOf reads them. The appliance's inspector is asked where the lab has had one.
func lossesOf(t *testing.T, lab string) losses {
	t.Helper()
	l := losses{}
	for _, p := range statsOf(t, lab).Ports {
		l[p.Name+" missed"] = int(p.NICDrops)
		for _, reason := range []string{"full", "failed", "closing", "io", "not-steered", "replayed", "not-service"} {
			l[p.Name+" "+reason] = int(p.Dropped[reason])
		}
	}
	for _, guest := range []string{"client", "server", "fw"} {
		r := inGuest(t, lab, guest, "", "sh", "-c", "cat /proc/net/dev; cat /proc/net/softnet_stat; tc -s qdisc")
		l.read(t, guest+"'s", r.stdout)
	}
	seen := answerOf[inspect.Report](t, "--lab", lab, "inspections")
	l["inspector"] = int(seen.Overrun + seen.Unsent)
	return l
}

// read takes in what a guest's kernel counts: of each device (net/core/net-procfs.c), of its backlog, and of the queue
// before each device.
func (l losses) read(t *testing.T, whose, text string) {
	t.Helper()
	queue := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 17 && strings.HasSuffix(f[0], ":") && f[0] != "lo:":
			for _, column := range []int{3, 4, 5, 11, 12, 13} { // errors, dropped, fifo: in and out
				l[whose+" "+strings.TrimSuffix(f[0], ":")] += atoi(t, f[column])
			}
		case len(f) > 4 && f[0] == "qdisc":
			queue = f[4]
		case len(f) > 7 && f[0] == "Sent":
			l[whose+" queue of "+queue] += atoi(t, strings.TrimSuffix(f[6], ","))
		case len(f) >= 13 && len(f[1]) == 8 && f[0] != "Sent": // in hexadecimal
			dropped, err := strconv.ParseUint(f[1], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			l[whose+" backlog"] += int(dropped)
		}
	}
}

// count makes a guest's kernel count the stream's datagrams, as they leave its IP or enter it: what a socket loses is
// not the network's.
func count(t *testing.T, lab, guest, hook string) {
	t.Helper()
	r := inGuest(t, lab, guest, "", "nft", "table inet seen { counter datagrams {}; chain c { type filter hook "+hook+"; udp dport 5201 counter name datagrams; }; }")
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
}

// counted is how many there were.
func counted(t *testing.T, lab, guest string) int {
	t.Helper()
	r := inGuest(t, lab, guest, "", "nft", "list counter inet seen datagrams")
	f := strings.Fields(r.stdout)
	at := slices.Index(f, "packets")
	if at < 0 {
		t.Fatalf("%s has counted nothing: %s%s", guest, r.stdout, r.stderr)
	}
	return atoi(t, f[at+1])
}
