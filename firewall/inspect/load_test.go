package inspect

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// Each wrong file gives one fault at a place.
func TestLoadFaults(t *testing.T) {
	one := func(s string) string { return "signatures:\n  - " + s }
	many := strings.Builder{}
	many.WriteString("signatures:\n")
	for n := range maxSignatures + 1 {
		fmt.Fprintf(&many, "  - {name: s%d, text: abc}\n", n)
	}
	for _, c := range []struct{ text, place, says string }{
		{"# nothing", "1:1", "empty"},
		{"signatures: [", "1:13", "not YAML"},
		{"- a", "1:1", "must be a mapping"},
		{"signature: []", "1:1", "no key \"signature\""},
		{"signatures: {}", "1:13", "must be a list"},
		{"signatures: []\nsignatures: []", "2:1", "signatures twice"},
		{"anomalies: {odd: drop}", "1:13", "no key \"odd\""},
		{"anomalies: {flags: reject}", "1:20", "cannot be \"reject\""},
		{"anomalies: {fragment: pass}", "1:23", "cannot be \"pass\""},
		{"anomalies: {retransmission: pass}", "1:29", "cannot be \"pass\""},
		{"signatures: &a []\nanomalies: *a", "1:13", "must be a list"},
		{one("{text: abc}"), "2:5", "no name"},
		{one("{name: a}"), "2:5", "looks for nothing"},
		{one("{name: a b, text: abc}"), "2:12", "cannot be the name"},
		{one("{name: eicar, text: abc}"), "2:12", "without being written"},
		{one("{name: a, text: abc}\n  - {name: a, text: abd}"), "3:12", "at line 2 already"},
		{one("{name: a, text: ab}"), "2:21", "has 2 bytes"},
		{one("{name: a, text: " + strings.Repeat("x", maxString+1) + "}"), "2:21", "has 513 bytes"},
		{one("{name: a, text: [abc]}"), "2:21", "one plain value"},
		{one("{name: a, text: abc, hex: 'aabbcc'}"), "2:31", "one of text, hex and regex"},
		{one("{name: a, hex: 'abc'}"), "2:20", "not hexadecimal"},
		{one("{name: a, hex: 'xx yy zz'}"), "2:20", "not hexadecimal"},
		{one("{name: a, regex: '('}"), "2:22", "not a regular expression"},
		{one("{name: a, regex: '^abc'}"), "2:22", "anchor"},
		{one(`{name: a, regex: 'a(b|c\b)'}`), "2:22", "anchor"},
		{one("{name: a, regex: 'a*'}"), "2:22", "everywhere"},
		{one("{name: a, regex: '" + strings.Repeat("x", maxRegex+1) + "'}"), "2:22", "has 513 letters"},
		{one("{name: a, text: abc, action: pass}"), "2:34", "cannot be \"pass\""},
		{one("{name: a, text: abc, protocol: sctp}"), "2:36", "no protocol"},
		{one("{name: a, text: abc, port: 0}"), "2:32", "no port"},
		{one("{name: a, text: abc, port: [1, 9-2]}"), "2:36", "no port"},
		{one("{name: a, text: abc, port: []}"), "2:32", "lists 0 ports"},
		{one("{name: a, text: abc, protocol: icmp, port: 80}"), "2:48", "has no ports"},
		{one("{name: a, text: abc, size: 9}"), "2:26", "no key \"size\""},
		{many.String(), fmt.Sprintf("%d:5", maxSignatures+2), "too many signatures"},
		{strings.Repeat("#", MaxSource+1), "1:1", "bytes"},
		{strings.Repeat("[", 40), "1:33", "nests deeper"},
	} {
		_, err := Load("s.yaml", []byte(c.text))
		short := c.text[:min(len(c.text), 80)]
		if err == nil || !strings.HasPrefix(err.Error(), "s.yaml:"+c.place+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: want %s: %s\n%v", short, c.place, c.says, err)
		}
	}
}

// The file that docs/inspect.md shows is one, and the page names every anomaly.
func TestDocumentedFileLoads(t *testing.T) {
	page, err := os.ReadFile("../../docs/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the page shows no file")
	}
	c, fault := Load("s.yaml", []byte(text))
	if fault != nil || len(c.signatures) != 5 {
		t.Errorf("%+v, %+v", c, fault)
	}
	for _, k := range anomalyKinds {
		if !strings.Contains(string(page), "`"+k.name+"`") {
			t.Errorf("the page does not name %s", k.name)
		}
	}
}

// TestAutomaton compares what the automaton finds with looking for each string by itself.
func TestAutomaton(t *testing.T) {
	verdicts := []string{"he", "she", "his", "hers", "e", "ushe", "rshers", "aaa", "aaaa", "aab"}
	strs := map[int32][]byte{}
	for i, w := range verdicts {
		strs[int32(i)] = []byte(w)
	}
	a := newAutomaton(strs)
	for _, text := range []string{"ushers", "ahishers", "aaaab", "xyz", "hehehe", "rushershershe", "aabaaaab"} {
		for cut := range text {
			var got, want []string
			state := uint32(0)
			at := 0
			for _, part := range []string{text[:cut], text[cut:]} {
				for b := []byte(part); ; {
					var done int
					state, done = a.scan(state, b)
					at += done
					if state&accepts == 0 {
						break
					}
					s := state &^ accepts
					for o := a.ends[s/a.width]; o >= 0; o = a.outputs[o].next {
						got = append(got, fmt.Sprint(verdicts[a.outputs[o].signature], at))
					}
					b = b[done:]
				}
				state &^= accepts
			}
			for _, w := range verdicts {
				for end := len(w); end <= len(text); end++ {
					if text[end-len(w):end] == w {
						want = append(want, fmt.Sprint(w, end))
					}
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%q cut at %d: %v, want %v", text, cut, got, want)
			}
		}
	}
}
