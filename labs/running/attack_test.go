package running_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// attacks are what a guest's root tries against the machine, each a shell command that must fail.
var attacks = []string{
	"mknod /tmp/disk b 8 0", "mount --bind /dev /mnt", "mount -t proc proc /mnt", "chmod 600 /dev/null", "chown 5 /dev/null", "rm /dev/null",
	"nsenter -t 1 -n true", "unshare -n true", "unshare -r true", "chroot / true", "ls /proc/1/root/", "cat /proc/1/maps", "kill -0 $PPID && kill -9 2",
	"echo 100000 > /proc/sys/kernel/pid_max", "echo -1 > /proc/self/oom_score_adj", "echo c > /proc/sysrq-trigger", "echo 0 > /sys/class/net/lo/mtu",
	"cat /proc/kcore", "test -c /dev/kmsg", "ip netns add x", "setcap cap_net_raw+ep /bin/true",
	"ip link set eth0 netns 1 && ! ip link show eth0", "modprobe dummy",
}

// borrow counts the devices that root of a guest can lay hands on where its cables end: each is the lower device of one
// that it makes.
const borrow = `n=0; for i in $(seq 1 64); do ip link add b$i link if$i link-netnsid 0 type macvlan mode bridge 2>/dev/null && n=$((n+1)); done; echo $n`

// testAttacks is the root of each kind of namespace guest against what docs/security.md says that it cannot. It leaves
// the lab unfit for more.
func testAttacks(t *testing.T, lab string) {
	t.Helper()
	null, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	bound, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	for guest, ends := range map[string]string{"client": "0", "fw": "3"} { // the appliance is root of the host's user namespace: only its own cables are there
		script := ""
		for i, a := range attacks {
			script += fmt.Sprintf("(%s) >/dev/null 2>&1 && echo did %d\n", a, i)
		}
		r := inGuest(t, lab, guest, "", "sh", "-c", script+"true")
		if r.code != 0 {
			t.Errorf("%s: code %d: %s", guest, r.code, r.stderr)
		}
		for line := range strings.Lines(r.stdout) {
			var i int
			if _, err := fmt.Sscanf(line, "did %d", &i); err == nil {
				t.Errorf("root of %s can: %s", guest, attacks[i])
			}
		}
		if r := inGuest(t, lab, guest, "", "sh", "-c", borrow); strings.TrimSpace(r.stdout) != ends {
			t.Errorf("root of %s reaches %s devices at the other end of its cables, want %s: %s", guest, strings.TrimSpace(r.stdout), ends, r.stderr)
		}
	}
	if now, err := os.Stat("/dev/null"); err != nil || now.Mode() != null.Mode() {
		t.Errorf("the machine's /dev/null is %v now, %v", now, err)
	}
	if now, err := os.ReadFile("/proc/sys/kernel/pid_max"); err != nil || string(now) != string(bound) {
		t.Errorf("the machine's pid_max is %s now, %v", now, err)
	}
}
