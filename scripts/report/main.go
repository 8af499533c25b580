// Command report says in a few lines what a run of tests came to: which took longest, which failed, and why. It reads
// what go test -json wrote, from the files that it is given.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// What is shown at most: with the tiers' own lines it stays within 30, which is what one looks at.
const (
	mostSlow   = 5
	mostFailed = 14 // lines
	mostPlaces = 2  // of a failed test, each where it said something
	widest     = 240
)

// event is a line of test2json's.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64 // seconds
}

// test is a test, or a package where name is empty.
type test struct {
	pkg, name string
	said      []string
	failed    bool
	running   bool // begun, and never ended
	seconds   float64
	build     string // the package that could not be built
}

func main() {
	tests, builds := map[string]*test{}, map[string][]string{}
	for _, path := range os.Args[1:] {
		f, err := os.Open(path)
		if err == nil {
			err = read(f, tests, builds)
			f.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
	}
	write(os.Stdout, tests, builds)
}

// read collects the events. A line that is none, as a killed run ends with, is passed over.
func read(r io.Reader, tests map[string]*test, builds map[string][]string) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			take(e, tests, builds)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func take(e event, tests map[string]*test, builds map[string][]string) {
	if e.Action == "build-output" {
		builds[e.ImportPath] = append(builds[e.ImportPath], strings.TrimRight(e.Output, "\n"))
		return
	}
	key := e.Package + "\n" + e.Test
	t := tests[key]
	if t == nil {
		t = &test{pkg: e.Package, name: e.Test}
		tests[key] = t
	}
	switch e.Action {
	case "output":
		t.said = append(t.said, strings.TrimRight(e.Output, "\n"))
	case "run", "start":
		t.running = true
	case "pass", "skip":
		t.running, t.seconds, t.said = false, e.Elapsed, nil
	case "fail":
		t.running, t.seconds, t.failed, t.build = false, e.Elapsed, true, e.FailedBuild
	}
}

func write(w io.Writer, tests map[string]*test, builds map[string][]string) {
	var slow, failed []*test
	for _, t := range tests {
		if t.name != "" && !hasPart(t, tests) && t.seconds >= 1 {
			slow = append(slow, t)
		}
		if (t.failed || t.running) && !explained(t, tests) {
			failed = append(failed, t)
		}
	}
	slices.SortFunc(slow, func(a, b *test) int { return cmp.Or(cmp.Compare(b.seconds, a.seconds), cmp.Compare(a.name, b.name)) })
	slices.SortFunc(failed, func(a, b *test) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name)) })
	for i, t := range slow[:min(len(slow), mostSlow)] {
		fmt.Fprintf(w, "%-8s %6.1f s  %s %s\n", []string{"slowest", ""}[min(i, 1)], t.seconds, t.pkg, t.name)
	}
	lines := 0
	for i, t := range failed {
		reason := why(t, builds)
		if lines += 1 + len(reason); lines > mostFailed {
			fmt.Fprintf(w, "FAILED   and %d more: above\n", len(failed)-i)
			return
		}
		fmt.Fprintf(w, "FAILED   %s %s\n", t.pkg, t.name)
		for _, l := range reason {
			if r := []rune(l); len(r) > widest {
				l = string(r[:widest]) + "..."
			}
			fmt.Fprintf(w, "         %s\n", l)
		}
	}
}

// hasPart says whether a test has subtests: they are what took the time.
func hasPart(t *test, tests map[string]*test) bool {
	for _, other := range tests {
		if other.pkg == t.pkg && strings.HasPrefix(other.name, t.name+"/") {
			return true
		}
	}
	return false
}

// explained says whether a failure is that of a part, with nothing to add.
func explained(t *test, tests map[string]*test) bool {
	if len(places(t.said)) > 0 {
		return false
	}
	for _, other := range tests {
		part := t.name == "" && other.name != "" || t.name != "" && strings.HasPrefix(other.name, t.name+"/")
		if part && other.pkg == t.pkg && (other.failed || other.running) {
			return true
		}
	}
	return false
}

// why is what a failed test said.
func why(t *test, builds map[string][]string) []string {
	if t.build != "" {
		said := slices.DeleteFunc(slices.Clone(builds[t.build]), func(l string) bool { return strings.HasPrefix(l, "#") })
		return said[:min(len(said), 2*mostPlaces)]
	}
	if found := places(t.said); len(found) > 0 {
		return found
	}
	said := slices.DeleteFunc(slices.Clone(t.said), chatter)
	if len(said) == 0 && t.running {
		return []string{"it did not end"}
	}
	return said[max(0, len(said)-2*mostPlaces):]
}

func chatter(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line == "FAIL" || line == "PASS" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") ||
		strings.HasPrefix(line, "exit status ") || strings.HasPrefix(line, "FAIL\t")
}

// spoken is where a test says something, and how a program ends that panics.
var spoken = regexp.MustCompile(`^\s*([\w.-]+\.go:\d+): |^(panic|fatal error): |^(WARNING: DATA RACE)`)

// places are what a test said, each line of its code once: what it logs in a loop does not hide the error. With each
// comes the line below it, which most often has the rest.
func places(said []string) (out []string) {
	seen := map[string]bool{}
	for i, l := range slices.Backward(said) { // the last words first: they are the most likely to be the reason
		m := spoken.FindStringSubmatch(l)
		if m == nil || seen[m[1]+m[2]+m[3]] || len(seen) == mostPlaces {
			continue
		}
		seen[m[1]+m[2]+m[3]] = true
		with := []string{strings.TrimSpace(l)}
		if i+1 < len(said) && !spoken.MatchString(said[i+1]) && !chatter(said[i+1]) {
			with = append(with, "  "+strings.TrimSpace(said[i+1]))
		}
		out = append(with, out...)
	}
	return out
}
