package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sluice/labs/guest/agent"
	"sluice/labs/guest/memory"
)

// makeTemplate boots a guest of a flavor without vNICs, stops it, and takes what it is. The lock of its key is held:
// what lies in its folder is of a process that has died.
func makeTemplate(ctx context.Context, img *Image, flavor Flavor, key string) (*os.File, error) {
	dir := filepath.Join(turnsDir, "template-"+key) // short: sockets are in it
	defer os.RemoveAll(dir)
	spec := Spec{
		Lab: "template", Name: key, Kind: QEMU, Dir: dir, Image: img,
		MemoryMiB: flavor.MemoryMiB, CPUs: flavor.CPUs, Accel: flavor.Accel, NICs: make([]NIC, flavor.Ports), Appliance: flavor.Appliance,
	}
	for attempt := 1; ; attempt++ {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return nil, noSpace(err)
		}
		f, err := bootTemplate(ctx, spec, templateName(key))
		if err == nil || attempt == bootAttempts || !errors.Is(err, errSilent) || ctx.Err() != nil {
			return f, err
		}
	}
}

// bootTemplate boots a guest whose memory lies in a file, adds its state behind that, and seals it.
func bootTemplate(ctx context.Context, spec Spec, name string) (_ *os.File, err error) {
	v := newVirtual(spec)
	if err := v.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = v.Stop(ctx) }() // it has ended by then, or never began
	file, err := memory.Create(name, int64(spec.memory())<<20)
	if err != nil {
		return nil, noSpace(err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	state, err := os.CreateTemp(spec.Dir, "state-")
	if err != nil {
		return nil, noSpace(err)
	}
	defer state.Close()
	a, err := v.launch(ctx, bootTimeout, origin{memory: file})
	if err != nil {
		return nil, err
	}
	if err := v.freeze(ctx, a, state); err != nil {
		return nil, err
	}
	if err := v.Kill(); err != nil { // nobody may have it mapped to write when it is sealed
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	if _, err := state.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, state); err != nil {
		return nil, noSpace(err)
	}
	return file, memory.Seal(file)
}

// freeze lets a guest do a first thing of each kind, which then lies in its memory, and writes its state.
func (v *virtual) freeze(ctx context.Context, a *agent.Client, state *os.File) error {
	ctx, cancel := patience(ctx, bootTimeout, v.firstPID)
	defer cancel()
	if v.spec.Appliance {
		if err := a.Configure(ctx, agent.Config{Hostname: "template", Appliance: true}); err != nil {
			return err
		}
		if _, err := a.Stats(ctx); err != nil {
			return err
		}
	}
	if code, err := a.Exec(ctx, agent.Command{Args: []string{"sh", "-c", "true"}}); err != nil || code != 0 {
		return fmt.Errorf("a first command: code %d, %w", code, err)
	}
	if err := a.Close(); err != nil {
		return err
	}
	q, err := dialQMP(ctx, v.spec.Dir)
	if err != nil {
		return err
	}
	defer q.close()
	if err := q.call("stop", nil, nil); err != nil {
		return err
	}
	if err := q.migrate("migrate", state); err != nil {
		return err
	}
	return q.until(ctx, "query-migrate", "completed", "setup", "active", "device")
}
