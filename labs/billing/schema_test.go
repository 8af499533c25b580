package billing

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// schemaNode is as much of a JSON schema as this test reads.
type schemaNode struct {
	Ref        string                 `json:"$ref"`
	Enum       []string               `json:"enum"`
	Const      string                 `json:"const"`
	Pattern    string                 `json:"pattern"`
	Minimum    *float64               `json:"minimum"`
	Above      *float64               `json:"exclusiveMinimum"`
	Maximum    *float64               `json:"maximum"`
	MaxLength  *int                   `json:"maxLength"`
	MinItems   *int                   `json:"minItems"`
	MaxItems   *int                   `json:"maxItems"`
	Closed     *bool                  `json:"additionalProperties"`
	Required   []string               `json:"required"`
	Properties map[string]*schemaNode `json:"properties"`
	Items      *schemaNode            `json:"items"`
	OneOf      []*schemaNode          `json:"oneOf"`
	Not        *schemaNode            `json:"not"`
	Defs       map[string]*schemaNode `json:"$defs"`
}

// schemas are the published ones, by the file name that references use.
var schemas = map[string][]byte{
	"scenario.schema.json": ScenarioSchema, "answers.schema.json": AnswerSchema, "tasks.schema.json": TasksSchema,
}

func schemaFile(t *testing.T, file string) *schemaNode {
	t.Helper()
	n := &schemaNode{}
	if err := json.Unmarshal(schemas[file], n); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return n
}

// resolve follows a reference, and passes over "or null".
func resolve(t *testing.T, file string, n *schemaNode) *schemaNode {
	t.Helper()
	for n.Ref != "" || len(n.OneOf) == 2 && n.OneOf[1].Ref != "" {
		ref := n.Ref
		if ref == "" {
			ref = n.OneOf[1].Ref
		}
		other, def, _ := strings.Cut(ref, "#/$defs/")
		if other != "" {
			file = other
		}
		if n = schemaFile(t, file).Defs[def]; n == nil {
			t.Fatalf("%s: no %s", file, ref)
		}
	}
	return n
}

// An object of a file, as a file with a hole for one more key. The hole comes first: the reader tells of the first
// fault.
var schemaPlaces = []struct{ file, def, noun, text string }{
	{"scenario.schema.json", "", "the scenario", "%s\n"},
	{"scenario.schema.json", "charge", "a charge", "charges: [{%s}]"},
	{"scenario.schema.json", "payment", "a payment", "payments: [{%s}]"},
	{"scenario.schema.json", "rule", "a rule", "overdue: [{%s}]"},
	{"scenario.schema.json", "key", "an entry of an order", "order: [{%s}]"},
	{"answers.schema.json", "", "the answer", "%s\n"},
	{"answers.schema.json", "owed", "owed", "owed: {%s}"},
	{"answers.schema.json", "share", "a share", "shares: [{%s}]"},
	{"answers.schema.json", "rate", "the rate", "rate: {%s}"},
	{"tasks.schema.json", "", "the task file", "%s\n"},
	{"tasks.schema.json", "task", "a task", "tasks: [{%s}]"},
}

