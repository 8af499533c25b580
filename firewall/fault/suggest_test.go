package fault

import (
	"strings"
	"testing"
)

func TestSuggest(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{"segmnet", "segment"},
		{"segments", "segment"},
		{"adress", "address"},
		{"colour", ""},
		{"", ""},
		{strings.Repeat("x", 100), ""},
	} {
		if got := Suggest(c.written, []string{"address", "segment"}); got != c.want {
			t.Errorf("Suggest(%q) = %q, want %q", c.written, got, c.want)
		}
	}
}
