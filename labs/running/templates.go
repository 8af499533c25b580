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

// templates are what the lab's QEMU guests are cloned from, by their shapes. The parent of a lab process makes or finds
// them, and hands them on: the lab process keeps them for guests that are made anew.
type templates map[guest.Shape]*guest.Template

func (t templates) close() {
	for _, one := range t {
		one.Close()
	}
}

// shapes are those of the lab's QEMU guests that can be cloned, each once, in the file's order.
func shapes(l *labfile.Lab, accel guest.Accel) []guest.Shape {
	nics := map[int]int{} // by Card.Guest
	for _, c := range l.Cards() {
		nics[c.Guest]++
	}
	var out []guest.Shape
	for i, g := range l.Machines() {
		if g == l.Appliance {
			i = -1
		}
		s := guest.Spec{Kind: guest.Kind(g.Kind), MemoryMiB: g.Memory, CPUs: g.CPUs, Accel: accel, Appliance: g == l.Appliance, NICs: make([]guest.NIC, nics[i])}
		if shape, ok := s.Shape(); ok && !slices.Contains(out, shape) {
			out = append(out, shape)
		}
	}
	return out
}

// ensureTemplates gives the deployment what its guests are cloned from. Where that cannot be had they boot, unless the
// user wants no other way.
func (d *deployment) ensureTemplates(ctx context.Context, l *labfile.Lab, progress func(string)) error {
	all := shapes(l, d.Accel)
	if err := checkRoom(l, d.Boot, all); err != nil {
		return err
	}
	if d.Boot == guest.BootCold {
		return nil
	}
	made, failed := make([]*guest.Template, len(all)), make([]error, len(all))
	var making sync.WaitGroup
	for i, shape := range all {
		making.Go(func() { made[i], failed[i] = guest.EnsureTemplate(ctx, d.Image, shape, progress) })
	}
	making.Wait()
	d.templates = templates{}
	for i, shape := range all {
		switch err := failed[i]; {
		case err == nil:
			d.templates[shape] = made[i]
			d.Shapes = append(d.Shapes, shape)
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
	for _, shape := range d.Shapes {
		out = append(out, d.templates[shape].File())
	}
	return out
}

// inherit takes over the templates in the lab process.
func (d *deployment) inherit() error {
	d.templates = templates{}
	for i, shape := range d.Shapes {
		t, err := guest.TemplateFrom(os.NewFile(uintptr(fdTemplates+i), "template"), shape)
		if err != nil {
			return fmt.Errorf("take over a template: %w", err)
		}
		d.templates[shape] = t
	}
	return nil
}
