package control

import (
	"errors"
	"fmt"
	"testing"

	"sluice/firewall/fault"
)

// TestErrorsCrossTheSocket: what an error says, and its class, are the same on both sides.
func TestErrorsCrossTheSocket(t *testing.T) {
	at := func(line int) *fault.Fault {
		return &fault.Fault{File: "p.yaml", Line: line, Col: 1, Msg: "wrong"}
	}
	many := fault.List{}
	for i := range 7 {
		many = append(many, at(i+1))
	}
	for _, test := range []struct {
		err   error
		class fault.Class
		want  string
	}{
		{errors.New("no"), fault.Failed, "no"},
		{fault.Errorf(fault.BadInput, "no %d", 1), fault.BadInput, "no 1"},
		{fault.Errorf(fault.Lacks, "no QEMU"), fault.Lacks, "no QEMU"},
		{fmt.Errorf("try: %w", fault.Errorf(fault.Lacks, "no QEMU")), fault.Lacks, "try: no QEMU"},
		{fmt.Errorf("not built: %w", errors.ErrUnsupported), fault.BadInput, "not built: unsupported operation"},
		{&fault.Error{Class: 77, Message: "no"}, fault.Failed, "no"},
		{at(3), fault.BadInput, "p.yaml:3:1: wrong"},
		{fmt.Errorf("load: %w", fault.List{at(3), at(4)}), fault.BadInput, "p.yaml:3:1: wrong\np.yaml:4:1: wrong"},
		{fault.Errorf(fault.BadInput, "load: %w", at(3)), fault.BadInput, "p.yaml:3:1: wrong"},
		{many, fault.BadInput, "p.yaml:1:1: wrong\np.yaml:2:1: wrong\np.yaml:3:1: wrong\np.yaml:4:1: wrong\np.yaml:5:1: wrong\np.yaml:6:1: wrong\np.yaml:7:1: wrong"},
	} {
		got := problemOf(test.err).err()
		if got.Error() != test.want || fault.ClassOf(got) != test.class {
			t.Errorf("%v: got %q of class %d; want %q of class %d", test.err, got, fault.ClassOf(got), test.want, test.class)
		}
	}
}
