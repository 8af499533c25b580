package running

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/labfile"
)

// templates are what the lab's QEMU guests are cloned from, by their flavors. The parent of a lab process makes or
// finds them, and hands them on: the lab process keeps them for guests that are made anew.
type templates map[guest.Flavor]*guest.Template

func (t templates) close() {
	for _, one := range t {
		one.Close()
	}
}

// flavors are those of the lab's QEMU guests that can be cloned, each once, in the file's order.
func flavors(l *labfile.Lab, accel guest.Accel) []guest.Flavor {
	nics := map[int]int{} // by Card.Guest
	for _, c := range l.Cards() {
		nics[c.Guest]++
	}
	var out []guest.Flavor
	for i, g := range l.Machines() {
		if g == l.Appliance {
			i = -1
		}
		s := guest.Spec{
			Kind: guest.Kind(g.Kind), MemoryMiB: g.Memory, CPUs: g.CPUs, Accel: accel,
			Appliance: g == l.Appliance, NICs: make([]guest.NIC, nics[i]),
		}
		if flavor, ok := s.Flavor(); ok && !slices.Contains(out, flavor) {
			out = append(out, flavor)
		}
	}
	return out
}

// ensureTemplates gives the deployment what its guests are cloned from. Where that cannot be had they boot, unless the
// user wants no other way.
func (d *deployment) ensureTemplates(ctx context.Context, l *labfile.Lab, progress func(string)) error {
	all := flavors(l, d.Accel)
	if err := checkRoom(l, d.Boot, all); err != nil {
		return err
	}
	if d.Boot == guest.BootCold {
		return nil
	}
	made, failed := make([]*guest.Template, len(all)), make([]error, len(all))
	var making sync.WaitGroup
	for i, flavor := range all {
		making.Go(func() { made[i], failed[i] = guest.EnsureTemplate(ctx, d.Image, flavor, progress) })
	}
	making.Wait()
	d.templates = templates{}
	for i, flavor := range all {
		switch err := failed[i]; {
		case err == nil:
			d.templates[flavor] = made[i]
			d.Flavors = append(d.Flavors, flavor)
		case ctx.Err() != nil, d.Boot == guest.BootClone:
			return fault.Errorf(ClassOf(err), "--boot %s: %w", d.Boot, err)
		default:
			progress("guests boot, as they cannot be cloned: " + err.Error())
		}
	}
	return nil
}

// files are what the lab process inherits from fdTemplates on.
func (d *deployment) files() []*os.File {
	var out []*os.File
	for _, flavor := range d.Flavors {
		out = append(out, d.templates[flavor].File())
	}
	return out
}

// inherit takes over the templates in the lab process.
func (d *deployment) inherit() error {
	d.templates = templates{}
	for i, flavor := range d.Flavors {
		t, err := guest.TemplateFrom(os.NewFile(uintptr(fdTemplates+i), "template"), flavor)
		if err != nil {
			return fmt.Errorf("take over a template: %w", err)
		}
		d.templates[flavor] = t
	}
	return nil
}
