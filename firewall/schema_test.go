package firewall

import (
	"encoding/json"
	"slices"
	"testing"
)

// The schema knows exactly the keys that Load reads.
func TestSchemaHasTheLoadersKeys(t *testing.T) {
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Enum       []string                   `json:"enum"`
		} `json:"$defs"`
	}
	var s object
	if err := json.Unmarshal(Schema, &s); err != nil {
		t.Fatal(err)
	}
	var timeouts object
	if err := json.Unmarshal(s.Properties["timeouts"], &timeouts); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"policy", sortedKeys(s.Properties), policyKeys},
		{"rule", sortedKeys(s.Defs["rule"].Properties), ruleKeys},
		{"service", sortedKeys(s.Defs["service"].Properties), serviceKeys},
		{"timeouts", sortedKeys(timeouts.Properties), sortedKeys(timeoutNames)},
		{"helper", s.Defs["helper"].Enum, helperNames(Helpers)},
		{"action", s.Defs["action"].Enum, actionNames[:]},
	} {
		slices.Sort(c.got)
		want := slices.Sorted(slices.Values(c.want))
		if !slices.Equal(c.got, want) {
			t.Errorf("%s: the schema has %v, Load %v", c.what, c.got, want)
		}
	}
}
