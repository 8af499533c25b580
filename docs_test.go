package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/firewall"
)

// chapters are the texts that people write, by their file: the README and the pages of docs.
func chapters(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, file := range append(files, "README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[file] = string(text)
	}
	return out
}

// house is what a text may name.
type house struct {
	files       map[string]bool // and folders, by path and by their own name
	packages    map[string]bool // by their last name
	identifiers map[string]bool // frame.Parse, control.Client.Exec, TestCommandPages
}

func readHouse(t *testing.T) house {
	t.Helper()
	h := house{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != "." && strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			return filepath.SkipDir
		}
		h.files[path], h.files[filepath.Base(path)] = true, true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range goFiles(t) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		h.declare(filepath.Base(filepath.Dir(path))+".", file)
	}
	return h
}

// declare notes what a file of a package declares.
func (h house) declare(pkg string, file *ast.File) {
	h.packages[pkg] = true
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiver(d.Recv.List[0].Type) + "." + name
			}
			h.identifiers[pkg+name] = true
			h.identifiers[name] = true // of these a text may name tests
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					h.identifiers[pkg+s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						h.identifiers[pkg+n.Name] = true
					}
				}
			}
		}
	}
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	span       = regexp.MustCompile("`[^`\n]+`")
	block      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	ourPath    = regexp.MustCompile(`(?:^|[ "=(,]|\./)((?:docs|firewall|labs|scripts|vnic|vswitch)/[\w./{},-]*[\w}])`)
	goFile     = regexp.MustCompile(`(?:^|[\s(])([\w{},-]+\.go)\b`)
	identifier = regexp.MustCompile(`\b([a-z]+\.)([A-Z]\w*(?:\.[A-Z]\w*)?)`)
	testFunc   = regexp.MustCompile(`\bTest[A-Z]\w+(?:/[A-Z][a-z]\w+)?`)
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	braces     = regexp.MustCompile(`^(.*)\{([^}]*)\}(.*)$`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// each expands {a,b}, as a shell does.
func each(word string) (out []string) {
	m := braces.FindStringSubmatch(word)
	if m == nil {
		return []string{word}
	}
	for part := range strings.SplitSeq(m[2], ",") {
		out = append(out, m[1]+part+m[3])
	}
	return out
}

// missing are the files, identifiers and tests that a piece of code in a text names and that are not there.
func (h house) missing(code string) (out []string) {
	for _, m := range append(ourPath.FindAllStringSubmatch(code, -1), goFile.FindAllStringSubmatch(code, -1)...) {
		for _, path := range each(m[1]) {
			dir, name, _ := strings.Cut(path, ".") // vswitch/control.Client is no file
			if strings.Contains(path, "/NN-") {    // any number
				continue
			}
			if !h.files[filepath.Clean(path)] && !h.identifiers[filepath.Base(dir)+"."+name] {
				out = append(out, "file "+path)
			}
		}
	}
	for _, m := range identifier.FindAllStringSubmatch(code, -1) {
		if h.packages[m[1]] && !h.identifiers[m[0]] {
			out = append(out, "identifier "+m[0])
		}
	}
	for _, name := range testFunc.FindAllString(code, -1) {
		if !h.has(name) {
			out = append(out, "test "+name)
		}
	}
	return out
}

// has says whether a test is called so, or begins so: go test -run takes both. Behind a slash is a case of a suite.
func (h house) has(test string) bool {
	test, inSuite, split := strings.Cut(test, "/")
	if split && !h.identifiers["test"+inSuite] {
		return false
	}
	for name := range h.identifiers {
		if strings.HasPrefix(name, test) {
			return true
		}
	}
	return false
}

// TestDocsNameWhatExists: what the README and the pages of docs name in code (between backticks, or in a block) is
// there: files, identifiers, tests.
func TestDocsNameWhatExists(t *testing.T) {
	h := readHouse(t)
	for file, text := range chapters(t) {
		for _, code := range append(span.FindAllString(text, -1), block.FindAllString(text, -1)...) {
			for _, m := range h.missing(strings.Trim(code, "`")) {
				t.Errorf("%s: there is no %s", file, m)
			}
		}
	}
	if got := h.missing("vswitch/none.go beside none_{test,other}.go, frame.None, TestNone and TestSwitch/None"); len(got) != 6 {
		t.Errorf("what is missing is not found: %q", got)
	}
}

// TestDocsLinks: every link of the README and of the pages of docs leads to a file that is there, and to a heading that
// it has.
func TestDocsLinks(t *testing.T) {
	all := chapters(t)
	for file, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := filepath.Join(filepath.Dir(file), path)
			if path == "" {
				to = file
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
			if page, ours := all[to]; ours && anchor != "" && !anchors(page)[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", file, m[1], to)
			}
		}
	}
}

