package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/appliance/admin"
)

// deskPair is an agent whose desk lies in a folder of the test's, and its host.
func deskPair(t *testing.T) (c *Client, root string) {
	t.Helper()
	root, err := os.MkdirTemp("", "desk") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	g := newGuest(false)
	g.desk = admin.NewDesk(root)
	return join(t, func(line net.Conn) { g.serveLine(line) }), root
}

var anOpening = admin.Opening{
	Edition: firewall.Edition{File: "lab.yaml", Source: []byte("default: drop\n"), Generation: 1}, Inventory: &firewall.Inventory{},
}

// askLocally is what the command sends to the desk, and what it gets.
func askLocally(t *testing.T, root, line string) string {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(root, "run/sluice/policy.sock"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	fmt.Fprintln(c, line)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

const pushLine = `{"request":{"push":{"file":"x.yaml","source":"YTogYg==","base":1}}}`

// TestDesk brings a push from the command to the host and the answer back, while other calls go on.
func TestDesk(t *testing.T) {
	c, root := deskPair(t)
	d, err := c.OpenDesk(t.Context(), anOpening)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "etc/sluice/policy.yaml")); err != nil || string(b) != "default: drop\n" {
		t.Errorf("the policy in the guest: %q, %v", b, err)
	}
	said := make(chan string, 2)
	for range 2 {
		go func() { said <- askLocally(t, root, pushLine) }()
	}
	for i := range uint64(2) { // one after the other, whoever comes first
		req, err := d.Next()
		if err != nil || req.Push == nil || req.Push.File != "x.yaml" || string(req.Push.Source) != "a: b" || req.Push.Base != 1 {
			t.Fatalf("request %+v, %v", req, err)
		}
		if _, err := c.Info(t.Context()); err != nil {
			t.Error(err)
		}
		if err := d.Answer(admin.Answer{Generation: 2 + i}); err != nil {
			t.Fatal(err)
		}
		if got, want := <-said, fmt.Sprintf(`{"answer":{"generation":%d}}`, 2+i); strings.TrimSpace(got) != want {
			t.Errorf("the command is told %s, want %s", got, want)
		}
	}
	if got := askLocally(t, root, `{"look":true}`); !strings.Contains(got, `"source":"YTogYg==","generation":3`) {
		t.Errorf("on the desk lies %s", got)
	}

	// A second desk takes the place of the first; closing it closes the guest's.
	second, err := c.OpenDesk(t.Context(), anOpening)
	if err != nil {
		t.Fatal(err)
	}
	go func() { said <- askLocally(t, root, `{}`) }()
	if req, err := second.Next(); err != nil || req.Push != nil {
		t.Errorf("request %+v, %v", req, err)
	}
	d.Stop()
	if _, err := d.Next(); err == nil {
		t.Error("a stopped desk goes on")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil { // without an answer
		t.Error(err)
	}
	if got := <-said; !strings.Contains(got, "the line to the switch broke before it answered") {
		t.Errorf("the command is told %s", got)
	}
	if got := askLocally(t, root, `{}`); !strings.Contains(got, "no policy is administered here") {
		t.Errorf("the command is told %s", got)
	}
}

func TestDeskFails(t *testing.T) {
	c, _ := deskPair(t)
	long := anOpening
	long.Edition.Source = bytes.Repeat([]byte("x"), admin.MaxSource+1)
	if _, err := c.OpenDesk(t.Context(), long); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a policy that is too long: %v", err)
	}
	g := newGuest(false)
	g.desk = admin.NewDesk("/dev/null") // nowhere to write
	c = join(t, func(line net.Conn) { g.serveLine(line) })
	var said *Error
	if _, err := c.OpenDesk(t.Context(), anOpening); !errors.As(err, &said) || !strings.Contains(said.Text, "write the policy") {
		t.Errorf("a desk that cannot be opened: %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.OpenDesk(done, anOpening); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestHostileDesk says what of a guest's words is taken for a request.
func TestHostileDesk(t *testing.T) {
	source := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	push := func(fields string) string { return `{"body":{"push":{` + fields + `}}}` + "\n" }
	for _, c := range []struct {
		name, line string
		ok         bool
	}{
		{"a push", push(`"file":"x","source":"` + source("a: b") + `","base":1`), true},
		{"a question", `{"body":{}}` + "\n", true},
		{"an escape in the name", push(`"file":"\u001b[2J","source":"","base":1`), false},
		{"an escape in the policy", push(`"file":"x","source":"` + source("\x1b") + `","base":1`), false},
		{"a policy too long", push(`"file":"x","source":"` + source(strings.Repeat("x", admin.MaxSource+1)) + `","base":1`), false},
		{"a generation below nothing", push(`"file":"x","source":"","base":-1`), false},
		{"no generation", push(`"file":"x","source":""`), false},
		{"forced by a word", push(`"file":"x","source":"","force":"yes"`), false},
		{"a key that nobody knows", push(`"file":"x","source":"","base":1,"by":"the lab"`), false},
		{"a request of another kind", `{"body":{"place":"off"}}` + "\n", false},
		{"no body", `{}` + "\n", false},
		{"an end", `{"body":{},"end":true}` + "\n", false},
		{"an error", `{"error":"\u001b[2J"}` + "\n", false},
		{"a list", `{"body":[]}` + "\n", false},
		{"half a line", `{"body":{}`, false},
		{"no JSON", "push it\n", false},
		{"a line without end", strings.Repeat("x", 2*maxMessage), false},
	} {
		d := &Desk{r: bufio.NewReader(strings.NewReader(c.line))}
		if _, err := d.Next(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestSilentDesk: a guest that does not say that its desk is open holds nobody up for ever.
func TestSilentDesk(t *testing.T) {
	for _, c := range []struct{ name, says string }{
		{"nothing", ""}, {"no", `{"body":false}` + "\n"}, {"a number", `{"body":7}` + "\n"}, {"noise", "\x00\x00\n"},
	} {
		host, guest := pair(t)
		d := &Desk{stream: host, r: bufio.NewReader(host)}
		go func() {
			bufio.NewReader(guest).ReadSlice('\n')
			io.WriteString(guest, c.says)
		}()
		host.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if err := d.open(anOpening); err == nil {
			t.Errorf("%s: the desk is open", c.name)
		}
	}
}

func FuzzDesk(f *testing.F) {
	f.Add([]byte(`{"body":{"push":{"file":"x","source":"YQ==","base":1}}}` + "\n" + `{"body":{}}` + "\n"))
	f.Add([]byte(`{"error":"\u001b[2J"}` + "\n"))
	f.Add([]byte(`{"body":null}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Desk{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			req, err := d.Next()
			if err != nil {
				var said *Error
				if errors.As(err, &said) && strings.ContainsAny(said.Text, "\x1b\x00\x7f") {
					t.Fatalf("%q reaches a log", said.Text)
				}
				return
			}
			if err := req.Check(); err != nil {
				t.Fatal(err)
			}
			if again, err := json.Marshal(req); err != nil || len(again) > maxMessage {
				t.Fatalf("%d bytes, %v", len(again), err)
			}
		}
	})
}
