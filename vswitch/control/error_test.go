package control

import (
	"errors"
	"fmt"
	"testing"

	"sluice/firewall"
)

// TestErrorsCrossTheSocket: what an error says, and its class, are the same on both sides.
func TestErrorsCrossTheSocket(t *testing.T) {
	at := func(line int) *firewall.Error {
		return &firewall.Error{File: "p.yaml", Line: line, Col: 1, Msg: "wrong"}
	}
	many := firewall.ErrorList{}
	for i := range 7 {
		many = append(many, at(i+1))
	}
	for _, test := range []struct {
		err   error
		class Class
		want  string
	}{
		{errors.New("no"), Failed, "no"},
		{Errorf(BadInput, "no %d", 1), BadInput, "no 1"},
		{Errorf(Lacks, "no QEMU"), Lacks, "no QEMU"},
		{fmt.Errorf("try: %w", Errorf(Lacks, "no QEMU")), Lacks, "try: no QEMU"},
		{fmt.Errorf("not built: %w", errors.ErrUnsupported), BadInput, "not built: unsupported operation"},
		{&Error{Class: 77, Message: "no"}, Failed, "no"},
		{at(3), BadInput, "p.yaml:3:1: wrong"},
		{fmt.Errorf("load: %w", firewall.ErrorList{at(3), at(4)}), BadInput, "p.yaml:3:1: wrong\np.yaml:4:1: wrong"},
		{Errorf(BadInput, "load: %w", at(3)), BadInput, "p.yaml:3:1: wrong"},
		{many, BadInput, "p.yaml:1:1: wrong\np.yaml:2:1: wrong\np.yaml:3:1: wrong\np.yaml:4:1: wrong\np.yaml:5:1: wrong\nand 2 more like these"},
	} {
		got := problemOf(test.err).err()
		if got.Error() != test.want || ClassOf(got) != test.class {
			t.Errorf("%v: got %q of class %d; want %q of class %d", test.err, got, ClassOf(got), test.want, test.class)
		}
	}
}
