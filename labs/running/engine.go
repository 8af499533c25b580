package running

import (
	"slices"
	"strings"

	"sluice/firewall/fault"
	"sluice/vswitch"
	"sluice/vswitch/kernel"
	"sluice/vswitch/user"
)

// The engines that a lab may have; EngineAuto is the best that works on this machine.
const (
	EngineUser   = "user"
	EngineKernel = "kernel"
	EngineAuto   = "auto"
)

var engineWords = []string{EngineUser, EngineKernel, EngineAuto}

// checkEngine is nil for a word that --engine may have.
func checkEngine(word string) error {
	if !slices.Contains(engineWords, word) {
		return fault.Errorf(fault.BadInput, "--engine: %q is none of %s", word, strings.Join(engineWords, ", "))
	}
	return nil
}

// engine is what moves a lab's frames.
type engine struct {
	name string
	make vswitch.NewEngine
}

// chooseEngine gives what was asked for, or where that is auto the best that works. works says why the kernel engine
// does not, in the process that would have it.
func chooseEngine(asked string, works func() error, progress func(string)) (engine, error) {
	inGo := engine{EngineUser, user.New}
	if asked != EngineKernel && asked != EngineAuto {
		return inGo, nil
	}
	err := works()
	switch {
	case err == nil:
		return engine{EngineKernel, kernel.New}, nil
	case asked == EngineKernel:
		return engine{}, fault.Errorf(fault.Lacks, "--engine kernel: %w; --engine user needs nothing of the kernel", err)
	}
	progress("engine user instead of kernel: " + err.Error())
	return inGo, nil
}
