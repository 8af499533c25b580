package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const helped = `services: {ftp: {tcp: 21}, tftp: {udp: 69}}
default: drop
helpers: [tftp, ftp]
rules:
  - {name: ftp, from: client, to: server, service: ftp, action: allow}
`

// TestHelpersAreRead: one stands for a list of one, and their order says nothing.
func TestHelpersAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"helpers: ftp": "ftp", "helpers: [tftp]": "tftp", "helpers: [tftp, ftp]": "ftp, tftp", "helpers: []": "none",
		"midstream: false": "none",
	} {
		if got := mustLoad(t, "default: drop\n"+text).HelperNames(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	_, err := Load("p.yaml", []byte("default: drop\nhelpers: [ftp, tfpt]"), lab)
	if err == nil || !strings.Contains(err.Error(), "did you mean tftp?") {
		t.Errorf("a word that is nearly right: %v", err)
	}
}

// TestNFTHelpers: the helpers are declared before all else, and read new connections; a policy without them renders
// what the same one renders with them, but for that.
func TestNFTHelpers(t *testing.T) {
	render := func(text string, o NFTOptions) string {
		t.Helper()
		s, err := mustLoad(t, text).NFT(o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const declared = `	ct helper ftp {
		type "ftp" protocol tcp
	}
	ct helper tftp {
		type "tftp" protocol udp
	}
	chain helpers {
		type filter hook prerouting priority mangle; policy accept;
		ct state new tcp dport 21 ct helper set "ftp"
		ct state new udp dport 69 ct helper set "tftp"
	}
`
	without := strings.Replace(helped, "helpers: [tftp, ftp]\n", "", 1)
	for _, o := range []NFTOptions{{}, {Steer: true}, {Bridge: true}} {
		with := render(helped, o)
		before, after, ok := strings.Cut(with, declared)
		if !ok || before+after != render(without, o) || !strings.HasSuffix(before, "\ntable inet sluice {\n") {
			t.Errorf("%+v:\n%s", o, with)
		}
		for _, h := range Helpers {
			if !strings.Contains(with, h.NFT()) {
				t.Errorf("%+v: %s is not found by its declaration", o, h.Name)
			}
		}
	}
}

// TestRelates: what a helper may know of is between the ends of a connection that the rules allow, in either
// direction, and of the helper's protocol.
func TestRelates(t *testing.T) {
	p := mustLoad(t, helped)
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		what  string
		tuple Tuple
		reads string
		is    string
	}{
		{"the connection itself", Tuple{Proto: 6, Src: at("10.10.1.10:4000"), Dst: at("10.10.2.10:21")}, "ftp", "ftp"},
		{"data of active FTP", Tuple{Proto: 6, Src: at("10.10.2.10:20"), Dst: at("10.10.1.10:4001")}, "", "ftp"},
		{"data of passive FTP", Tuple{Proto: 6, Src: at("10.10.1.10:4002"), Dst: at("10.10.2.10:5000")}, "", "ftp"},
		{"of another protocol", Tuple{Proto: 17, Src: at("10.10.2.10:20"), Dst: at("10.10.1.10:4001")}, "", ""},
		{"from somebody else", Tuple{Proto: 6, Src: at("10.10.1.11:20"), Dst: at("10.10.1.10:4001")}, "", ""},
		{"what no rule lets begin", Tuple{Proto: 17, Src: at("10.10.1.10:4000"), Dst: at("10.10.2.10:69")}, "tftp", ""},
	} {
		reads, _ := ReaderOf(c.tuple, p.Helpers)
		is, _ := p.Relates(c.tuple)
		if reads.Name != c.reads || is.Name != c.is {
			t.Errorf("%s: read by %q, related by %q; want %q, %q", c.what, reads.Name, is.Name, c.reads, c.is)
		}
	}
}

// TestLintHelpers: a helper that no rule gives anything to read is told.
func TestLintHelpers(t *testing.T) {
	kinds := func(text string) (out []string) {
		found, _ := mustLoad(t, text).Lint()
		for _, f := range found {
			if f.Kind == LintUnusedHelper {
				out = append(out, f.Detail)
			}
		}
		return out
	}
	const want = "helper tftp has nothing to read: no rule allows udp port 69, with a memory"
	if got := kinds(helped); !slices.Equal(got, []string{want}) {
		t.Errorf("%q", got)
	}
	for _, text := range []string{
		strings.Replace(helped, "service: ftp", "service: [ftp, tftp]", 1), strings.Replace(helped, "default: drop", "default: allow", 1),
		strings.Replace(helped, ", service: ftp", "", 1), "exclude: client\n" + helped,
	} {
		if got := kinds(text); len(got) > 0 {
			t.Errorf("%s: %q", text, got)
		}
	}
	if got := kinds(strings.Replace(helped, "action: allow", "action: allow, stateless: true", 1)); len(got) != 2 {
		t.Errorf("a stateless rule gives a helper nothing to read: %q", got)
	}
}

// TestDiffHelpers: other helpers are a difference, though no flow's first packet meets another verdict.
func TestDiffHelpers(t *testing.T) {
	a, b := mustLoad(t, helped), mustLoad(t, strings.Replace(helped, "[tftp, ftp]", "[ftp, tftp]", 1))
	if c := Diff(a, b); c.Helpers || len(c.Differences) > 0 {
		t.Errorf("the same in another order: %+v", c)
	}
	b = mustLoad(t, strings.Replace(helped, "[tftp, ftp]", "ftp", 1))
	for what, c := range map[string]Comparison{"diff": Diff(a, b), "but": DiffBut(a, b, mustLoad(t, helped))} {
		if !c.Helpers || len(c.Differences) > 0 {
			t.Errorf("%s: one less: %+v", what, c)
		}
	}
}
