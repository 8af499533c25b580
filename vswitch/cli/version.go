package cli

import (
	"runtime/debug"
	"strings"
)

// version is what `sluice --version` says of the program: what its build knows (runtime/debug.BuildInfo). Nothing is
// set by a linker flag, so a build by hand says as much as one by the scripts.
func version(info *debug.BuildInfo) string {
	const unknown = "unknown"
	if info == nil {
		return unknown
	}
	var commit, state string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			state = ", dirty"
		}
	}
	if commit == "" {
		commit = unknown // built without git, or by a test
	}
	name := strings.TrimSuffix(info.Main.Version, "+dirty") // the state is said of the commit
	if name == "" {
		name = unknown
	}
	return name + "\ncommit " + commit + state + "\n" + info.GoVersion
}

// thisVersion is the version of the running program.
func thisVersion() string {
	info, _ := debug.ReadBuildInfo()
	return version(info)
}
