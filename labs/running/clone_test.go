package running_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/vnic/roottest"
)

// looks are what a student may look at in a guest, and finds the same whether it was cloned or booted. What differs is
// in the table of docs/labs.md.
var looks = []string{
	"uname -srm", "hostname", "cat /proc/cmdline", "cut -d' ' -f1 /proc/modules | sort",
	"ip -o -br addr", "ip route | sort; ip -6 route | sort", "ip -o link",
	"ls /dev /etc /root /tmp /var /run", "cut -d' ' -f1-3 /proc/mounts", "env | sort", "ulimit -a", "ss -Hlntu | tr -s ' ' | sort",
	"cat /proc/[0-9]*/comm | grep -v -e kworker -e sh -e cat -e grep -e sort | sort -u",
	"grep MemTotal /proc/meminfo", "grep processor /proc/cpuinfo",
	"sysctl -a 2>/dev/null | grep -v -e random -e ns_last_pid -e nr -e state -e count -e reserve -e cookie -e use-mem -e stable_secret | sort",
	"cat /sys/class/net/*/device/device", "cat /etc/hosts", "nft list ruleset | grep -v -e packets -e '^#' -e comment",
}

// linksUp waits until the guest's kernel calls its vNICs up: it may tell once a second only (net/core/link_watch.c).
const linksUp = "for nic in /sys/class/net/[es]*; do until grep -q up $nic/operstate; do sleep 0.05; done; done"

// next is between two answers.
const next = "== next"

// TestLabCloneLikeBoot looks at the guests of two labs, one cloned and one booted.
func TestLabCloneLikeBoot(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	seen := map[string]map[string]string{}
	for _, boot := range []string{"clone", "cold"} {
		lab := fmt.Sprintf("sl-%s-%d", boot, os.Getpid())
		t.Cleanup(func() { sluice(t, "", "lab", "destroy", lab) })
		must(t, "lab", "deploy", "fast-vs-slow", "--guests", "qemu", "--boot", boot, "--name", lab)
		seen[boot] = map[string]string{}
		for _, guest := range []string{"client", "server", "fw"} {
			inGuest(t, lab, guest, "", "sh", "-c", linksUp)
			said := inGuest(t, lab, guest, "", "sh", "-c", "{ "+strings.Join(looks, "; echo "+next+"; ")+"; } 2>&1").stdout
			answers := strings.Split(said, next+"\n")
			if len(answers) != len(looks) {
				t.Fatalf("%s answers %d of %d looks:\n%s", guest, len(answers), len(looks), said)
			}
			for i, look := range looks {
				seen[boot][guest+": "+look] = answers[i]
			}
		}
	}
	for what, clone := range seen["clone"] {
		if more, less := besides(clone, seen["cold"][what]), besides(seen["cold"][what], clone); more != "" || less != "" {
			t.Errorf("%s\nonly of a clone:\n%s\nonly after a boot:\n%s", what, more, less)
		} else if clone != seen["cold"][what] {
			t.Errorf("%s\nof a clone:\n%s\nafter a boot:\n%s", what, clone, seen["cold"][what])
		}
	}
}

// TestLabBothWays judges the solution of each lab on guests that are cloned, and on guests that boot: the marks are the
// same.
func TestLabBothWays(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Tasks) == 0 {
			continue
		}
		t.Run(l.Name, func(t *testing.T) {
			sideBySide(t)
			var marks, reasons [2]string
			var judging sync.WaitGroup
			for i, boot := range []string{"clone", "cold"} {
				judging.Go(func() {
					var r check.Report
					r, reasons[i] = checkWith(t, l, "qemu", "solution", "--boot", boot)
					for _, x := range r.Results {
						marks[i] += fmt.Sprintln(x.ID, x.Passed, x.Points, x.Of)
					}
				})
			}
			judging.Wait()
			if marks[0] != marks[1] || strings.Contains(marks[0], "false") {
				t.Errorf("cloned:\n%s\nbooted:\n%s", reasons[0], reasons[1])
			}
		})
	}
}

// besides are the lines of a text that another has not.
func besides(text, other string) string {
	there := strings.Split(other, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return slices.Contains(there, l) }), "\n")
}
