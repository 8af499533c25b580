// Package running makes a lab live: it deploys and destroys labs, and is the process that a deployed lab is, with its
// guests, switch and appliance. It reads no lab files (labs/labfile), forwards no frames and decides no verdicts (the
// floors below), and knows nothing of what runs inside a guest (labs/guest).
package running

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/boundlog"
	"sluice/labs/guest"
	"sluice/labs/guest/confine"
	"sluice/labs/labfile"
	"sluice/vswitch/control"
)

// Deploy brings a lab up and returns when its guests are ready. progress is told of each step. Whatever goes wrong, and
// also where ctx ends, nothing of the lab is left.
func Deploy(ctx context.Context, ref string, o Options, progress func(string)) (*labfile.Lab, error) {
	d, l, err := prepare(ref, o)
	if err != nil {
		return nil, err
	}
	defer confine.UsualUmask()()
	dir, lock, err := claim(l.Name, progress)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	defer func() { d.Image.LetGo(); d.templates.close() }() // by now the lab process holds them
	if err := bringUp(ctx, d, l, dir, lock, progress); err != nil {
		why := &fault.Error{Class: ClassOf(err), Message: withLog(dir, err).Error(), Err: err}
		return nil, errors.Join(why, cleanUp(l.Name, dir))
	}
	return l, nil
}

// prepare reads the lab and the options: all that can be wrong with them is said before anything is made.
func prepare(ref string, o Options) (*deployment, *labfile.Lab, error) {
	l, err := labfile.LoadWork(ref, o.Work)
	if err != nil {
		return nil, nil, err
	}
	d := &deployment{Ref: l.Ref, Work: l.Work, Name: l.Name, Placement: l.Placement.String(), Guests: labfile.KindAuto}
	if d.Boot, err = guest.ParseBoot(string(o.Boot)); err != nil {
		return nil, nil, fault.Errorf(fault.BadInput, "--boot: %w", err)
	}
	d.Engine = cmp.Or(o.Engine, EngineUser)
	if err := checkEngine(d.Engine); err != nil {
		return nil, nil, err
	}
	if o.Name != "" {
		d.Name = o.Name
	}
	if o.Placement != "" {
		d.Placement = o.Placement
	}
	if o.Guests != "" {
		d.Guests = o.Guests
	}
	if d.Guests == labfile.KindAuto {
		d.Guests = l.Kind
	}
	if err := labfile.CheckKind(d.Guests); err != nil {
		return nil, nil, err
	}
	if err := control.CheckLabName(d.Name); err != nil {
		return nil, nil, err
	}
	if l.Placement, err = firewall.ParsePlacement(d.Placement); err != nil {
		return nil, nil, fault.Errorf(fault.BadInput, "--placement: %w", err)
	}
	if l.NeedsAppliance() && l.Appliance == nil {
		return nil, nil, fault.Errorf(fault.BadInput, "placement %s needs an appliance, and lab %s has none", d.Placement, d.Name)
	}
	if err := NeedRoot(); err != nil {
		return nil, nil, err
	}
	l.Name = d.Name
	return d, l, nil
}

// NeedRoot is an error for an ordinary user.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return fault.Errorf(fault.Lacks, "labs need root: they are made of network namespaces and TAPs; try sudo")
	}
	return nil
}

// claim makes the lab's state folder and takes its lock. What a crashed lab of that name left is removed first.
func claim(name string, progress func(string)) (dir string, lock *os.File, err error) {
	dir, err = control.LabDir(name)
	if err != nil {
		return "", nil, err
	}
	if err := control.CheckFolder(dir); err != nil {
		return "", nil, err
	}
	left := Present(name)
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		lock, err = lockLab(dir, os.O_RDWR|os.O_CREATE)
	}
	switch {
	case errors.Is(err, errLocked):
		return "", nil, fault.Errorf(fault.BadInput, "lab %s is deployed already: destroy it first, or give this one another --name", name)
	case err != nil:
		err = fault.Errorf(fault.Lacks, "make the state folder: %w", err)
		if !left {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return "", nil, err
	}
	if left {
		progress("removing what a crashed lab left behind")
		if err := clearOut(name, dir); err != nil {
			lock.Close()
			return "", nil, err
		}
	}
	return dir, lock, nil
}

// bringUp does what needs the host's network and disk, then starts the lab process and waits for its word.
func bringUp(ctx context.Context, d *deployment, l *labfile.Lab, dir string, lock *os.File, progress func(string)) (err error) {
	if err := d.choose(ctx, l, progress); err != nil {
		return err
	}
	if err := checkSockets(l, dir); err != nil {
		return err
	}
	if err := d.write(dir); err != nil {
		return fmt.Errorf("write the state folder: %w", err)
	}
	p, err := startLab(dir, lock, d.files())
	if err != nil {
		return err
	}
	defer p.reports.Close()
	ended := make(chan error, 1)
	go func() { ended <- follow(p.reports, progress) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		p.stop()
		return fault.Errorf(fault.Failed, "deploy of %s was interrupted", d.Name)
	}
}

