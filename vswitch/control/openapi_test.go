package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml anew")

// served is what a running lab serves at a path.
func served(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := dial(t, "lab").do(t.Context(), http.MethodGet, path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOpenAPI: the document that is committed is the one that a running lab serves, and docs/api.md tells of each
// operation.
func TestOpenAPI(t *testing.T) {
	const (
		document = "../../docs/openapi.yaml"
		anew     = "go test ./vswitch/control -run TestOpenAPI -update"
	)
	tempState(t)
	startLab(t, "lab", &fakeLab{}, usualLimits)
	want := served(t, "/openapi.yaml")
	if *update {
		if err := os.WriteFile(document, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(document)
	if err != nil || !bytes.Equal(is, want) {
		t.Errorf("%s is not what a lab serves (%v); write it anew: %s", document, err, anew)
	}

	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(served(t, "/openapi.json"), &doc); err != nil {
		t.Fatal(err)
	}
	chapter, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			if row := "| `" + strings.ToUpper(method) + " " + path + "` |"; !bytes.Contains(chapter, []byte(row)) {
				t.Errorf("docs/api.md has no row that begins with %s", row)
			}
		}
	}
	allowed := regexp.MustCompile(`^[a-zA-Z0-9._-]+$`) // OpenAPI 3.1.0, section 4.8.7
	for name := range doc.Components.Schemas {
		if !allowed.MatchString(name) {
			t.Errorf("%q can be no schema's name: name its Go type", name)
		}
	}
}
