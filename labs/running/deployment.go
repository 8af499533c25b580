package running

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/labfile"
	"sluice/vswitch/control"
)

// Options are what a user may say at a deploy beyond the lab file.
type Options struct {
	Guests    string       // KindAuto, KindQEMU or KindNetns, for guests whose kind the file leaves open; empty is KindAuto
	Name      string       // instead of the file's
	Placement string       // instead of the file's
	Work      labfile.Work // whose version of the lab
	Boot      guest.Boot   // how QEMU guests come up; empty is guest.BootAuto
	Engine    string       // EngineUser, EngineKernel or EngineAuto; empty is EngineUser
}

// deployment is what the lab process is told. Everything that needs the host's own network or disk (packages, the
// image) is done before, by its parent; the lab process is alone in a namespace without addresses.
type deployment struct {
	Ref       string       `json:"ref"`
	Work      labfile.Work `json:"work"`
	Name      string       `json:"name"`
	Placement string       `json:"placement"`
	Guests    string       `json:"guests"`
	Image     *guest.Image `json:"image"`
	Accel     guest.Accel  `json:"accel"`
	Boot      guest.Boot   `json:"boot"`
	Engine    string       `json:"engine"` // as it was asked for

	Flavors   []guest.Flavor `json:"flavors,omitempty"` // of the templates, in the order in which the lab process inherits them
	templates templates
}

// lab loads what the deployment is of, with the user's options in it.
func (d *deployment) lab() (*labfile.Lab, error) {
	l, err := labfile.LoadWork(d.Ref, d.Work)
	if err != nil {
		return nil, err
	}
	if l.Placement, err = firewall.ParsePlacement(d.Placement); err != nil {
		return nil, err
	}
	l.Name = d.Name
	l.SettleKinds(d.Guests)
	return l, nil
}

// Deployed is the lab that is deployed under a name, as it was deployed: its start.
func Deployed(name string) (*labfile.Lab, error) {
	dir, err := control.LabDir(name)
	if err != nil {
		return nil, err
	}
	d, err := readDeployment(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Errorf(fault.BadInput, "no lab %s is deployed here; see: sluice lab ls", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the deployment of %s: %w", name, err)
	}
	return d.lab()
}

// DeployedAs is how a lab that is deployed can be deployed again.
func DeployedAs(name string) (ref string, o Options, err error) {
	dir, err := control.LabDir(name)
	if err != nil {
		return "", o, err
	}
	d, err := readDeployment(dir)
	if err != nil {
		return "", o, fmt.Errorf("read the deployment of %s: %w", name, err)
	}
	return d.Ref, Options{Guests: d.Guests, Name: d.Name, Placement: d.Placement, Work: d.Work, Boot: d.Boot, Engine: d.Engine}, nil
}

// The files of a lab's state folder, beside the control socket and the lock.
const (
	LogFile        = "lab.log"
	EventsFile     = "events.log"
	deploymentFile = "deployment.json"
	guestsDir      = "guests"
)

// errLocked says that the lab's lock is held: somebody deploys the lab, or its process lives.
var errLocked = errors.New("the lab's lock is held")

// lockLab takes the lock of a state folder. It is held until every copy of the file is closed: the lab process inherits
// one, so the lock ends with the process, however that ends.
func lockLab(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, control.LockName), flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(f.Name()); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
	}
	f.Close() // whoever had the lock has removed the file with the lab, between our opening and locking it
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil, errLocked
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

// Lives says whether the lab's process lives, or is being started.
func Lives(name string) bool {
	dir, err := control.LabDir(name)
	if err != nil {
		return false
	}
	f, err := lockLab(dir, os.O_RDONLY)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, errLocked)
}

// Present says whether anything of a lab is on this machine.
func Present(name string) bool {
	names, err := DeployedNames()
	return err == nil && slices.Contains(names, name)
}

// DeployedNames names every lab of our state root of which something is here: a state folder, or a namespace that
// outlived it.
func DeployedNames() ([]string, error) {
	names, err := control.Labs()
	if err != nil {
		return nil, err
	}
	root, err := control.StateRoot()
	if err != nil {
		return nil, err
	}
	spaces, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("look for namespaces: %w", err)
	}
	for _, e := range spaces {
		name, sluices := strings.CutPrefix(e.Name(), guest.NSName("", ""))
		name, _, _ = strings.Cut(name, ".")
		name, ours := strings.CutSuffix(name, rootMark(root))
		if sluices && ours && control.CheckLabName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (d *deployment) write(dir string) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, deploymentFile), b, 0o600)
}

func readDeployment(dir string) (*deployment, error) {
	b, err := os.ReadFile(filepath.Join(dir, deploymentFile))
	if err != nil {
		return nil, err
	}
	d := &deployment{}
	return d, json.Unmarshal(b, d)
}
