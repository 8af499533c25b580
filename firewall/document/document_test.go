package document

import (
	"fmt"
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
		{"lines with carriage returns", "# note\r\na: [x\r\n", 2, 4, "not YAML"},
		{"two", "a: 1\n---\nb: 2\n", 3, 1, "a second document"},
		{"brackets", "a: 1\nb: " + strings.Repeat("[", 33), 2, 1, "nests deeper than 32"},
		{"brackets over many lines", strings.Repeat("[\n", 33), 33, 1, "nests deeper than 32"},
		{"dashes", "a:\n " + strings.Repeat("- ", 100_000), 2, 1, "nests deeper than 32"},
		{"question marks", strings.Repeat("? ", 100_000), 1, 1, "nests deeper than 32"},
		{"keys after question marks", strings.Repeat("? a\n", 100_000), 33, 1, "more than 32 keys after question marks"},
		{"such keys in a list", strings.Repeat("- ?\n", 100_000), 33, 1, "more than 32 keys after question marks"},
		{"questions", "a: |\n" + strings.Repeat("  Is it so? Why?\n", 100), 0, 0, ""},
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

// tree writes what readers can see of a document: kinds, words and places. ok is false where a long list cannot be read on.
func tree(n ast.Node, depth int) (text string, ok bool) {
	line, col := Place(n)
	word, isWord := Word(n)
	if n.Type() == ast.NullType || strings.ContainsAny(word, " \n") {
		line, col = 0, 0 // the parser says where nothing is, and a word of several lines, by what follows
	}
	text = fmt.Sprintf("%*s%d:%d %q %v", depth, "", line, col, word, isWord)
	ok = true
	add := func(kind string, n ast.Node) {
		t, fine := tree(n, depth+1)
		text += "\n" + kind + t
		ok = ok && fine
	}
	if items, isList := List(n); isList {
		text = fmt.Sprintf("%*slist", depth, "")
		for v, fault := range items {
			if fault != nil {
				return "", false
			}
			add("- ", v)
		}
		return text, ok
	}
	pairs, isMap := Pairs(n)
	if !isMap {
		return text + fmt.Sprintf(" %v", n.Type()), ok
	}
	for _, p := range pairs {
		name, plain := Name(p)
		line, col := Place(p.Key)
		text += fmt.Sprintf("\n%*s%q %v %d:%d", depth, "", name, plain, line, col)
		add("= ", p.Value)
	}
	return text, ok
}

// sameTrees fails where a document is read in pieces, and otherwise than as a whole.
func sameTrees(t *testing.T, src []byte, b bounds) (good bool) {
	t.Helper()
	long, fault := parseLong(src, "file", "", b)
	if fault != nil {
		return false
	}
	got, ok := tree(long, 0)
	if !ok {
		return false
	}
	whole, fault := Parse(src, "file", "")
	if fault != nil {
		t.Fatalf("read in pieces, but not as a whole: %+v", fault)
	}
	if want, _ := tree(whole, 0); got != want {
		t.Fatalf("in pieces:\n%s\nas a whole:\n%s", got, want)
	}
	return true
}

func TestLongLists(t *testing.T) {
	for _, c := range []struct {
		src  string
		good bool
	}{
		{"a: 1\nlist:\n- {x: 1}\n- {x: 2}\nb: 2\n", true},
		{"list:\n  - x: 1\n    y: [1,\n      2]\n\n# note\n  # note\n  - x: 2\n    z:\n    - p\n    - q\n", true},
		{"list: \n\n    - a\n    - b: c\nend:\n", true},
		{"list:\n- a\n- \nb: c\n", true}, // these two are no long lists
		{"list:\n- a\n- # b\n", true},
		{"s:\n- name: one\n  rules:\n  - a\n  - b\n- name: two\n  rules:\n  - c\n  - d\n", true},
		{"s:\n  t:\n    rules:\n      - a\n      - b\n    x: 1\n", true},
		{"list:\r\n- a\r\n- b\r\n", true},
		{"list:\n- a\r- b\n", false},
		{"list:\n- a\n- b", true},
		{"list:\n- a\n b: c\n", false},
		{"list:\n  - a\n  - b\n c: d\n", false},
		{"list:\n- \"a\n- b\"\n- c\n", false},
		{"list:\n- [a,\n- b]\n", false},
		{"x: |\n  list:\n  - a\n  - b\n", false},
		{"x: \"\n  list:\n  - a\n  - b\"\n", false},
		{"list:\n- a\n---\n- b\n", false},
		{"list:\n- a\n\t- b\n", false},
		{"list:\n- a\n- *b\n- &c d\n", true},
	} {
		for _, b := range []bounds{{1, 1}, {2, 8}, {2, 1 << 16}} {
			if good := sameTrees(t, []byte(c.src), b); good != c.good {
				t.Errorf("%q, %+v: %v", c.src, b, good)
			}
		}
	}
}

// A long document is read in pieces or not at all, and the place of a fault in it is right.
func TestLongDocument(t *testing.T) {
	items := strings.Repeat("  - {name: x, from: [a, b]} # fill the line up to some length\n", MaxWhole/50)
	for _, c := range []struct {
		name, src string
		line, col int
		msg       string
	}{
		{"good", "list:\n" + items, 0, 0, ""},
		{"a fault at its end", "list:\n" + items + "  - {a: [b}\n", strings.Count(items, "\n") + 2, 11, "not YAML"},
		{"a fault behind it", "list:\n" + items + "a: {\n", strings.Count(items, "\n") + 2, 4, "not YAML"},
		{"a long item", "list:\n- a\n- [" + strings.Repeat("a,\n  ", MaxWhole/4) + "]\n" + strings.Repeat("- b\n", 64), 3, 1, "too long"},
		{"not a list", "list: [" + strings.Repeat("a,\n", MaxWhole/3) + "]\n", 1, 1, "too long"},
	} {
		root, fault := ParseLong([]byte(c.src), "file", "")
		n := 0
		if fault == nil {
			pairs, _ := Pairs(root)
			list, _ := List(pairs[0].Value)
			for _, fault = range list {
				n++
			}
		}
		switch {
		case c.msg == "":
			if fault != nil || n != strings.Count(items, "\n") {
				t.Errorf("%s: %d items, %+v", c.name, n, fault)
			}
		case fault == nil || fault.Line != c.line || fault.Col != c.col || !strings.Contains(fault.Msg, c.msg):
			t.Errorf("%s: %+v, want %d:%d %s", c.name, fault, c.line, c.col, c.msg)
		}
	}
}

// FuzzDocument: whatever a file holds, it is read or has a fault with a place.
func FuzzDocument(f *testing.F) {
	f.Add([]byte("a: [1, {b: c}]\n---\nd"))
	f.Add([]byte("a:\n  - {b: c}\n  - d: e\n    f:\n    - g\n    - h\n# i\nj: k\n"))
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
		sameTrees(t, src, bounds{1, 1})
		sameTrees(t, src, bounds{2, 64})
	})
}