// choose makes the image and settles what guests are: QEMU where it works and was not ruled out.
func (d *deployment) choose(ctx context.Context, l *labfile.Lab, progress func(string)) (err error) {
	d.Image, err = guest.EnsureImage(ctx, guest.ImageOptions{Progress: progress})
	if err != nil {
		return fmt.Errorf("make the guest image: %w", err)
	}
	l.SettleKinds(d.Guests)
	if !l.HasKind(labfile.KindAuto) && !l.HasKind(labfile.KindQEMU) {
		return nil
	}
	d.Accel, _, err = guest.ProbeAccel(ctx, d.Image)
	switch {
	case err == nil:
		progress(accelLine(d.Accel))
		d.Guests = defaultKind(d.Guests, labfile.KindQEMU)
	case l.HasKind(labfile.KindQEMU):
		return fmt.Errorf("run QEMU guests: %w (namespace guests need none: --guests netns)", err)
	default:
		progress("namespace guests instead of QEMU: " + err.Error())
		d.Guests = defaultKind(d.Guests, labfile.KindNetns)
	}
	l.SettleKinds(d.Guests)
	return d.ensureTemplates(ctx, l, progress)
}

// accelLine opens each deploy with QEMU guests: the reason is doctor's, for it is long and does not change.
func accelLine(a guest.Accel) string {
	if a == guest.KVM {
		return "QEMU guests with KVM"
	}
	return "no KVM here: QEMU emulates, which is slower; sluice doctor says why"
}

func defaultKind(asked, kind string) string {
	if asked == labfile.KindAuto {
		return kind
	}
	return asked
}

// checkSockets is an error if a guest's sockets would have too long a path in the state folder.
func checkSockets(l *labfile.Lab, dir string) error {
	for _, g := range l.Machines() {
		if g.Kind != labfile.KindQEMU {
			continue
		}
		if err := control.CheckSocket(guest.LongestSocket(filepath.Join(dir, guestsDir, g.Name))); err != nil {
			return err
		}
	}
	return nil
}

// The files that the lab process inherits, beyond standard input, output and error.
const (
	fdLock = 3 + iota
	fdHostNS
	fdReports
	fdTemplates // and those that follow, as many as the deployment has flavors
)

// runWords are what a lab process is started with, and known by.
var runWords = []string{"lab", "run"}

// labProcess is a lab process as its parent sees it.
type labProcess struct {
	cmd     *exec.Cmd
	reports *os.File
}

// startLab starts the lab process in a new namespace, a session of its own, with its log in the state folder.
func startLab(dir string, lock *os.File, templates []*os.File) (*labProcess, error) {
	dir, err := filepath.Abs(dir) // the lab process has another working folder
	if err != nil {
		return nil, fmt.Errorf("find the state folder: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, LogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lab's log: %w", err)
	}
	defer log.Close()
	host, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("hold the host's namespace: %w", err)
	}
	defer host.Close()
	reports, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", append(slices.Clone(runWords), dir)...)
	cmd.Env = confine.Environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{fdLock - 3: lock, fdHostNS - 3: host, fdReports - 3: theirs}
	cmd.ExtraFiles = append(cmd.ExtraFiles, templates...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inNewNamespace(guest.NSName(onMachine(dir), ""), cmd.Start); err != nil {
		reports.Close()
		return nil, fmt.Errorf("start the lab process: %w", err)
	}
	return &labProcess{cmd: cmd, reports: reports}, nil
}

// stopWait is how long a lab process may take to end by itself before it is killed.
const stopWait = 5 * time.Second

// stop asks the process to end, and waits for it; what it does not do in time is left to cleanUp.
func (p *labProcess) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(stopWait):
	}
}

// maxLog is how much of the log's end is shown when the lab process died, in bytes.
const maxLog = 2000

// withLog adds the end of the lab's log to an error that does not say why.
func withLog(dir string, err error) error {
	if !errors.Is(err, errDied) {
		return err
	}
	b, readErr := boundlog.Tail(filepath.Join(dir, LogFile), maxLog)
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		return errors.Join(err, readErr)
	}
	return fmt.Errorf("%w; the end of its log:\n%s", err, b)
}

// ClassOf is the class of an error. That the machine lacks something is also known by guest's sentinel, or a full disk.
func ClassOf(err error) fault.Class {
	if errors.Is(err, guest.ErrMissing) || errors.Is(err, unix.ENOSPC) {
		return fault.Lacks
	}
	return fault.ClassOf(err)
}
