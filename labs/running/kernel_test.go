package running_test

import (
	"testing"

	"sluice/vnic/roottest"
)

// TestRootKernelEngine changes placements under load in a lab whose frames are decided in the kernel, or punted. What
// the engine has made goes with the lab.
func TestRootKernelEngine(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	lab := uniqueLab(t, "kernel")
	must(t, "lab", "deploy", "fast-vs-slow", "--guests", "netns", "--name", lab, "--engine", "kernel")
	if info := inspectLab(t, lab); info.Engine != "kernel" {
		t.Errorf("the lab's engine is %s", info.Engine)
	}
	spaces := spacesOf(t, lab)
	t.Run("reach", func(t *testing.T) { testReach(t, lab) })
	t.Run("spoofguard", func(t *testing.T) { testSpoofguard(t, lab) })
	t.Run("changes under load", func(t *testing.T) { testChanges(t, lab, "netns") })
	must(t, "lab", "destroy", lab)
	expectNothing(t, lab, spaces)
}
