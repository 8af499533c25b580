package running

import (
	"errors"
	"strings"
	"testing"

	"sluice/firewall/fault"
)

func TestChooseEngine(t *testing.T) {
	for _, c := range []struct {
		asked       string
		why         error // the kernel engine does not work
		name, told  string
		class       fault.Class
		wantFailing bool
	}{
		{asked: EngineUser, why: errors.New("must not be asked"), name: EngineUser},
		{asked: "", name: EngineUser},
		{asked: EngineKernel, name: EngineKernel},
		{asked: EngineAuto, name: EngineKernel},
		{asked: EngineAuto, why: errors.New("no BPF here"), name: EngineUser, told: "engine user instead of kernel: no BPF here"},
		{asked: EngineKernel, why: errors.New("no BPF here"), class: fault.Lacks, wantFailing: true},
	} {
		var told string
		got, err := chooseEngine(c.asked, func() error { return c.why }, func(what string) { told = what })
		if got.name != c.name || (got.make == nil) != c.wantFailing || told != c.told {
			t.Errorf("%s, %v: engine %q, told %q; want %q, %q", c.asked, c.why, got.name, told, c.name, c.told)
		}
		switch {
		case !c.wantFailing && err != nil:
			t.Errorf("%s, %v: %v", c.asked, c.why, err)
		case c.wantFailing && (fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.why.Error())):
			t.Errorf("%s, %v: %v, class %v", c.asked, c.why, err, fault.ClassOf(err))
		}
	}
}
