package guest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"sluice/labs/guest/agent"
)

const qemuProgram, qemuPackage = "qemu-system-x86_64", "qemu-system-x86"

// qemuUIDs is where the users begin as whom QEMU runs: one for each guest, so that none can trace another. Nobody else
// has a number as high.
const qemuUIDs = 0x51000000

// qemuSandbox lets QEMU make no process and gain no right.
const qemuSandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// kernelArgs make the guest's kernel quick to boot: it has no hardware to look for, no clock to doubt, and no neighbour
// on its CPU to be protected from. A panic ends it, so that somebody notices.
const kernelArgs = "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check tsc=reliable " +
	"random.trust_cpu=on random.trust_bootloader=on rcupdate.rcu_expedited=1 audit=0 selinux=0 apparmor=0 nokaslr " +
	"cryptomgr.notests noreplace-smp net.ifnames=0 8250.nr_uarts=1"

// startQEMU starts a guest's QEMU. It opens no file by a path of ours: what it needs it inherits, because it runs as a
// user that may read nothing. What QEMU and the guest's serial line say comes by said, which ends with QEMU.
func startQEMU(s *Spec, from origin) (cmd *exec.Cmd, said *os.File, err error) {
	path, err := exec.LookPath(qemuProgram)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: apt-get install %s", ErrMissing, qemuPackage)
	}
	q := &qemu{user: credential(s)}
	defer q.close()
	if said, err = q.openLog(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe for the boot log: %w", err)
	}
	defer func() {
		if err != nil {
			said.Close()
		}
	}()
	if err := q.arguments(s, from); err != nil {
		return nil, nil, err
	}
	cmd = exec.Command(path, q.args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Stdout, cmd.Stderr = q.log, q.log
	cmd.ExtraFiles = q.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: q.user}
	if err := startBound(cmd); err != nil {
		return nil, nil, fmt.Errorf("start QEMU: %w", err)
	}
	// Where memory is short a guest ends before its lab does. That is a wish: a guest that has ended already is told of
	// elsewhere.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte(strconv.Itoa(agent.OOM)), 0)
	return cmd, said, nil
}

// credential is the user that QEMU runs as; it is in the group that owns /dev/kvm only where it needs that.
func credential(s *Spec) *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", s.Lab, s.Name)
	id := qemuUIDs + h.Sum32()%0x1000000
	c := &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	if gid, ok := kvmGroup(); s.Accel == KVM && ok {
		c.Groups = []uint32{gid}
	}
	return c
}

// qemu collects QEMU's arguments and the files it inherits.
type qemu struct {
	args  []string
	files []*os.File
	owned []*os.File // to be closed here once QEMU has them
	log   *os.File
	user  *syscall.Credential // nil: our own
}

func (q *qemu) add(args ...string) { q.args = append(q.args, args...) }

// inherit gives a file to QEMU and says its number there.
func (q *qemu) inherit(f *os.File) string {
	q.files = append(q.files, f)
	return strconv.Itoa(2 + len(q.files))
}

func (q *qemu) close() { closeFiles(q.owned) }

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// arguments have the guest give back the pages that it does not use, where its memory is QEMU's own: in a sealed file
// nobody makes holes. They are in the order in which QEMU numbers devices: a clone's must be those of its template.
func (q *qemu) arguments(s *Spec, from origin) error {
	q.add("-name", s.Lab+"/"+s.Name, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-sandbox", qemuSandbox,
		"-smp", strconv.Itoa(s.cpus()), "-global", plugsByPort)
	if s.Accel == KVM {
		q.add("-accel", "kvm", "-cpu", "host")
	} else {
		q.add("-accel", "tcg,tb-size="+translatedMiB, "-cpu", emulatedCPU)
	}
	q.addMemory(s.memory(), from)
	if err := q.addKernel(s.Image); err != nil {
		return err
	}
	if err := q.addLines(s.Dir); err != nil {
		return err
	}
	if err := q.addNICs(s, from); err != nil {
		return err
	}
	if from.memory == nil {
		q.add("-device", "virtio-balloon-pci,free-page-reporting=on")
	}
	return nil
}

// machineType is a PC without what a guest does not use.
const machineType = "q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off,graphics=off,i8042=off"

// plugsByPort has a root port tell the guest's kernel of a card that is plugged in, as on a real machine. By default
// ACPI does, and to interpret its code is a tenth of all that an emulated guest does until it is ready.
const plugsByPort = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"

