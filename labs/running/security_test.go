package running_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/vnic/roottest"
	"sluice/vswitch/control"
)

const securityPage = "../../docs/security.md"

// securityTable reads the page's table whose first column has a heading: rows by the first column, cells by their
// column's heading.
func securityTable(t *testing.T, first string) (rows []map[string]string) {
	t.Helper()
	b, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 {
			head = nil
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		cells = cells[1 : len(cells)-1]
		switch {
		case cells[0] == first:
			head = cells
		case head != nil && !strings.HasPrefix(cells[0], "---"):
			row := map[string]string{}
			for i, c := range cells {
				row[head[i]] = c
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("no table of %q in %s", first, securityPage)
	}
	return rows
}

// TestSecurityPage: what is said to show a thing is a test of this tree. TestSwitch/PushRefused is a case of a suite.
func TestSecurityPage(t *testing.T) {
	there := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func ((?:[Tt]est|Fuzz)\w+)\(`)
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range name.FindAllStringSubmatch(string(b), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range securityTable(t, "who") {
		tests := strings.Fields(row["shown by"])
		if len(tests) == 0 {
			t.Errorf("%s cannot %s: no test shows it", row["who"], row["cannot"])
		}
		for _, test := range tests {
			top, inSuite, split := strings.Cut(test, "/")
			if !there[top] || split && !there["test"+inSuite] {
				t.Errorf("%s cannot %s: there is no test %s", row["who"], row["cannot"], test)
			}
		}
	}
}

func TestRootSecurityTable(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	lab := testSecurityTable(t, "netns", "user", map[string]int{"lab process": 1, "namespace guest": 3, "namespace appliance": 1}) // iperf3 is one of a guest's
	testAttacks(t, lab)
}

func TestRootSecurityTableKernelEngine(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	testSecurityTable(t, "netns", "kernel", map[string]int{"lab process, kernel engine": 1, "namespace guest": 3, "namespace appliance": 1})
}

func TestLabSecurityTable(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	testSecurityTable(t, "qemu", "user", map[string]int{"lab process": 1, "QEMU": 3})
}

// testSecurityTable deploys a lab from a shell that has all kinds of things that a lab must not take from it, and
// compares every process of the lab with its row.
func testSecurityTable(t *testing.T, kind, engine string, want map[string]int) (lab string) {
	rows := map[string]map[string]string{}
	for _, row := range securityTable(t, "process") {
		rows[row["process"]] = row
	}
	lab = deployFromOddShell(t, kind, engine)
	info := inspectLab(t, lab)
	const look = "cat /proc/1/fd/41 /proc/self/fd/41 2>/dev/null; tr '\\0' '\\n' </proc/self/environ; umask; ulimit -c; true"
	if r := inGuest(t, lab, "client", "", "sh", "-c", look); r.code != 0 || strings.Contains(r.stdout+r.stderr, "hunter2") || strings.Contains(r.stdout, "SLUICE_") || !strings.Contains(r.stdout, "0022\n0\n") {
		t.Errorf("a command in a guest: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	found := map[string]int{}
	for _, pid := range labProcesses(t, lab) {
		p := readProcess(t, pid)
		role := p.role(info)
		if rows[role] == nil {
			t.Errorf("process %d (%s) is in no row", pid, p.command)
			continue
		}
		found[role]++
		p.compare(t, role, rows[role])
	}
	if !maps.Equal(found, want) {
		t.Errorf("processes: %v, want %v", found, want)
	}
	testBundle(t, lab)
	return lab
}

// testBundle packs what a maintainer needs to know of a running lab, and looks for what nobody needs to know.
func testBundle(t *testing.T, lab string) {
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	must(t, "doctor", "--bundle", file, "--lab", lab)
	names, err := exec.Command("tar", "tzf", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"lab.yaml", "deployed.json", "lab.log", "events.log", "inspect.json", "receipts.json", "policy.yaml", "stats.json",
	} {
		if !strings.Contains(string(names), "sluice/labs/"+lab+"/"+want+"\n") {
			t.Errorf("no %s in the bundle:\n%s", want, names)
		}
	}
	all, err := exec.Command("tar", "xzOf", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "SECRET", "/root/", ".missing"} {
		if strings.Contains(string(all)+string(names), secret) {
			t.Errorf("%q is in the bundle", secret)
		}
	}
}

// deployFromOddShell deploys a lab with a secret file and a held lock as open descriptors, secrets in the environment,
// signals ignored, limits lowered and an umask of nothing.
func deployFromOddShell(t *testing.T, kind, engine string) string {
	t.Helper()
	lab := fmt.Sprintf("sl-security-%s-%s-%d", kind, engine, os.Getpid())
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret, lock := filepath.Join(dir, "secret"), filepath.Join(dir, "lock")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `exec 41<>"$1" 9>"$2"; flock 9; trap "" HUP TSTP TTIN QUIT; ulimit -S -c unlimited; ulimit -S -t 1000; umask 0777
		exec setarch "$(uname -m)" -R nice -n 3 "$3" lab deploy fast-vs-slow --guests "$4" --name "$5" --engine "$6"`
	cmd := exec.Command("bash", "-c", script, "bash", secret, lock, path, kind, lab, engine)
	cmd.Env = append(environ(t), "SLUICE_SECRET=hunter2", "AWS_SECRET_ACCESS_KEY=hunter2", "LD_LIBRARY_PATH=hunter2")
	out, err := cmd.CombinedOutput()
	t.Cleanup(func() { must(t, "lab", "destroy", lab) })
	if err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	if out, err := exec.Command("flock", "-n", lock, "true").CombinedOutput(); err != nil {
		t.Errorf("the shell's lock is held by the lab: %v %s", err, out)
	}
	return lab
}

// labProcesses are the processes in a lab's network namespaces.
func labProcesses(t *testing.T, lab string) (pids []int) {
	t.Helper()
	spaces := spacesOf(t, lab)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if ns, _ := os.Readlink(p + "/ns/net"); spaces[ns] {
			pid, _ := strconv.Atoi(filepath.Base(p))
			pids = append(pids, pid)
		}
	}
	return pids
}

// process is what /proc shows of one.
type process struct {
	pid     int
	command string
	status  map[string]string
	own     []string // namespaces that are not this test's
	files   []string
	env     []string
}

func readProcess(t *testing.T, pid int) *process {
	t.Helper()
	at := fmt.Sprintf("/proc/%d/", pid)
	p := &process{pid: pid, status: map[string]string{}}
	line, _ := os.ReadFile(at + "cmdline")
	p.command = strings.ReplaceAll(string(line), "\x00", " ")
	b, err := os.ReadFile(at + "status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		p.status[k] = strings.Join(strings.Fields(v), " ")
	}
	for _, kind := range []string{"net", "pid", "mnt", "uts", "ipc", "user", "cgroup"} {
		theirs, err := os.Readlink(at + "ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if ours, _ := os.Readlink("/proc/self/ns/" + kind); ours != theirs {
			p.own = append(p.own, kind)
		}
	}
	fds, err := os.ReadDir(at + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(at + "fd/" + fd.Name()); err == nil {
			p.files = append(p.files, to)
		}
	}
	env, err := os.ReadFile(at + "environ")
	if err != nil {
		t.Fatal(err)
	}
	for v := range strings.SplitSeq(strings.Trim(string(env), "\x00"), "\x00") {
		name, _, _ := strings.Cut(v, "=")
		p.env = append(p.env, name)
	}
	return p
}

// role is the process's row.
func (p *process) role(info control.LabInfo) string {
	switch {
	case p.pid == info.PID && info.Engine == "kernel":
		return "lab process, kernel engine"
	case p.pid == info.PID:
		return "lab process"
	case strings.Contains(p.command, "qemu-system"):
		return "QEMU"
	case slices.Contains(p.own, "user"):
		return "namespace guest"
	case slices.Contains(p.own, "pid"):
		return "namespace appliance"
	}
	return ""
}

func (p *process) compare(t *testing.T, role string, row map[string]string) {
	t.Helper()
	differs := func(what, got, want string) {
		if got != want {
			t.Errorf("%s %d (%s): %s %q, the table says %q", role, p.pid, p.command, what, got, want)
		}
	}
	differs("no_new_privs", p.status["NoNewPrivs"], row["no_new_privs"])
	differs("seccomp", p.status["Seccomp"], row["seccomp"])
	differs("namespaces", strings.Join(p.own, " "), row["namespaces"])
	differs("permitted capabilities", capabilityNames(t, p.status["CapPrm"]), row["capabilities"])
	differs("effective capabilities", capabilityNames(t, p.status["CapEff"]), row["capabilities"])
	differs("inheritable capabilities", capabilityNames(t, p.status["CapInh"]), "none")
	differs("umask", p.status["Umask"], "0022")
	if role != "QEMU" {
		differs("bounding set", capabilityNames(t, p.status["CapBnd"]), row["capabilities"])
	}
	user := "own"
	if strings.HasPrefix(p.status["Uid"], "0 ") {
		user = "root"
	}
	differs("user", user, row["user"])
	if ignored, err := strconv.ParseUint(p.status["SigIgn"], 16, 64); err != nil || ignored&^(1<<12) != 0 { // QEMU ignores SIGPIPE
		t.Errorf("%s: ignores signals %s", role, p.status["SigIgn"])
	}
	for _, f := range p.files {
		if word := fileWord(f); !slices.Contains(strings.Fields(row["descriptors"]), word) {
			t.Errorf("%s %d (%s) has %s open (%s), which the table does not say", role, p.pid, p.command, f, word)
		}
	}
	for _, name := range p.env {
		if !slices.Contains(strings.Fields(row["variables"]), name) {
			t.Errorf("%s %d (%s) has the variable %s, which the table does not say", role, p.pid, p.command, name)
		}
	}
	p.compareRest(t, role)
}

// compareRest looks at what the page says of all processes: where they run, on what terminal, and what they leave of a
// crash.
func (p *process) compareRest(t *testing.T, role string) {
	t.Helper()
	at := fmt.Sprintf("/proc/%d/", p.pid)
	if dir, err := os.Readlink(at + "cwd"); err == nil && dir != "/" {
		t.Errorf("%s %d runs in %s", role, p.pid, dir)
	}
	stat, err := os.ReadFile(at + "stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if tty := fields[4]; tty != "0" { // tty_nr of proc(5), the 7th
		t.Errorf("%s %d has terminal %s", role, p.pid, tty)
	}
	if nice := fields[16]; nice != "3" { // the 19th: the shell's
		t.Errorf("%s %d has niceness %s", role, p.pid, nice)
	}
	for file, want := range map[string]string{"personality": "00000000\n", "cgroup": ""} {
		if want == "" {
			own, _ := os.ReadFile("/proc/self/" + file)
			want = string(own)
		}
		if got, err := os.ReadFile(at + file); err != nil || string(got) != want {
			t.Errorf("%s %d: %s is %q, %v; want %q", role, p.pid, file, got, err, want)
		}
	}
	if blocked := blockedEverywhere(t, p.pid); role != "QEMU" && blocked != 0 { // QEMU takes signals by a descriptor
		t.Errorf("%s %d (%s) blocks signals %x in all threads", role, p.pid, p.command, blocked)
	}
	limits, err := os.ReadFile(at + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Max core file size 0 0 bytes", "Max cpu time unlimited unlimited seconds"} {
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), want) {
			t.Errorf("%s %d: no %q in its limits", role, p.pid, want)
		}
	}
	oom, err := os.ReadFile(at + "oom_score_adj")
	if want := map[bool]string{true: "0\n", false: "300\n"}[strings.HasPrefix(role, "lab process")]; err != nil || string(oom) != want {
		t.Errorf("%s %d: oom_score_adj %q, %v; want %q", role, p.pid, oom, err, want)
	}
}

// blockedEverywhere are the signals that all threads of a process block, as they do what its starter blocked: Go parks
// a first thread that it has no use for with all signals blocked.
func blockedEverywhere(t *testing.T, pid int) uint64 {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %v", pid, err)
	}
	all := ^uint64(0)
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		_, after, _ := strings.Cut(string(b), "SigBlk:")
		mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 16, 64)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all &= mask
	}
	return all
}

// fileWord is the page's word for what a descriptor is of.
func fileWord(to string) string {
	for _, w := range []struct{ word, pattern string }{
		{"null", `^/dev/null$`}, {"socket", `^socket:`}, {"pipe", `^pipe:`}, {"tun", `^/dev/net/tun$`}, {"kvm", `^/dev/kvm$|^anon_inode:kvm-`},
		{"bpf", `^anon_inode:(bpf[-_]|btf$)`}, {"namespace", `^net:\[\d+\]$`}, {"eventpoll", `^anon_inode:\[eventpoll\]$`}, {"eventfd", `^anon_inode:\[eventfd\]$`}, {"signalfd", `^anon_inode:\[signalfd\]$`},
		{"pidfd", `^anon_inode:\[pidfd\]$|^pidfd:`}, {"quota", `^/sys/fs/cgroup/.*cpu\.(cfs_quota_us|cfs_period_us|max)$`},
		{"template", `^/memfd:sluice-template-[0-9a-f]+ \(deleted\)$`},
		{"image", `/images/[0-9a-f]+$`}, {"initrd", `/images/[0-9a-f]+/initrd$`}, {"kernel", `/kernel/boot/vmlinuz-[^/]+$`},
		{"terminal", `^/dev/pt`}, {"lab.log", `/lab\.log$`}, {"events.log", `/events\.log$`}, {"boot.log", `/boot\.log$`}, {"lock", `/lock$`},
	} {
		if regexp.MustCompile(w.pattern).MatchString(to) {
			return w.word
		}
	}
	return "something else"
}

// capabilityNames are the names of a set as /proc has it, in the order of their numbers
// (include/uapi/linux/capability.h).
func capabilityNames(t *testing.T, set string) string {
	t.Helper()
	bits, err := strconv.ParseUint(set, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service " +
		"net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice " +
		"sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm " +
		"block_suspend audit_read perfmon bpf checkpoint_restore")
	var names []string
	for n := range 64 {
		if bits&(1<<n) == 0 {
			continue
		}
		if n >= len(all) {
			names = append(names, fmt.Sprint(n))
			continue
		}
		names = append(names, all[n])
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}
