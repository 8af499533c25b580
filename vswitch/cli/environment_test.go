package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readBy are the variables that a call reads without naming them.
var readBy = map[string]string{"UserCacheDir": "XDG_CACHE_HOME HOME", "MkdirTemp": "TMPDIR", "LookPath": "PATH", "EnvName": "SLUICE_FLAG"}

// variablesRead are those that the program reads: by a call, or because a lab process keeps them.
func variablesRead(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	literals := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				name, err := strconv.Unquote(l.Value)
				found[name] = err == nil
			}
			return true
		})
	}
	inFile := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
			case *ast.Ident:
				name = f.Name
			}
			for _, v := range strings.Fields(readBy[name]) {
				found[v] = true
			}
			if name == "Getenv" || name == "LookupEnv" {
				literals(n)
			}
		case *ast.ValueSpec:
			if n.Names[0].Name == "variables" && len(n.Values) == 1 {
				if list, ok := n.Values[0].(*ast.CompositeLit); ok && isStrings(list.Type) {
					literals(list)
				}
			}
		}
		return true
	}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && slices.Contains([]string{"enginetest", "matrix", "roottest"}, e.Name()) {
			return filepath.SkipDir // only tests import them
		}
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			ast.Inspect(file, inFile)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

func isStrings(t ast.Expr) bool {
	list, ok := t.(*ast.ArrayType)
	if !ok {
		return false
	}
	of, ok := list.Elt.(*ast.Ident)
	return ok && of.Name == "string"
}

// TestEnvironmentIsTold: users are told of every variable that is read, and of no other. docs/cli has the same text.
func TestEnvironmentIsTold(t *testing.T) {
	read := variablesRead(t)
	var told []string
	for _, v := range variables {
		told = append(told, strings.Split(v.name, ", ")...)
	}
	slices.Sort(told)
	if !slices.Equal(told, read) {
		t.Errorf("sluice help environment tells of\n%q; read are\n%q", told, read)
	}
	for line := range strings.Lines(environmentTopic().Long) {
		if len(line) > 121 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}