// said is what the reader of a file's kind says of a text; empty where nothing is wrong.
func said(file, text string) string {
	var err error
	switch file {
	case "scenario.schema.json":
		_, err = Parse("f.yaml", []byte(text))
	case "answers.schema.json":
		_, err = parseAnswer("f.yaml", []byte(text))
	case "tasks.schema.json":
		_, err = parseTasks("f.yaml", []byte(text), fstest.MapFS{"a": {Data: []byte(good)}})
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSchemasAgreeWithReaders: both know the same keys, the same needs, the same words and the same bounds.
func TestSchemasAgreeWithReaders(t *testing.T) {
	for _, p := range schemaPlaces {
		t.Run(p.file+" "+p.def, func(t *testing.T) {
			n := schemaFile(t, p.file)
			if p.def != "" {
				n = n.Defs[p.def]
			}
			if n.Closed == nil || *n.Closed {
				t.Error("the schema takes unknown keys")
			}
			var keys []string
			for k, prop := range n.Properties {
				keys = append(keys, k)
				checkKey(t, p.file, p.text, k, prop)
			}
			slices.Sort(keys)
			if got := said(p.file, fmt.Sprintf(p.text, "zzzzzz: 1")); !strings.Contains(got, "it takes "+strings.Join(keys, ", ")+"\n") && !strings.HasSuffix(got, "it takes "+strings.Join(keys, ", ")) {
				t.Errorf("the schema has %v, the reader says %s", keys, got)
			}
			checkNeeds(t, p.file, p.noun, p.text, n)
		})
	}
}

// checkNeeds fills an object in key by key: what the reader finds lacking is what the schema requires.
func checkNeeds(t *testing.T, file, noun, place string, n *schemaNode) {
	t.Helper()
	lacks := regexp.MustCompile(noun + ` lacks ([a-z-]+)`)
	filled, needed := "", []string{}
	for range len(n.Properties) + 1 {
		text := fmt.Sprintf(place, filled)
		if filled == "" && sep(place) == "\n" {
			text = "{}"
		}
		m := lacks.FindStringSubmatch(said(file, text))
		if m == nil || slices.Contains(needed, m[1]) {
			break
		}
		needed = append(needed, m[1])
		filled = strings.TrimPrefix(filled+sep(place)+m[1]+": "+sample(m[1]), sep(place))
	}
	want := slices.Sorted(slices.Values(n.Required))
	if slices.Sort(needed); !slices.Equal(needed, want) {
		t.Errorf("the schema needs %v, the reader %v", want, needed)
	}
}

// sep is what stands between two keys of a place.
func sep(place string) string {
	if strings.HasPrefix(place, "%s") {
		return "\n"
	}
	return ", "
}

// sample is a value that is good for a key.
func sample(key string) string {
	switch key {
	case "due", "date", "until", "cut-off":
		return "2010-06-15"
	case "order":
		return "oldest-first"
	case "charges":
		return "[{id: a, class: b, due: 2010-06-15, amount: 1}]"
	case "check":
		return "order"
	case "amount", "gets", "points", "days":
		return "7"
	case "tasks":
		return "[]" // what is wrong with it is told instead of what is lacking: it comes last
	}
	return "a"
}

// checkKey tries what the schema takes of a value, and what it just does not.
func checkKey(t *testing.T, file, place, key string, prop *schemaNode) {
	t.Helper()
	n := resolve(t, file, prop)
	try := func(value string, refused bool) {
		got := said(file, fmt.Sprintf(place, key+": "+value))
		// A value is refused by what is said of its own place; else what is said is that something is lacking, or
		// nothing.
		complains := got != "" && !strings.Contains(got, " lacks ") && !strings.Contains(got, "does nothing")
		if complains != refused {
			t.Errorf("%s: %.60s: refused is %v, want %v: %.300s", key, value, complains, refused, got)
		}
	}
	for _, w := range n.Enum {
		try(w, false)
	}
	for _, o := range n.OneOf {
		for _, w := range o.Enum {
			try(w, false)
		}
	}
	if n.Enum != nil || n.OneOf != nil {
		try("nonsense", true)
	}
	if n.Pattern != "" {
		re := regexp.MustCompile(n.Pattern)
		for _, w := range []string{"a", "A-9", strings.Repeat("a", 40), strings.Repeat("a", 41), "9a", "-a", "a_b", "a.b", "ä", "a-"} {
			try(w, !re.MatchString(w))
		}
	}
	if n.Not != nil && n.Not.Const != "" {
		try(n.Not.Const, true)
	}
	if n.Minimum != nil && *n.Minimum == 0 {
		try("0", false)
		try("-1", true)
	} else if n.Minimum != nil {
		try(fmt.Sprint(*n.Minimum), false)
		try("0", true)
	}
	if n.Above != nil {
		try(fmt.Sprint(*n.Above), true)
		try("0.0001", false)
	}
	if n.Maximum != nil {
		try(fmt.Sprintf("%.0f", *n.Maximum), false)
		try(fmt.Sprintf("%.0f", *n.Maximum+1), true)
	}
	if n.MaxLength != nil {
		try(strings.Repeat("x", *n.MaxLength), false)
		try(strings.Repeat("x", *n.MaxLength+1), true)
	}
	checkEntries(t, file, place, key, n)
}

// checkEntries is checkKey for how many entries a list may have.
func checkEntries(t *testing.T, file, place, key string, n *schemaNode) {
	t.Helper()
	count := regexp.MustCompile(`has (\d+) entries`)
	entries := func(k int, refused bool) {
		text := "[" + strings.TrimSuffix(strings.Repeat("x, ", k), ", ") + "]"
		if got := said(file, fmt.Sprintf(place, key+": "+text)); count.MatchString(got) != refused {
			t.Errorf("%s: %d entries: refused is %v, want %v: %.300s", key, k, !refused, refused, got)
		}
	}
	if n.MaxItems != nil {
		entries(*n.MaxItems, false)
		entries(*n.MaxItems+1, true)
	}
	if n.MinItems != nil && *n.MinItems > 0 {
		entries(*n.MinItems, false)
		entries(*n.MinItems-1, true)
	}
}

// TestSchemasReferToEachOther: every reference leads somewhere.
func TestSchemasReferToEachOther(t *testing.T) {
	refs := regexp.MustCompile(`"\$ref": "([^"]+)"`)
	for file, text := range schemas {
		for _, m := range refs.FindAllSubmatch(text, -1) {
			resolve(t, file, &schemaNode{Ref: string(m[1])})
		}
	}
}
