// Package enginetest is the tests of a switch that any engine must pass. It is for tests only: one takes an engine by
// its constructor, and Run runs groups of cases, each on switches of its own. A switch hangs on NICs in memory or on
// TAPs (Wires); at their far ends the cases play the guests, and a router in memory plays the appliance.
package enginetest

import (
	"flag"
	"os"
	"testing"

	"sluice/vswitch"
)

// Bed is what cases run on.
type Bed struct {
	Engine vswitch.NewEngine
	Wires  Wires // Pipes where nil
}

// Case is one test.
type Case struct {
	name string
	run  func(*testing.T, Bed)
	// memory says why the case is for NICs in memory only; empty where it runs on all.
	memory string
}

// Run runs the cases of groups side by side.
func Run(t *testing.T, bed Bed, groups ...[]Case) {
	onPipes := bed.Wires == nil
	if onPipes {
		bed.Wires = Pipes{}
	}
	for _, group := range groups {
		for _, c := range group {
			if c.memory != "" && !onPipes {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, bed)
			})
		}
	}
}

// sideBySide is how many cases run at once, whatever the processors: they wait for probes, silences and deadlines, each
// on a switch of its own.
const sideBySide = "4"

// Main is the TestMain of a package that runs cases: side by side, unless whoever runs them says how many of them.
func Main(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
