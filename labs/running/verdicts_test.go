package running_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sluice/labs/probe"
)

// testVerdicts has one file of expected verdicts, which `policy test` runs without sending anything, come true between
// real guests in every enforcing placement, over IPv4 and IPv6.
func testVerdicts(t *testing.T, lab, kind string) {
	const policy, expected = "testdata/verdicts/policy.yaml", "testdata/verdicts/policy.test.yaml"
	must(t, "--lab", lab, "place", "fast")
	must(t, "--lab", lab, "policy", "apply", policy)
	t.Cleanup(func() {
		must(t, "--lab", lab, "place", "fast")
		must(t, "--lab", lab, "policy", "apply", "../03-fast-vs-slow/policy.yaml")
	})
	must(t, "--lab", lab, "policy", "test", expected)
	text, err := os.ReadFile(expected)
	if err != nil {
		t.Fatal(err)
	}
	var list []verdictExpected
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, placement := range enforcing(t, lab, kind) {
		must(t, "--lab", lab, "place", placement)
		for _, from := range []string{"client", "server"} {
			var tried []string
			var want []verdictExpected
			for _, e := range list {
				if e.From == from {
					for _, to := range e.targets() {
						tried, want = append(tried, to), append(want, e)
					}
				}
			}
			out := inGuest(t, lab, from, "", append([]string{"sluice", "probe", "--within", "4s"}, tried...)...)
			var got []probe.Result
			if err := json.Unmarshal([]byte(out.stdout), &got); err != nil || len(got) != len(tried) {
				t.Fatalf("%s, from %s: %v\n%s%s", placement, from, err, out.stdout, out.stderr)
			}
			for i, e := range want {
				if got[i].Outcome != e.outcome() {
					t.Errorf("%s: from %s to %s: %s, want %s by %s (%s)", placement, from, tried[i], got[i].Outcome, e.outcome(), e.Rule, got[i].Error)
				}
			}
		}
	}
}

// enforcing lists the enforcing placements that a lab can have: a namespace appliance has no tunnel where the host's
// kernel lacks its parts.
func enforcing(t *testing.T, lab, kind string) []string {
	t.Helper()
	list := []string{"fast", "slow", "push", "inspect"}
	if r := sluice(t, "", "--lab", lab, "place", "tunnel"); kind == "netns" && strings.Contains(r.stderr, "unsupported") {
		return list
	}
	return append(list, "tunnel")
}

type verdictExpected struct {
	From   string `yaml:"from"`
	To     string `yaml:"to"`
	TCP    int    `yaml:"tcp"`
	UDP    int    `yaml:"udp"`
	ICMP   string `yaml:"icmp"`
	Expect string `yaml:"expect"`
	Rule   string `yaml:"rule"`
}

// targets are what `sluice probe` tries for it.
func (e verdictExpected) targets() (out []string) {
	for _, a := range map[string][]string{"server": {"10.10.2.10", "fd00:10:2::10"}, "client": {"10.10.1.10", "fd00:10:1::10"}}[e.To] {
		switch {
		case e.TCP > 0:
			out = append(out, fmt.Sprintf("tcp/%s/%d", a, e.TCP))
		case e.UDP > 0:
			out = append(out, fmt.Sprintf("udp/%s/%d", a, e.UDP))
		default:
			out = append(out, "icmp/"+a)
		}
	}
	return out
}

// outcome is what the guest's kernel is told.
func (e verdictExpected) outcome() probe.Outcome {
	switch {
	case e.Expect == "allow":
		return probe.Answered
	case e.Expect == "drop":
		return probe.Silent
	case e.TCP > 0:
		return probe.Refused
	}
	return probe.Prohibited
}