// emulatedCPU is the plainest processor of 64 bits, with random numbers: what the richest one (max) has beside, such as
// five levels of page tables, makes emulation slower by a seventh to a quarter.
const emulatedCPU = "qemu64,rdrand=on"

// translatedMiB bounds what QEMU keeps of the code that it has translated: a guest of ours runs little code. Without a
// bound it keeps up to 1 GiB.
const translatedMiB = "64"

// addMemory says where the guest's memory lies. What is in a file of its own stays out of its state.
func (q *qemu) addMemory(mib int, from origin) {
	q.add("-m", strconv.Itoa(mib))
	if from.memory == nil {
		q.add("-machine", machineType)
		return
	}
	share := "on"
	if from.clone() {
		share = "off"
		q.add("-incoming", "defer")
	}
	q.add("-machine", machineType+",memory-backend=ram", "-object",
		fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=/proc/self/fd/%s,share=%s", mib, q.inherit(from.memory), share))
}

// addNICs gives each vNIC a port of its own, as those of a clone need, which are plugged in while it runs.
func (q *qemu) addNICs(s *Spec, from origin) error {
	for i := range s.ports() {
		q.add("-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", i, i+1, i+1))
	}
	if from.template() {
		return nil
	}
	for i, n := range s.NICs {
		if n.TAP == nil {
			return fmt.Errorf("vNIC %s has no TAP", n.Name)
		}
		q.add("-netdev", fmt.Sprintf("tap,id=nic%d,fd=%s,vhost=off", i, q.inherit(n.TAP)))
		if from.clone() {
			continue
		}
		device, err := json.Marshal(s.nicDevice(i, false))
		if err != nil {
			return err
		}
		q.add("-device", string(device))
	}
	return nil
}

func (q *qemu) addKernel(img *Image) error {
	for _, f := range []struct{ flag, path string }{{"-kernel", img.Kernel}, {"-initrd", img.Initrd}} {
		file, err := os.Open(f.path)
		if err != nil {
			return fmt.Errorf("open image: %w", err)
		}
		q.owned = append(q.owned, file)
		q.add(f.flag, "/proc/self/fd/"+q.inherit(file))
	}
	q.add("-append", kernelArgs)
	return nil
}

// addLines adds the agent's line, the console and the monitor: sockets that listen already, so that QEMU needs no right
// to make them and only our user may connect.
func (q *qemu) addLines(dir string) error {
	fds := map[string]string{}
	for _, name := range []string{agentSocket, consoleSocket, monitorSocket} {
		f, err := listenUnix(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("listen on %s: %w", name, err)
		}
		q.owned = append(q.owned, f)
		fds[name] = q.inherit(f)
	}
	q.add(
		"-chardev", "socket,id=agent,server=on,wait=off,fd="+fds[agentSocket],
		"-device", "virtio-serial-pci,max_ports=2", "-device", "virtserialport,chardev=agent,name="+agent.PortName,
		"-chardev", fmt.Sprintf("socket,id=console,server=on,wait=off,fd=%s,logfile=/proc/self/fd/%s,logappend=on", fds[consoleSocket], q.inherit(q.log)),
		"-serial", "chardev:console",
		"-chardev", "socket,id=monitor,server=on,wait=off,fd="+fds[monitorSocket],
		"-mon", "chardev=monitor,mode=control")
	return nil
}

// openLog makes the pipe by which QEMU says what there is to say: a guest may write to its console without end, so it
// writes no file. The pipe's end is QEMU's own, which opens it again for the serial line.
func (q *qemu) openLog() (said *os.File, err error) {
	said, log, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	q.log, q.owned = log, append(q.owned, log)
	if q.user == nil {
		return said, nil
	}
	if err := log.Chown(int(q.user.Uid), int(q.user.Gid)); err != nil {
		said.Close()
		return nil, err
	}
	return said, nil
}

// listenUnix makes a listening socket that only this user may connect to, in place of an old one.
func listenUnix(path string) (*os.File, error) {
	if len(path) > 107 { // sun_path, unix(7)
		return nil, fmt.Errorf("%s is too long for a socket's path", path)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}

// kvmGroup is the group that may open /dev/kvm, if a group may.
func kvmGroup() (gid uint32, ok bool) {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return 0, false
	}
	st, isUnix := info.Sys().(*syscall.Stat_t)
	if !isUnix {
		return 0, false
	}
	everybody := info.Mode().Perm()&0o006 == 0o006
	return st.Gid, everybody || info.Mode().Perm()&0o060 == 0o060 && st.Gid != 0
}
