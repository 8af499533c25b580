package labfile

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// schemaObject is as much of a JSON schema as this test reads.
type schemaObject struct {
	Closed     *bool                       `json:"additionalProperties"`
	Properties map[string]schemaProperty   `json:"properties"`
	Defs       map[string]*json.RawMessage `json:"$defs"`
}

type schemaProperty struct {
	Enum    []string `json:"enum"`
	Minimum *int     `json:"minimum"`
	Maximum *int     `json:"maximum"`
	Items   struct {
		Enum []string `json:"enum"`
	} `json:"items"`
}

// placeHead is a lab before its tasks.
const placeHead = "name: a\nsegments:\n  lan: {subnet: 10.10.1.0/24}\nguests:\n  a: {segment: lan, address: 10.10.1.10}\nappliance: {name: fw}\n"

// A place is an object of a lab file, as a file with a hole for one more key. The hole must come first: the loader
// tells of the first thing that is wrong.
var places = []struct{ def, text string }{
	{"", "%s\nname: a\nsegments: {}\n"},
	{"segment", "name: a\nsegments:\n  lan: {%s, subnet: 10.10.1.0/24}\nguests: {}\n"},
	{"guest", "name: a\nsegments:\n  lan: {subnet: 10.10.1.0/24}\nguests:\n  a: {%s, segment: lan, address: 10.10.1.10}\n"},
	{"vnic", "name: a\nsegments:\n  lan: {subnet: 10.10.1.0/24}\nguests:\n  a: {vnics: [{%s, segment: lan, address: 10.10.1.10}]}\n"},
	{"inspect", "name: a\nsegments:\n  lan: {subnet: 10.10.1.0/24}\nguests:\n  a: {segment: lan, address: 10.10.1.10}\nappliance: {name: fw}\ninspect: {%s, bypass-after: 1}\n"},
	{"appliance", "name: a\nsegments:\n  lan: {subnet: 10.10.1.0/24}\nguests:\n  a: {segment: lan, address: 10.10.1.10}\nappliance: {%s, name: fw}\n"},
	{"param", "params:\n  p: {%s}\nname: a\n"},
	{"task", placeHead + "tasks:\n  - {%s, id: t, check: [{run: {in: a, command: [x]}}]}\n"},
	{"hint", placeHead + "tasks:\n  - {id: t, check: [{run: {in: a, command: [x]}}], hints: [{%s, text: x}]}\n"},
	{"check", placeHead + "tasks:\n  - {id: t, check: [{%s, run: {in: a, command: [x]}}]}\n"},
	{"reach", placeHead + "tasks:\n  - {id: t, check: [{reach: {%s, from: a, to: a}}]}\n"},
	{"seen", placeHead + "tasks:\n  - {id: t, check: [{seen: {%s, at: a/from-guest}}]}\n"},
	{"walk", placeHead + "tasks:\n  - {id: t, check: [{walk: {%s, flow: icmp from a to a}}]}\n"},
	{"flows", placeHead + "tasks:\n  - {id: t, check: [{flows: {%s, flow: icmp from a to a}}]}\n"},
	{"receipt", placeHead + "tasks:\n  - {id: t, check: [{receipt: {%s}}]}\n"},
	{"counter", placeHead + "tasks:\n  - {id: t, check: [{counter: {%s}}]}\n"},
	{"answer", placeHead + "tasks:\n  - {id: t, check: [{answer: {%s, name: x}}]}\n"},
	{"speed", placeHead + "tasks:\n  - {id: t, check: [{speed: {%s, from: a, to: a}}]}\n"},
	{"policy", placeHead + "tasks:\n  - {id: t, check: [{policy: {%s}}]}\n"},
	{"run", placeHead + "tasks:\n  - {id: t, check: [{run: {%s, in: a, command: [x]}}]}\n"},
	{"recorded", placeHead + "tasks:\n  - {id: t, check: [{answer: {name: x, recorded: {%s}}}]}\n"},
}

// TestSchemaAgreesWithLoader: both know the same keys, the same words and the same bounds.
func TestSchemaAgreesWithLoader(t *testing.T) {
	text, err := os.ReadFile("../schema/lab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		t.Run("lab "+p.def, func(t *testing.T) {
			o := schemaAt(t, text, p.def)
			var keys []string
			for k, prop := range o.Properties {
				keys = append(keys, k)
				checkProperty(t, p.text, k, prop)
			}
			slices.Sort(keys)
			if want, got := "it takes "+strings.Join(keys, ", "), said(p.text, "zzzzzzzzzzzzzzzzzzzzzz: 1"); !strings.Contains(got, want) {
				t.Errorf("the schema: %s\nthe loader: %s", want, got)
			}
			if o.Closed == nil || *o.Closed {
				t.Error("the schema takes unknown keys")
			}
		})
	}
}

// TestSchemaKnowsReasons: where a reason is a word of a lab file, the schema has those of vnic/frame, no more and no
// less; and so it is with placements.
func TestSchemaKnowsReasons(t *testing.T) {
	text, err := os.ReadFile("../schema/lab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for r := frame.ReasonNone + 1; int(r) < frame.Reasons; r++ {
		want = append(want, r.String())
	}
	if got := schemaAt(t, text, "").Properties["placement"].Enum; !slices.Equal(got, firewall.PlacementNames()) {
		t.Errorf("the schema has the placements %q, the firewall %q", got, firewall.PlacementNames())
	}
	for def, key := range map[string]string{"walk": "by", "counter": "reason"} {
		if got := schemaAt(t, text, def).Properties[key].Enum; !slices.Equal(got, want) {
			t.Errorf("%s of %s:\nthe schema has %q,\nvnic/frame     %q", key, def, got, want)
		}
	}
}

func schemaAt(t *testing.T, text []byte, def string) (o schemaObject) {
	t.Helper()
	err := json.Unmarshal(text, &o)
	if err == nil && def != "" {
		raw := o.Defs[def]
		o = schemaObject{}
		err = json.Unmarshal(*raw, &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// checkProperty tries what the schema takes, and what it just does not.
func checkProperty(t *testing.T, place, key string, p schemaProperty) {
	t.Helper()
	try := func(value string, wrong bool) {
		got := said(place, key+": "+value)
		complains := strings.Contains(got, value) && (strings.Contains(got, "no "+key) || strings.Contains(got, "no service") || strings.Contains(got, "whole number"))
		if complains != wrong {
			t.Errorf("%s: %s: refused is %v, want %v: %s", key, value, complains, wrong, got)
		}
	}
	for _, w := range p.Enum {
		try(w, false)
	}
	if p.Enum != nil {
		try("nonsense", true)
		want := "it is one of " + strings.Join(p.Enum, ", ")
		if got := said(place, key+": zzzzzzzzzzzzzzzz"); strings.Contains(got, "it is one of") && !strings.Contains(got, want) {
			t.Errorf("%s: the schema: %s\nthe loader: %s", key, want, got)
		}
	}
	for _, w := range p.Items.Enum {
		try("["+w+"]", false)
	}
	if p.Minimum != nil {
		try(fmt.Sprint(*p.Minimum), false)
		try(fmt.Sprint(*p.Minimum-1), true)
	}
	if p.Maximum != nil {
		try(fmt.Sprint(*p.Maximum), false)
		try(fmt.Sprint(*p.Maximum+1), true)
	}
}

// said is what the loader says of a place with one more key.
func said(place, key string) string {
	_, err := parseLab(fstest.MapFS{}, "lab.yaml", fmt.Appendf(nil, place, key), Work{})
	return fmt.Sprint(err)
}
