package document

import (
	"strings"
	"testing"
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
		{"two", "a: 1\n---\nb: 2\n", 2, 1, "a second document"},
		{"brackets", "a: 1\nb: " + strings.Repeat("[", 33), 2, 36, "nests deeper than 32"},
		{"brackets over many lines", strings.Repeat("[\n", 33), 33, 1, "nests deeper than 32"},
		{"dashes", "a:\n " + strings.Repeat("- ", 100_000), 2, 64, "nests deeper than 32"},
		{"question marks", strings.Repeat("? ", 100_000), 1, 65, "nests deeper than 32"},
		{"keys after question marks", strings.Repeat("? a\n", 1000), 0, 0, ""},
		{"such keys in a list", strings.Repeat("- ?\n", 1000), 0, 0, ""},
		{"questions", "a: |\n" + strings.Repeat("  Is it so? Why?\n", 100), 0, 0, ""},
		{"as deep as may be", "a: " + strings.Repeat("[", 32) + strings.Repeat("]", 32), 0, 0, ""},
		{"brackets in a text", "a: '" + strings.Repeat("[", 99) + "' # " + strings.Repeat("{", 99), 0, 0, ""},
		{"a tab that indents", "a:\n\tb: c\n", 2, 1, "a tab, where only spaces indent"},
		{"a tab after a word", "a:\n- x\n\t- y\n", 3, 1, "a tab, where only spaces indent"},
		{"a word that begins oddly", "a: @x\n", 1, 4, "cannot begin with @"},
		{"a bracket in a bracket's place", "a:\n  - {to: [x}\n", 2, 12, "a comma or ] must be here, for the [ at 2:10"},
		{"a quote without end", "a: \"x\nb: c\n", 1, 4, "the quote that begins here does not end"},
		{"two colons", "a: b: c\n", 1, 5, "a second key in the line"},
		{"odd indentation", "a:\n  b: c\n d: e\n", 3, 2, "does not fit what is above it"},
		{"an alias of nothing", "a: *x\n", 1, 4, "an alias of nothing"},
		{"UTF-16", "\xff\xfea\x00:\x00", 1, 1, "UTF-16"},
		{"a byte order mark", "\ufeffa: b", 0, 0, ""},
		{"no UTF-8", "a: b\nc: ä\xff", 2, 5, "0xff"},
		{"a zero", "a: b\x00", 1, 5, "control character U+0000"},
		{"a line break of YAML's", "a: b\u2028c: d", 1, 5, "U+2028"},
		{"a lone carriage return", "a: b\rc: d", 1, 5, "carriage return"},
		{"many brackets that do not nest", "a: [" + strings.Repeat("[],\n", 100) + "]", 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, f := parse([]byte(c.src), "file", "write one")
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
	root, fault := parse([]byte("one: 1\ntwo: {three: yes}\n3: x\n<<: y\nlist: [a]\nnothing: ~\n"), "file", "")
	if fault != nil {
		t.Fatal(fault)
	}
	if len(root.Pairs) != 6 {
		t.Fatalf("%d pairs", len(root.Pairs))
	}
	for i, c := range []struct {
		name      string
		plain     bool
		word      string
		kind      Kind
		line, col int // of the value
	}{
		{"one", true, "1", Word, 1, 6},
		{"two", true, "", Map, 2, 6},
		{"", false, "x", Word, 3, 4},
		{"", false, "y", Word, 4, 5},
		{"list", true, "", List, 5, 7},
		{"nothing", true, "", Nothing, 6, 10},
	} {
		v := root.Pairs[i].Value
		name, plain := root.Pairs[i].Name()
		if name != c.name || plain != c.plain || v.Text != c.word || v.Kind != c.kind || v.Line != c.line || v.Col != c.col {
			t.Errorf("pair %d: %q %v, value %+v; want %+v", i+1, name, plain, v, c)
		}
	}
	var none *Node
	if line, col := none.Place(); line != 1 || col != 1 || none.Is(Nothing) {
		t.Errorf("nothing is at %d:%d", line, col)
	}
}

// FuzzDocument: whatever a file holds, it is read or has a fault with a place.
func FuzzDocument(f *testing.F) {
	f.Add([]byte("a: [1, {b: c}]\n---\nd"))
	f.Add([]byte("a:\n  - {b: c}\n  - d: e\n    f:\n    - g\n    - h\n# i\nj: k\n"))
	f.Add([]byte("a: \"\n\tb: [x}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		n, fault := parse(src, "file", "")
		if (n == nil) == (fault == nil) || fault != nil && (fault.Line < 1 || fault.Col < 1 || fault.Msg == "") {
			t.Fatalf("%v, %+v", n, fault)
		}
		whole(t, n)
	})
}

// whole fails where a node has no place.
func whole(t *testing.T, n *Node) {
	if n == nil {
		return
	}
	if n.Line < 1 || n.Col < 1 {
		t.Fatalf("%+v has no place", n)
	}
	for _, p := range n.Pairs {
		whole(t, p.Key)
		whole(t, p.Value)
	}
	for _, v := range n.Items {
		whole(t, v)
	}
}
