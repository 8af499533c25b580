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
)

// TestDocCommentsNameWhatFollows: a doc comment begins with the name of its function or type, or with an article and
// the name. So a comment that a move or a new name has left behind is found.
func TestDocCommentsNameWhatFollows(t *testing.T) {
	for _, path := range goFiles(t) {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range documented(file) {
			if !names(d.doc.Text(), d.name) {
				first, _, _ := strings.Cut(d.doc.Text(), "\n")
				t.Errorf("%s: the comment of %s begins with %q: begin with the name, or move the comment to what it is about",
					fset.Position(d.doc.Pos()), d.name, first)
			}
		}
	}
}

// TestCommentsAreNarrow: a line of comment has at most 120 columns, with a tab of four.
func TestCommentsAreNarrow(t *testing.T) {
	for _, path := range goFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.ReplaceAll(line, "\t", "    ")
			if n := utf8.RuneCountInString(line); strings.HasPrefix(strings.TrimSpace(line), "//") && n > 120 {
				t.Errorf("%s:%d: a comment of %d columns: break it at 120", path, i+1, n)
			}
		}
	}
}

// testName is what a function is called that the go command runs: its comment may say what holds, without the name. It
// must not begin with the name of another one.
var testName = regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)[A-Z_]`)

type declared struct {
	name string
	doc  *ast.CommentGroup
}

// documented are a file's functions, methods and types that have a doc comment of their own.
func documented(file *ast.File) (out []declared) {
	add := func(name string, doc *ast.CommentGroup) {
		if text := doc.Text(); text != "" && (!testName.MatchString(name) || testName.MatchString(text)) {
			out = append(out, declared{name, doc})
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(d.Name.Name, d.Doc)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && d.Lparen.IsValid() {
					add(s.Name.Name, s.Doc)
				} else if ok {
					add(s.Name.Name, d.Doc)
				}
			}
		}
	}
	return out
}

// names says whether a comment begins with a name.
func names(text, name string) bool {
	words := strings.Fields(text)
	if len(words) > 1 && (words[0] == "A" || words[0] == "An" || words[0] == "The") {
		words = words[1:]
	}
	word := strings.TrimRight(words[0], ":,.;")
	return word == name || word == name+"'s"
}

// goFiles are the paths of all files of Go of this module.
func goFiles(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
