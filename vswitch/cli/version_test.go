package cli

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	built := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	for _, test := range []struct {
		what string
		info *debug.BuildInfo
		want string
	}{
		{"clean", built("v0.1.0", "vcs.revision", "abc", "vcs.modified", "false"), "v0.1.0\ncommit abc\ngo1.26.0"},
		{"dirty", built("v0.1.0+dirty", "vcs.revision", "abc", "vcs.modified", "true"), "v0.1.0\ncommit abc, dirty\ngo1.26.0"},
		{"without git", built("(devel)"), "(devel)\ncommit unknown\ngo1.26.0"},
		{"a test", built(""), "unknown\ncommit unknown\ngo1.26.0"},
		{"not of Go's modules", nil, "unknown"},
	} {
		if got := version(test.info); got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, got, test.want)
		}
	}
}

// TestVersionFlag: it is a flag of the root, as cobra's programs have it, and no variable stands for it.
func TestVersionFlag(t *testing.T) {
	t.Setenv("SLUICE_VERSION", "neither true nor false")
	for _, arg := range []string{"--version", "-v"} {
		var said bytes.Buffer
		root := Root()
		root.SetOut(&said)
		if code := Run(t.Context(), root, []string{arg}); code != 0 || !strings.HasPrefix(said.String(), "sluice version ") ||
			!strings.HasSuffix(said.String(), "\n"+runtime.Version()+"\n") {
			t.Errorf("%s: code %d, %q", arg, code, said.String())
		}
	}
	var said bytes.Buffer
	root := Root()
	root.SetOut(&said)
	root.SetErr(&said)
	if code := Run(t.Context(), root, nil); code != 0 {
		t.Errorf("without a command: code %d, %s", code, said.String())
	}
}