// TestProseIsNarrow: a line of prose has at most 200 columns. A row of a table cannot be broken.
func TestProseIsNarrow(t *testing.T) {
	for file, text := range chapters(t) {
		for i, line := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(line); n > 200 && !strings.HasPrefix(line, "|") {
				t.Errorf("%s:%d: a line of %d columns: break it at 200", file, i+1, n)
			}
		}
	}
}

// anchors are the names by which GitHub lets the headings of a page be linked.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out[strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

// TestDecisions: each decision in docs/DESIGN.md has a heading of its own, says what led to it and what was decided,
// and fits in 12 lines.
func TestDecisions(t *testing.T) {
	const most, columns = 12, 120
	_, text, found := strings.Cut(chapters(t)["docs/DESIGN.md"], "\n### ")
	if !found {
		t.Fatal("docs/DESIGN.md has no decision")
	}
	for part := range strings.SplitSeq(text, "\n### ") {
		part, _, _ = strings.Cut(part, "\n## ")
		name, body, _ := strings.Cut(part, "\n")
		lines := strings.Split(strings.TrimSpace(body), "\n")
		if len(lines) > most {
			t.Errorf("%q has %d lines; %d at most", name, len(lines), most)
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > columns {
				t.Errorf("%q has a line of %d columns; %d at most", name, n, columns)
			}
		}
		for _, word := range []string{"Context", "Decision"} {
			if !strings.Contains(body, "- **"+word+":** ") {
				t.Errorf("%q has no line that begins with - **%s:**", name, word)
			}
		}
	}
}

// TestHouseTable: each package of the graph has a row in docs/DESIGN.md, and no row is of none.
func TestHouseTable(t *testing.T) {
	_, text, _ := strings.Cut(chapters(t)["docs/DESIGN.md"], "\n## The house\n")
	text, _, _ = strings.Cut(text, "\n## ")
	rows := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if row, ours := strings.CutPrefix(line, "| `"); ours {
			names, _, _ := strings.Cut(row, "` |")
			for name := range strings.SplitSeq(names, "`, `") {
				rows[name] = true
			}
		}
	}
	for pkg := range floors {
		if pkg != "" && !rows[pkg] {
			t.Errorf("docs/DESIGN.md has no row for %s in the table of the house: say what its business is, and what is not", pkg)
		}
	}
	for pkg := range rows {
		if _, known := floors[pkg]; !known {
			t.Errorf("docs/DESIGN.md has a row for %s, which is no package of ours", pkg)
		}
	}
}

// TestTroubles: the messages that docs/troubleshooting.md explains are those of the program.
func TestTroubles(t *testing.T) {
	var sources strings.Builder
	for _, path := range append(goFiles(t), "scripts/lib.sh") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources.WriteString(strings.ReplaceAll(string(text), `\"`, `"`))
	}
	all := sources.String()
	for line := range strings.SplitSeq(chapters(t)["docs/troubleshooting.md"], "\n") {
		message, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "` |")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for part := range strings.SplitSeq(message, "…") {
			if part = strings.TrimSpace(part); !strings.Contains(all, part) {
				t.Errorf("no message of the program has %q (of %q)", part, message)
			}
		}
	}
}

// TestPlacementsAreTold: the README and the help of place say of each placement what it is.
func TestPlacementsAreTold(t *testing.T) {
	place, _, err := command().Find([]string{"place"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range firewall.PlacementNames() {
		if !strings.Contains(chapters(t)["README.md"], "\n   "+name+" ") {
			t.Errorf("the README's picture has no line for placement %s", name)
		}
		if !strings.Contains(place.Long, name+" (") {
			t.Errorf("sluice place --help does not say what %s is", name)
		}
	}
}
