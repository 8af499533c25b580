package stream

import (
	"strings"
	"testing"
)

// TestWrite: a line of JSON is read by students, who see an arrow as an arrow.
func TestWrite(t *testing.T) {
	var out strings.Builder
	err := write(&out, map[string]string{"broken": "10.0.0.1:1->10.0.0.2:2"})
	if err != nil || out.String() != "{\"broken\":\"10.0.0.1:1->10.0.0.2:2\"}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
