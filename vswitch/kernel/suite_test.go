package kernel_test

import (
	"testing"

	"sluice/vswitch/enginetest"
	"sluice/vswitch/kernel"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// TestRootSuite runs all cases on TAPs.
func TestRootSuite(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: kernel.New, Wires: enginetest.NewTAPs(t)}, enginetest.All...)
}

// TestRootRouter runs the cases with a real router as the appliance.
func TestRootRouter(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: kernel.New, Wires: enginetest.NewTAPs(t)}, enginetest.Routed)
}
