package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// once are patterns of what stands in one place only, and the place: a second one would drift from the first.
var once = []struct {
	what, place string
	pattern     *regexp.Regexp
}{
	{"an address of the tunnel", "vnic/frame/", regexp.MustCompile(`169\.254\.83|169, *254, *83`)},
	{"a type of ICMP", "vnic/frame/", regexp.MustCompile(`\b(icmp6?|mld)(Echo|Unreach|Exceed|Redirect|Router|Report)\w*(, \w+)* += [0-9]`)},
	{"a way to make text safe for a terminal", "firewall/fault/", regexp.MustCompile(`unicode\.Is(Print|Graphic|Control)\b`)},
	{"a parser of YAML", "firewall/document/", regexp.MustCompile(`yaml\.(NewLoader|Unmarshal|NewDecoder)\b`)},
	{"a list of the classes of errors", "firewall/fault/", regexp.MustCompile(`\bBadInput +\w+ += `)},
}

// TestStandsOnce looks for a second place of what stands in one. labs/billing is apart: it imports nothing of ours.
func TestStandsOnce(t *testing.T) {
	for _, dir := range packageDirs(t) {
		if dir == "labs/billing" {
			continue
		}
		sources, err := fs.Glob(os.DirFS("."), filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range sources {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range once {
				if at := c.pattern.FindIndex(text); at != nil && !strings.HasPrefix(path, c.place) {
					t.Errorf("%s has %s: %q; it stands in %s", path, c.what, text[at[0]:at[1]], c.place)
				}
			}
		}
	}
}
