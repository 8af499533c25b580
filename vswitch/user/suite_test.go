package user_test

import (
	"testing"

	"sluice/vswitch/enginetest"
	"sluice/vswitch/user"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// TestSuite runs what becomes of frames. The switch's own cases run on this engine in TestSwitch (vswitch).
func TestSuite(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: user.New}, enginetest.Frames)
}

// TestRootSuite runs all cases on TAPs.
func TestRootSuite(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: user.New, Wires: enginetest.NewTAPs(t)}, enginetest.All...)
}

// TestRootRouter runs the cases with a real router as the appliance.
func TestRootRouter(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: user.New}, enginetest.Routed)
}

// BenchmarkPipes moves frames from one guest's pipe to another's.
func BenchmarkPipes(b *testing.B) { enginetest.BenchmarkPipes(b, user.New) }
