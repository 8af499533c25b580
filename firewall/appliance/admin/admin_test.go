package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
)

var inventory = &firewall.Inventory{
	Segments: []firewall.InvSegment{{Name: "lan", ID: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.10.1.0/24")}}},
	Guests: []firewall.InvGuest{
		{Name: "client", VNICs: []firewall.InvVNIC{{Port: 1, Segment: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.10.1.10")}}}},
		{Name: "server", VNICs: []firewall.InvVNIC{{Port: 2, Segment: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.10.1.20")}}}},
	},
}

const (
	good   = "default: drop\nrules:\n  - {name: all, from: client, to: server, action: allow}\n"
	closed = "default: drop\n"
	bad    = "default: drop\nrules:\n  - {name: all, from: clint, to: server, action: allow}\n"
)

// TestCheck says what may be pushed.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		push Push
		ok   bool
	}{
		{"plain", Push{File: "/etc/x", Source: []byte(good), Base: 1}, true},
		{"forced", Push{File: "stdin", Source: []byte(good), Force: true}, true},
		{"words of all the world", Push{File: "päpstlich", Source: []byte("# 世界\r\n\tx"), Base: 1}, true},
		{"the longest", Push{File: strings.Repeat("x", maxFile), Source: bytes.Repeat([]byte("x"), MaxSource), Base: 1}, true},
		{"no name", Push{Source: []byte(good), Base: 1}, false},
		{"a name too long", Push{File: strings.Repeat("x", maxFile+1), Base: 1}, false},
		{"a name with an escape", Push{File: "\x1b[2J", Base: 1}, false},
		{"a name of two lines", Push{File: "a\nb", Base: 1}, false},
		{"a name that is not UTF-8", Push{File: "\xff", Base: 1}, false},
		{"no base", Push{File: "x"}, false},
		{"forced, with a base", Push{File: "x", Base: 1, Force: true}, false},
		{"too long", Push{File: "x", Source: bytes.Repeat([]byte("x"), MaxSource+1), Base: 1}, false},
		{"an escape", Push{File: "x", Source: []byte("# \x1b[2J"), Base: 1}, false},
		{"a zero", Push{File: "x", Source: []byte("a\x00b"), Base: 1}, false},
		{"written from right to left", Push{File: "x", Source: []byte("# \u202e"), Base: 1}, false},
		{"not UTF-8", Push{File: "x", Source: []byte("\xc3"), Base: 1}, false},
	} {
		req := Request{Push: &c.push}
		if err := req.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := (&Request{}).Check(); err != nil {
		t.Errorf("a question: %v", err)
	}
	long := Opening{Edition: firewall.Edition{Source: bytes.Repeat([]byte("x"), MaxSource+1)}}
	if _, err := NewDesk(t.TempDir()).Open(long, nil); err == nil {
		t.Error("a desk has room for anything")
	}
}

// lab plays the host: it has a policy in force and takes what is pushed from it.
type lab struct {
	t    *testing.T
	at   place
	desk *Desk

	busy  atomic.Bool // a request is being answered
	mu    sync.Mutex
	now   firewall.Edition
	fail  error // the line breaks
	asked int
}

func newLab(t *testing.T, source string) *lab {
	t.Helper()
	root, err := os.MkdirTemp("", "desk") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	l := &lab{t: t, at: under(root), desk: NewDesk(root), now: firewall.Edition{File: "lab.yaml", Source: []byte(source), Generation: 1}}
	t.Cleanup(func() {
		if l.desk.listening != nil {
			l.desk.listening.Close()
		}
	})
	return l
}

func (l *lab) open() *Session {
	l.t.Helper()
	s, err := l.desk.Open(Opening{l.now, inventory}, l.answer)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// answer is the switch's rule: what did not begin from what is in force is refused.
func (l *lab) answer(req Request) (a Answer, err error) {
	if l.busy.Swap(true) {
		l.t.Error("the host is asked before it has answered")
	}
	defer l.busy.Store(false)
	time.Sleep(time.Millisecond) // too short a time could only miss an error, not make one
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.fail != nil {
		return a, l.fail
	}
	if err := req.Check(); err != nil {
		l.t.Errorf("the command asks what the host refuses: %v", err)
	}
	p := req.Push
	switch {
	case p == nil:
	case p.Base != 0 && p.Base != l.now.Generation:
		a.Error = fmt.Sprintf("conflict: now %d, began from %d", l.now.Generation, p.Base)
	default:
		l.now = firewall.Edition{File: p.File, Source: p.Source, Generation: l.now.Generation + 1}
		a.Rules = 1
	}
	a.Generation = l.now.Generation
	a.Realized = []Realized{{"client", a.Generation}, {"server", a.Generation}}
	return a, nil
}

// write writes a file; its name is below the root.
func (l *lab) write(name, text string) string {
	l.t.Helper()
	path := filepath.Join(filepath.Dir(l.at.file), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// says runs the command and compares its exit code, and what it says.
func (l *lab) says(stdin string, code int, want string, args ...string) {
	l.t.Helper()
	var out bytes.Buffer
	if got := l.at.run(args, strings.NewReader(stdin), &out, &out); got != code || !strings.Contains(out.String(), want) {
		l.t.Errorf("policy %v: exit code %d, want %d and %q in\n%s", args, got, code, want, &out)
	}
}

// file says what the policy's file holds.
func (l *lab) file(want string) {
	l.t.Helper()
	if got, err := os.ReadFile(l.at.file); err != nil || string(got) != want {
		l.t.Errorf("the file is %v\n%s\nwant\n%s", err, got, want)
	}
}

// TestCommand walks through a day of the administrator.
func TestCommand(t *testing.T) {
	l := newLab(t, good)
	l.says("", 1, "the placement is not push", "show")
	session := l.open()
	l.says("", 0, "# lab.yaml, generation 1; administered here\n"+good, "show")
	l.says("", 0, "generation 1 is in force\nVNIC    GENERATION\nclient  1\nserver  1\n", "status")
	l.says("", 0, "policy.yaml: good, 1 rules", "lint")
	l.says("", 0, "decide every flow alike", "diff")
	l.write("policy.yaml", "helpers: tftp\n"+good)
	l.says("", 1, "what connections announce, in slow: helpers none, then tftp\n", "diff")
	l.write("policy.yaml", good)

	// What is wrong in a file has its line and column, and never reaches the host.
	asked := l.asked
	l.write("policy.yaml", bad)
	l.says("", 2, "policy.yaml:3:23: \"clint\" is no guest", "push")
	l.says("", 2, "policy.yaml:3:23: ", "push", "--force")
	l.says("", 2, "policy.yaml:3:23: ", "lint")
	l.says("", 2, "policy.yaml:3:23: ", "diff")
	l.says("", 2, "no such file", "lint", "/nowhere")
	l.says("\x1b", 2, "stdin: the policy has control characters", "lint", "-")
	l.says(strings.Repeat("#", MaxSource+1), 2, "stdin has more than", "lint", "-")
	l.says("default: drop\nservices: {web: {tcp: 80}}\n", 1, "stdin:2:12: unused-service: ", "lint", "-")
	if l.asked != asked {
		t.Errorf("the host was asked %d times", l.asked-asked)
	}

	// A good one is pushed, and is what the next push begins from.
	l.write("policy.yaml", closed)
	l.says("", 1, "allow by rule all (generation 1:3)", "diff")
	l.says("", 0, "generation 2 is in force: 1 rules, 0 flows cut\nVNIC    GENERATION\nclient  2\n", "push")
	l.says("", 0, "generation 2;", "show")
	l.says("", 0, "generation 3 is in force", "push")

	// Another file: what it began from is known once somebody has looked, or has pushed it.
	other := l.write("other.yaml", good)
	l.says("", 2, "nobody knows from which generation "+other+" began", "push", other)
	l.says("", 1, "drop by rule default (generation 3)", "diff", other)
	l.says("", 0, "generation 4 is in force", "push", other)
	l.file(good) // nobody had edited it since it was pushed
	l.says("", 0, "generation 5 is in force", "push", other)
	l.says(good, 2, "use --force", "push", "-")
	l.says(good, 0, "generation 6 is in force", "push", "-", "--force")

	// Two work at once: the second is told, looks, and pushes again.
	l.write("policy.yaml", closed)
	l.says("", 1, "conflict: now 6, began from 5", "push", other)
	l.says("", 0, "alike", "diff", other)
	l.says("", 0, "generation 7 is in force", "push", other)
	l.file(closed) // edited: nobody else writes it
	l.says("", 1, "conflict: now 7, began from 6", "push")
	l.says("", 0, "generation 8 is in force", "push", "--force")

	// The line breaks: nobody knows what has become of the push.
	l.fail = errors.New("gone")
	l.says("", 1, "the line to the switch broke before it answered; see `policy status` (gone)", "push")
	l.desk.Close(session)
	l.says("", 1, "the placement is not push", "push")

	// Wrong use.
	l.says("", 2, "what? show,", []string{}...)
	l.says("", 2, `unknown command "pusch"`, "pusch")
	l.says("", 2, "unknown flag: --frce", "push", "--frce")
	l.says("", 2, "too many arguments: policy lint [FILE]", "lint", "a", "b")
	l.says("", 2, "too many arguments: policy show", "show", "a")
	l.says("", 0, "edit", "--help")
}

// TestEdit: an editor that ends well is followed by lint.
func TestEdit(t *testing.T) {
	l := newLab(t, good)
	l.open()
	t.Setenv("EDITOR", "sed -i s/allow/drop/")
	l.says("", 0, "good, 1 rules", "edit")
	l.file(strings.ReplaceAll(good, "allow", "drop"))
	l.says("", 0, "generation 2 is in force", "push")
	l.says(closed, 0, "generation 3 is in force", "push", "-", "--force")
	l.write("policy.yaml", good)
	if err := writeBase(l.at.file, base{2, ""}); err != nil {
		t.Fatal(err)
	}
	l.says("", 0, "# generation 3 was pushed since this file began from 2: see policy diff", "edit")
	t.Setenv("EDITOR", "sed -i s/client/clint/")
	l.says("", 2, "policy.yaml:3:23: ", "edit")
	t.Setenv("EDITOR", "false")
	l.says("", 1, "false: exit status 1", "edit")
}

// TestReopen: a file that somebody has edited outlives a session, one that nobody has edited is the new edition's.
func TestReopen(t *testing.T) {
	l := newLab(t, good)
	first := l.open()
	l.now = firewall.Edition{File: "lab.yaml", Source: []byte(closed), Generation: 5}
	second := l.open()
	l.desk.Close(first) // too late: it is no longer the one that is open
	l.file(closed)
	l.says("", 0, "generation 5;", "show")
	l.write("policy.yaml", good+"# mine\n")
	l.desk.Close(second)
	l.now.Generation = 6
	l.open()
	l.file(good + "# mine\n")
	l.says("", 1, "conflict: now 6, began from 5", "push")
	for _, p := range []struct {
		path string
		mode os.FileMode
	}{{filepath.Dir(l.at.socket), 0o700 | os.ModeDir}, {l.at.socket, 0o600 | os.ModeSocket}} {
		if info, err := os.Lstat(p.path); err != nil || info.Mode() != p.mode {
			t.Errorf("%s: %v, %v; want mode %v", p.path, info.Mode(), err, p.mode)
		}
	}
}

// TestPushesAtOnce has many push at once: one wins, and each of the others is told.
func TestPushesAtOnce(t *testing.T) {
	const pushers = 8
	l := newLab(t, good)
	l.open()
	files := make([]string, pushers)
	for i := range files {
		files[i] = l.write(fmt.Sprintf("%d.yaml", i), fmt.Sprintf("# %d\n%s", i, closed))
		if err := writeBase(files[i], base{1, ""}); err != nil {
			t.Fatal(err)
		}
	}
	codes, said := make([]int, pushers), make([]bytes.Buffer, pushers)
	var all sync.WaitGroup
	for i, f := range files {
		all.Go(func() { codes[i] = l.at.run([]string{"push", f}, nil, &said[i], &said[i]) })
	}
	all.Wait()
	won := 0
	for i, c := range codes {
		switch {
		case c == 0:
			won++
			if want := fmt.Sprintf("# %d\n", i); !strings.HasPrefix(string(l.now.Source), want) {
				t.Errorf("%d has won, but in force is\n%s", i, l.now.Source)
			}
		case c != 1 || !strings.Contains(said[i].String(), "conflict: now 2, began from 1"):
			t.Errorf("%d: exit code %d\n%s", i, c, &said[i])
		}
	}
	if won != 1 || l.now.Generation != 2 {
		t.Errorf("%d have won, generation %d is in force", won, l.now.Generation)
	}
}

// FuzzCheck: whatever Check lets through is what terminals, logs and the parser were promised.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"push":{"file":"x","source":"ZGVmYXVsdDogZHJvcAo=","base":1}}`))
	f.Add([]byte(`{"push":{"file":"x","force":true}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req Request
		if json.Unmarshal(b, &req) != nil || req.Check() != nil || req.Push == nil {
			return
		}
		p := req.Push
		if len(p.Source) > MaxSource || len(p.File) > maxFile || p.Force == (p.Base > 0) {
			t.Fatalf("%+v", p)
		}
		for _, r := range p.File + string(p.Source) {
			if r < ' ' && r != '\n' && r != '\t' && r != '\r' || r >= 0x7f && r <= 0x9f {
				t.Fatalf("%q", r)
			}
		}
		firewall.Load(p.File, p.Source, inventory)
	})
}
