package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestReport: what failed is told with its reason, a test before what it is part of, and whatever way it failed.
func TestReport(t *testing.T) {
	var in strings.Builder
	say := func(e event) {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(b, '\n'))
	}
	output := func(test string, lines ...string) {
		for _, l := range lines {
			say(event{Action: "output", Package: "p", Test: test, Output: l + "\n"})
		}
	}
	say(event{Action: "run", Package: "p", Test: "TestParts"})
	say(event{Action: "run", Package: "p", Test: "TestParts/one"})
	output("TestParts/one", "=== RUN   TestParts/one", "    a_test.go:1: loop", "    a_test.go:9: got 1, want 2", "        and more",
		"    a_test.go:1: loop", "    a_test.go:1: loop", "    --- FAIL: TestParts/one (2.00s)")
	say(event{Action: "fail", Package: "p", Test: "TestParts/one", Elapsed: 2})
	output("TestParts", "--- FAIL: TestParts (2.00s)")
	say(event{Action: "fail", Package: "p", Test: "TestParts", Elapsed: 2})
	say(event{Action: "run", Package: "p", Test: "TestQuick"})
	output("TestQuick", "    a_test.go:3: all is well")
	say(event{Action: "pass", Package: "p", Test: "TestQuick", Elapsed: 3})
	say(event{Action: "run", Package: "p", Test: "TestHangs"})
	output("TestHangs", "panic: test timed out after 1s", "goroutine 1 [running]:")
	output("", "FAIL\tp\t2.1s")
	say(event{Action: "fail", Package: "p", Elapsed: 5})
	say(event{Action: "build-output", ImportPath: "q [q.test]", Output: "# q [q.test]\n"})
	say(event{Action: "build-output", ImportPath: "q [q.test]", Output: "q/b.go:3:1: undefined: x\n"})
	say(event{Action: "output", Package: "q", Output: "FAIL\tq [build failed]\n"})
	say(event{Action: "fail", Package: "q", FailedBuild: "q [q.test]"})
	in.WriteString(`{"Action":"outp`) // killed

	tests, builds := map[string]*test{}, map[string][]string{}
	if err := read(strings.NewReader(in.String()), tests, builds); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	write(&out, tests, builds)
	want := `slowest     3.0 s  p TestQuick
            2.0 s  p TestParts/one
FAILED   p TestHangs
         panic: test timed out after 1s
           goroutine 1 [running]:
FAILED   p TestParts/one
         a_test.go:9: got 1, want 2
           and more
         a_test.go:1: loop
FAILED   q 
         q/b.go:3:1: undefined: x
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestReportIsShort: many failures leave room for the rest in what one looks at.
func TestReportIsShort(t *testing.T) {
	tests := map[string]*test{}
	for _, n := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		tests[n] = &test{pkg: "p", name: n, failed: true, seconds: 2, said: []string{
			"  a_test.go:1: " + strings.Repeat("x", 1000), "  more", "  a_test.go:2: y", "  more", "  a_test.go:3: z",
		}}
	}
	var out strings.Builder
	write(&out, tests, nil)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5+12+1 || lines[len(lines)-1] != "FAILED   and 6 more: above" {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}
}
