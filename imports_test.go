package main

import (
	"go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// floors says which of our packages each package may import. What is not listed here is not part of the house: a new
// package needs a line, and the line is where its place is argued.
var floors = map[string][]string{
	"vnic/frame": {},
	"vnic":       {"vnic/frame"},
	// only for tests: what needs root
	"vnic/roottest": {},
	// what is wrong, told so that a person can mend it: all floors tell their errors by it
	"firewall/fault": {},
	// YAML with places: all files that people write are read by it, but for labs/billing's
	"firewall/document": {"firewall/fault"},
	// a leaf: arrays in one run of bytes; what they mean is above it
	"firewall/flat": {},
	// the rule of a packet: what a rule says, names and files are above it
	"firewall/classifier":      {"firewall/flat", "vnic/frame"},
	"firewall/classifier/draw": {"firewall/classifier", "vnic/frame"}, // only for tests: drawn matches
	"firewall":                 {"firewall/classifier", "firewall/flat", "firewall/fault", "firewall/document", "vnic/frame"},
	// only tests: verdicts against real nftables
	"firewall/difftest": {"firewall", "vnic/frame"},
	// below the appliance that runs it; labs read its files, control shows its report
	"firewall/inspect":   {"firewall/fault", "firewall/document", "vnic/frame"},
	"firewall/appliance": {"firewall/inspect", "firewall", "vnic/frame"},
	// the policy's place inside the appliance, and its command
	"firewall/appliance/admin": {"firewall/fault", "firewall", "vnic/frame"},
	// what a change cost: below the walk, which notes it
	"vswitch/measure": {"firewall", "vnic/frame"},
	// pure: no NICs, and nothing of what changes a switch
	"vswitch/walk": {"vswitch/measure", "firewall/fault", "firewall", "vnic/frame"},
	"vswitch":      {"vswitch/walk", "vswitch/measure", "firewall", "vnic", "vnic/frame"},
	// only for tests: odd packets, and what a real router makes of them
	"vswitch/matrix": {"firewall/appliance", "firewall", "vnic/frame", "vnic/roottest"},
	// only for tests: what any engine must pass
	"vswitch/enginetest": {"vswitch/matrix", "vswitch", "vswitch/walk", "firewall/inspect", "firewall", "vnic", "vnic/frame", "vnic/roottest"},
	"vswitch/user":       {"vswitch", "vswitch/walk", "vswitch/measure", "firewall", "vnic", "vnic/frame"},
	// the engine in Go, with programs in the kernel in front
	"vswitch/kernel":  {"firewall", "vswitch/measure", "vswitch/user", "vswitch", "vswitch/walk", "vnic", "vnic/frame"},
	"vswitch/control": {"firewall/fault", "vswitch", "firewall/inspect", "firewall", "vnic/frame"},
	"vswitch/cli":     {"firewall/fault", "vswitch/control", "vswitch", "firewall/inspect", "firewall", "vnic/frame"},
	"labs/boundlog":   {}, // log files of bounded size: the lab's own, and its guests' consoles
	// what a process of a lab starts with and may do: the program, the lab process and guests share it
	"labs/guest/confine": {},
	"labs/guest/agent":   {"firewall/fault", "labs/guest/confine", "firewall/appliance/admin", "firewall/appliance", "firewall/inspect", "firewall", "vnic/frame"},
	"labs/guest/memory":  {},
	"labs/guest":         {"firewall/fault", "labs/boundlog", "labs/guest/memory", "labs/guest/agent", "labs/guest/confine", "firewall/appliance/admin", "firewall/appliance", "firewall", "vnic", "vnic/frame"},
	"labs/bench": {
		"firewall/fault", "vswitch/kernel", "vswitch/user", "vswitch/cli", "vswitch/control", "vswitch", "firewall", "vnic", "vnic/frame",
	},
	"labs/probe":   {"vnic/frame"}, // in a guest: what a check tries
	"labs/check":   {"labs/probe", "vswitch", "firewall", "vnic/frame"},
	"labs":         {}, // the folders of the labs, in the binary
	"labs/labfile": {"firewall/fault", "labs", "labs/check", "labs/guest", "labs/guest/agent", "vswitch/control", "vswitch", "firewall/inspect", "firewall", "firewall/document", "vnic/frame"},
	"labs/running": {
		"firewall/fault", "labs/labfile", "labs/boundlog", "labs/guest", "labs/guest/agent", "labs/guest/confine", "firewall/appliance/admin", "firewall/appliance",
		"firewall/inspect", "vswitch/kernel", "vswitch/user", "vswitch/control", "vswitch", "firewall", "vnic", "vnic/frame",
	},
	"labs/commands": {"firewall/fault", "labs", "labs/labfile", "labs/running", "labs/boundlog", "labs/guest", "vswitch/control", "vswitch/cli", "vnic", "vnic/frame"},
	"labs/course": {
		"firewall/fault", "labs", "labs/commands", "labs/labfile", "labs/running", "labs/check", "labs/probe", "vswitch/control", "vswitch/cli", "vswitch", "firewall", "firewall/document",
	},
	"labs/bench/stream": {},
	"scripts/report":    {}, // what a run of tests came to
	"labs/billing":      {}, // no import to or from the rest: main joins its command, and its lab is data
	"labs/demo":         {"firewall/fault", "labs/commands", "labs/running", "labs/labfile", "labs/bench/stream", "vswitch/control", "vswitch/cli", "vswitch", "firewall"},
	"": {
		"labs/commands", "labs/labfile", "labs/demo", "labs/bench", "labs/bench/stream", "labs/billing", "labs/check", "labs/course", "labs/probe", "labs/guest/agent",
		"labs/guest/confine", "firewall/appliance/admin", "vswitch/cli",
	},
}

// TestImportsPointOneWay holds the architecture: imports go down the floors, and from nowhere else.
func TestImportsPointOneWay(t *testing.T) {
	for _, dir := range packageDirs(t) {
		allowed, known := floors[dir]
		if !known {
			t.Errorf("package %q is not in the graph", dir)
			continue
		}
		for _, path := range ourImports(t, dir) {
			if !slices.Contains(allowed, path) {
				t.Errorf("%q imports %q, which the graph does not allow", dir, path)
			}
		}
	}
}

// never are imports that no line of the table may come to allow.
var never = map[string][]string{
	"firewall/classifier": {"firewall", "firewall/document", "firewall/fault"},
	"vswitch/walk":        {"vswitch", "vnic"},
	"vswitch/measure":     {"vswitch", "vswitch/walk", "vnic"},
	"vswitch/user":        {"vswitch/kernel", "vswitch/control"},
	"vswitch/kernel":      {"vswitch/control"},
	"labs/labfile":        {"labs/running"},
}

// TestNeverImported holds the walls that no new line may open.
func TestNeverImported(t *testing.T) {
	for p, others := range never {
		for _, other := range others {
			if slices.Contains(floors[p], other) {
				t.Errorf("the graph lets %q import %q", p, other)
			}
		}
	}
}

// TestFloorsAreAcyclic checks the table itself: a table with a loop would permit one in the code.
func TestFloorsAreAcyclic(t *testing.T) {
	const walking, done = 1, 2
	state := map[string]int{}
	var walk func(string)
	walk = func(p string) {
		if state[p] == walking {
			t.Fatalf("the graph has a loop through %q", p)
		}
		if state[p] == done {
			return
		}
		state[p] = walking
		for _, next := range floors[p] {
			walk(next)
		}
		state[p] = done
	}
	for p := range floors {
		walk(p)
	}
}

func packageDirs(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if goFiles, _ := filepath.Glob(filepath.Join(path, "*.go")); len(goFiles) > 0 {
			dirs = append(dirs, strings.TrimPrefix(filepath.ToSlash(path), "."))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func ourImports(t *testing.T, dir string) (paths []string) {
	t.Helper()
	pkg, err := build.ImportDir(filepath.Join(".", dir), 0)
	if _, none := err.(*build.NoGoError); none {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pkg.Imports {
		if ours, ok := strings.CutPrefix(path, "sluice/"); ok {
			paths = append(paths, ours)
		}
	}
	return paths
}
