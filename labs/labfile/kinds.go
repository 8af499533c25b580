package labfile

import (
	"sluice/firewall/fault"
)

// CheckKind is an error for what is no kind that --guests takes.
func CheckKind(kind string) error {
	if kind != KindAuto && kind != KindQEMU && kind != KindNetns {
		return fault.Errorf(fault.BadInput, "--guests %q: give qemu, netns or auto", kind)
	}
	return nil
}

// SettleKinds gives every guest whose kind is open the one that was asked for.
func (l *Lab) SettleKinds(kind string) {
	for _, g := range l.Machines() {
		if g.Kind == KindAuto {
			g.Kind = kind
		}
	}
}

// Machines are the guests and the appliance.
func (l *Lab) Machines() []*Guest {
	var out []*Guest
	for i := range l.Guests {
		out = append(out, &l.Guests[i])
	}
	if l.Appliance != nil {
		out = append(out, l.Appliance)
	}
	return out
}

// HasKind says whether a guest or the appliance is of a kind.
func (l *Lab) HasKind(kind string) bool {
	for _, g := range l.Machines() {
		if g.Kind == kind {
			return true
		}
	}
	return false
}
