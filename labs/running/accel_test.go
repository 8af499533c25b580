package running

import (
	"testing"

	"sluice/labs/guest"
)

// TestAccelLine: what opens each deploy fits beside its time in 80 columns, whatever the reason is.
func TestAccelLine(t *testing.T) {
	for _, a := range []guest.Accel{guest.KVM, guest.TCG} {
		if s := accelLine(a); s == "" || len(s) > 80-len("  0.0 s  ") {
			t.Errorf("%s: %d bytes: %q", a, len(s), s)
		}
	}
}
