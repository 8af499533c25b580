package document

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, src string
		line, col int
		msg       string // empty: it is read
	}{
		{"a mapping", "a: 1\nb: [x, {y: z}]\n", 0, 0, ""},
		{"a key twice is the reader's business", "a: 1\na: 2\n", 0, 0, ""},
		{"empty", "", 1, 1, "the file is empty"},
		{"only a comment", "# nothing\n", 1, 1, "the file is empty"},
		{"not YAML", "a: 1\nb: [x\n", 2, 4, "not YAML"},
		{"two", "a: 1\n---\nb: 2\n", 3, 1, "a second document"},
		{"brackets", "a: 1\nb: " + strings.Repeat("[", 33), 2, 1, "nests deeper than 32"},
		{"brackets over many lines", strings.Repeat("[\n", 33), 33, 1, "nests deeper than 32"},
		{"dashes", "a:\n " + strings.Repeat("- ", 100_000), 2, 1, "nests deeper than 32"},
		{"question marks", strings.Repeat("? ", 100_000), 1, 1, "nests deeper than 32"},
		{"as deep as may be", "a: " + strings.Repeat("[", 32) + strings.Repeat("]", 32), 0, 0, ""},
		{"many brackets that do not nest", "a: [" + strings.Repeat("[],\n", 100) + "]", 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, f := Parse([]byte(c.src), "file", "write one")
			switch {
			case c.msg == "":
				if f != nil || n == nil {
					t.Errorf("fault %+v", f)
				}
			case f == nil || n != nil || f.Line != c.line || f.Col != c.col || !strings.Contains(f.Msg, c.msg):
				t.Errorf("fault %+v, want %d:%d %s", f, c.line, c.col, c.msg)
			}
		})
	}
}

func TestPairs(t *testing.T) {
	root, fault := Parse([]byte("one: 1\ntwo: {three: yes}\n3: x\n<<: y\nlist: [a]\nnothing: ~\n"), "file", "")
	if fault != nil {
		t.Fatal(fault)
	}
	pairs, ok := Pairs(root)
	if !ok || len(pairs) != 6 {
		t.Fatalf("%d pairs, %v", len(pairs), ok)
	}
	for i, c := range []struct {
		name      string
		plain     bool
		word      string
		isWord    bool
		line, col int // of the value
	}{
		{"one", true, "1", true, 1, 6},
		{"two", true, "", false, 2, 6},
		{"", false, "x", true, 3, 4},
		{"", false, "y", true, 4, 5},
		{"list", true, "", false, 5, 7},
		{"nothing", true, "", false, 6, 10},
	} {
		name, plain := Name(pairs[i])
		word, isWord := Word(pairs[i].Value)
		line, col := Place(pairs[i].Value)
		if name != c.name || plain != c.plain || word != c.word || isWord != c.isWord || line != c.line || col != c.col {
			t.Errorf("pair %d: %q %v, value %q %v at %d:%d; want %+v", i+1, name, plain, word, isWord, line, col, c)
		}
	}
	if line, col := Place(root); line != 1 || col != 1 {
		t.Errorf("the mapping begins at %d:%d", line, col)
	}
	if _, ok := Pairs(pairs[4].Value); ok {
		t.Error("a list is a mapping")
	}
	var none ast.Node
	if line, col := Place(none); line != 1 || col != 1 {
		t.Errorf("nothing is at %d:%d", line, col)
	}
}

// FuzzDocument: whatever a file holds, it is read or has a fault with a place.
func FuzzDocument(f *testing.F) {
	f.Add([]byte("a: [1, {b: c}]\n---\nd"))
	f.Fuzz(func(t *testing.T, src []byte) {
		n, fault := Parse(src, "file", "")
		if (n == nil) == (fault == nil) || fault != nil && (fault.Line < 1 || fault.Msg == "") {
			t.Fatalf("%v, %+v", n, fault)
		}
		pairs, _ := Pairs(n)
		for _, p := range pairs {
			Name(p)
			Word(p.Value)
			Place(p.Value)
		}
	})
}
