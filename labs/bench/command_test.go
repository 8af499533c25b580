package bench

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/firewall/fault"
)

func TestBadInput(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--rounds 0", "1 to 100"},
		{"--rounds 101", "1 to 100"},
		{"--sizes 63", "64 to 1518"},
		{"--sizes 1519", "64 to 1518"},
		{"--sizes 64,64", "each once"},
		{"--wiring tap,tap", "each once"},
		{"--wiring token-ring", "tap or veth"},
		{"--only nobody", "user-fast"},
		{"-o xml", "no output format"},
		{"--into /nonexistent/file", "no such file"},
	} {
		cmd := command(append([]string{"bench"}, strings.Fields(c.args)...)...)
		cmd.SetErr(io.Discard)
		err := cmd.Execute()
		var e *fault.Error
		if !errors.As(err, &e) || e.Class != fault.BadInput || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v; want bad input with %q", c.args, err, c.says)
		}
	}
}

// TestPage holds that only what stands between the marks is written.
func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.md")
	if err := os.WriteFile(path, []byte("by hand\n"+markBegin+"old\n"+markEnd+"by hand too\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := openPage(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.write("new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "by hand\n" + markBegin + "new\n" + markEnd + "by hand too\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte(markEnd+markBegin), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openPage(path); err == nil {
		t.Error("a page with its marks the wrong way round was taken")
	}
}

// TestPolicy holds that the measured flows are allowed by the policies, whatever else is in them, and that they do
// deny.
func TestPolicy(t *testing.T) {
	client, server := netip.MustParseAddr("10.10.1.10"), netip.MustParseAddr("10.10.1.20")
	for _, rules := range []int{0, manyRules} {
		p, err := firewall.Load("bench.yaml", []byte(policyText(rules)), inventory())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			proto uint8
			port  uint16
			want  firewall.RuleAction
		}{
			{17, guestPort, firewall.RuleAllow}, {6, guestPort, firewall.RuleAllow},
			{17, 53, firewall.RuleDrop}, {6, 23, firewall.RuleDrop}, {6, 1000, firewall.RuleDrop},
		} {
			tuple := firewall.Tuple{Proto: c.proto, Src: netip.AddrPortFrom(client, senderPort), Dst: netip.AddrPortFrom(server, c.port)}
			if got := p.Evaluate(tuple).Action; got != c.want {
				t.Errorf("%d rules, protocol %d port %d: %v, want %v", rules, c.proto, c.port, got, c.want)
			}
		}
	}
}
