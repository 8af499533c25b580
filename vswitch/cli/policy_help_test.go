package cli

import (
	"encoding/json"
	"regexp"
	"testing"

	"sluice/firewall"
)

// TestPolicyHelpHasEveryKey: what a policy may say, by its schema, is in the help.
func TestPolicyHelpHasEveryKey(t *testing.T) {
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	var timeouts object
	err := json.Unmarshal(firewall.Schema, &schema)
	if err == nil {
		err = json.Unmarshal(schema.Properties["timeouts"], &timeouts)
	}
	if err != nil || len(timeouts.Properties) == 0 {
		t.Fatal(err)
	}
	for _, keys := range []map[string]json.RawMessage{schema.Properties, schema.Defs["rule"].Properties, schema.Defs["service"].Properties, timeouts.Properties} {
		if len(keys) == 0 {
			t.Error("the schema has no keys there")
		}
		for key := range keys {
			if !regexp.MustCompile(`(^|[^a-z-])` + key + `($|[^a-z-])`).MatchString(policyLanguage) {
				t.Errorf("the help does not name %q", key)
			}
		}
	}
}
