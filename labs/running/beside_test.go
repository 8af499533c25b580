package running_test

import (
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"sluice/vnic/roottest"
)

// sideBySide is how a test of namespace guests begins, once, whether it is a whole test or the innermost of its
// subtests. Such a test waits more than it works, so it runs beside others: scripts/test says beside how many
// (-parallel). It has a state folder of its own, in which it sees nobody's labs but its own. It must not use t.Setenv,
// t.Chdir, the shared lab or os.Getenv, but setenv and stateDir, and must give commands it starts by itself environ(t).
//
// Tests that measure a machine's load, or break this whole process's settings, begin with roottest.Need instead and run
// alone.
func sideBySide(t *testing.T) {
	t.Helper()
	roottest.Need(t, "makes TAPs and namespaces")
	dir, err := os.MkdirTemp("", "sl-") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	setenv(t, "SLUICE_STATE_DIR", dir)
	t.Parallel()
}

// settings are the variables of each test that has some, by its name.
var (
	settingsMu sync.Mutex
	settings   = map[string]map[string]string{}
)

// setenv sets a variable for the commands of one test and its subtests, and for those only.
func setenv(t *testing.T, name, value string) {
	t.Helper()
	settingsMu.Lock()
	defer settingsMu.Unlock()
	if settings[t.Name()] == nil {
		settings[t.Name()] = map[string]string{}
		t.Cleanup(func() {
			settingsMu.Lock()
			defer settingsMu.Unlock()
			delete(settings, t.Name())
		})
	}
	settings[t.Name()][name] = value
}

// settingsOf are a test's variables over those of the tests that it is part of.
func settingsOf(t *testing.T) map[string]string {
	settingsMu.Lock()
	defer settingsMu.Unlock()
	out, name := map[string]string{}, ""
	for part := range strings.SplitSeq(t.Name(), "/") {
		name += part
		maps.Copy(out, settings[name])
		name += "/"
	}
	return out
}

// environ is the environment of a test's commands.
func environ(t *testing.T) []string {
	env := os.Environ()
	for name, value := range settingsOf(t) {
		env = append(env, name+"="+value) // the last one counts
	}
	return env
}

// stateDir is where a test's labs have their state.
func stateDir(t *testing.T) string {
	if dir, own := settingsOf(t)["SLUICE_STATE_DIR"]; own {
		return dir
	}
	return os.Getenv("SLUICE_STATE_DIR")
}
