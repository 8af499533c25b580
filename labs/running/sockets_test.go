package running

import (
	"strings"
	"testing"

	"sluice/firewall/fault"
	"sluice/labs/labfile"
)

// TestGuestSocketPaths: sockets of QEMU guests lie deeper than the lab's own; namespace guests have none.
func TestGuestSocketPaths(t *testing.T) {
	dir := "/" + strings.Repeat("x", 107-1-len("/guests/one/console.sock"))
	for _, c := range []struct {
		dir, kind string
		ok        bool
	}{{dir, labfile.KindQEMU, true}, {dir + "x", labfile.KindQEMU, false}, {dir + "x", labfile.KindNetns, true}} {
		err := checkSockets(&labfile.Lab{Guests: []labfile.Guest{{Name: "one", Kind: c.kind}}}, c.dir)
		if (err == nil) != c.ok {
			t.Errorf("%s, %d bytes: %v", c.kind, len(c.dir), err)
		}
		if err != nil && fault.ClassOf(err) != fault.BadInput {
			t.Errorf("class of %v", err)
		}
	}
}
