package course

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

// progress is what a lab's state folder remembers of its student.
type progress struct {
	Tries    map[string]int      `json:"tries"`     // failed ones, by task
	Facts    map[string][]string `json:"facts"`     // what the last try of a task has observed
	Passed   map[string]bool     `json:"passed"`    // tasks that passed when they were tried last
	Bought   map[string][]int    `json:"hints"`     // hints that were asked for, by task
	Shown    map[string][]int    `json:"shown"`     // hints that a check has given by itself, by task
	Answers  map[string][]string `json:"answers"`   // by name
	OwnMoves []uint64            `json:"own_moves"` // epochs of changes of placement that checks have made
	file     *os.File            // locked
}

const (
	progressFile = "progress.json"
	maxProgress  = 1 << 20 // bytes
	maxMoves     = 1000
)

// openProgress reads what is remembered, and keeps others from it until it is closed: one check runs at a time in a
// lab.
func openProgress(lab string) (*progress, error) {
	dir, err := control.LabDir(lab)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, progressFile), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Errorf(fault.BadInput, "no lab %s is deployed here; see: sluice lab ls", lab)
	}
	if err != nil {
		return nil, fmt.Errorf("open the progress of %s: %w", lab, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.Errorf(fault.BadInput, "another check of lab %s runs: wait until it has ended", lab)
	}
	p := &progress{Tries: map[string]int{}, Passed: map[string]bool{}, Facts: map[string][]string{}, Bought: map[string][]int{}, Shown: map[string][]int{}, Answers: map[string][]string{}, file: f}
	info, err := f.Stat()
	if err == nil && info.Size() > maxProgress {
		err = fmt.Errorf("it has %d bytes", info.Size())
	}
	if err == nil && info.Size() > 0 {
		err = json.NewDecoder(io.LimitReader(f, maxProgress)).Decode(p)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read the progress of %s: %w", lab, err)
	}
	return p, nil
}

// save writes what is remembered. Whatever ends in between leaves a file that cannot be read rather than a wrong one.
func (p *progress) save() error {
	p.OwnMoves = p.OwnMoves[max(0, len(p.OwnMoves)-maxMoves):]
	b, err := json.Marshal(p)
	if err == nil {
		err = p.file.Truncate(0)
	}
	if err == nil {
		_, err = p.file.WriteAt(b, 0)
	}
	if err != nil {
		return fmt.Errorf("remember the progress: %w", err)
	}
	return nil
}

func (p *progress) close() { p.file.Close() }

// show remembers what a check has given by itself.
func (p *progress) show(task string, hints []int) {
	for _, i := range hints {
		if !slices.Contains(p.Shown[task], i) {
			p.Shown[task] = append(p.Shown[task], i)
		}
	}
}

// buy remembers that a hint was asked for.
func (p *progress) buy(task string, hint int) {
	if !slices.Contains(p.Bought[task], hint) {
		p.Bought[task] = append(p.Bought[task], hint)
	}
}
