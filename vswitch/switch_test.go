package vswitch_test

import (
	"testing"

	"sluice/vswitch/enginetest"
	"sluice/vswitch/user"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// TestSwitch runs what changes a switch, and what it refuses, on the engine in Go.
func TestSwitch(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: user.New}, enginetest.Changes, enginetest.Refusals)
}
