package user_test

import (
	"flag"
	"os"
	"testing"
)

// sideBySide is how many tests run at once, whatever the processors: they wait for probes, silences and deadlines, each
// on a switch of its own.
const sideBySide = "4"

// TestMain runs the tests side by side, unless whoever runs them says how many of them.
func TestMain(m *testing.M) {
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
