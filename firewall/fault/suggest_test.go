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

func TestInstead(t *testing.T) {
	for written, want := range map[string]string{"segmnet": "; did you mean segment?", "colour": ": address, segment"} {
		if got := Instead(written, []string{"address", "segment"}); got != want {
			t.Errorf("Instead(%q) = %q, want %q", written, got, want)
		}
	}
	if got := Instead("colour", nil); got != ": there are none" {
		t.Errorf("of nothing: %q", got)
	}
}
