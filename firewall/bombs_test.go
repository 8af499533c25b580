package firewall

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// odd lists for a bomb, a small file that asks for much: every second port, so that no two make a range.
func odd(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d, ", 2*i+1)
	}
	return b.String()
}

// hostList lists addresses, no two of which make a range.
func hostList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "10.%d.%d.%d, ", i>>15&255, i>>7&255, i<<1&255)
	}
	return b.String()
}

// lines repeats a line, with its number where it has a %d, up to a size.
func lines(head, line string, size int) string {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len() < size; i++ {
		if strings.Contains(line, "%") {
			fmt.Fprintf(&b, line, i)
		} else {
			b.WriteString(line)
		}
	}
	return b.String()
}

// bombSize is as long as shows what grows with a square: cost is the product of two lengths that each bomb halves with
// it, so half of both finds the same squares in a quarter of the time. A bomb that only a bound ends is as long as the
// bound needs.
const bombSize = 16 << 10

func bombs() map[string]string {
	const head = "default: drop\n"
	ports := head + "services: {odd: {tcp: [" + odd(32768) + "65535]}}\nrules:\n"
	few := head + "services: {odd: {tcp: [" + odd(3000) + "65535]}}\nrules:\n"
	addrs := head + "groups: {a: [" + hostList(1000) + "10.0.0.0]}\nrules:\n"
	two := head + "groups: {a: [" + hostList(500) + "10.0.0.0], b: [" + strings.ReplaceAll(hostList(500), "10.", "11.") + "11.0.0.1]}\nrules:\n"
	from := head + "services: {odd: {tcp: 80, from-port: [" + odd(500) + "65535]}}\nrules:\n"
	return map[string]string{
		"rules with many source ports":     lines(from, "- {name: r%d, from: \"fd00::%[1]d\", service: odd, action: allow}\n", bombSize),
		"rules with many ports":            lines(ports, "- {name: r%d, service: odd, action: allow}\n", 256<<10),
		"rules with some ports":            lines(few, "- {name: r%d, service: odd, action: allow}\n", 32<<10),
		"rules with some ports, each else": lines(few, "- {name: r%d, from: \"fd00::%[1]d\", service: odd, action: allow}\n", 40<<10),
		"rules with many addresses":        lines(addrs, "- {name: r%d, from: a, to: a, action: allow}\n", bombSize),
		"rules with two groups":            lines(two, "- {name: r%d, from: a, to: b, action: allow}\n- {name: s%[1]d, from: b, to: a, action: drop}\n", bombSize),
		"rules of icmpv6 between addresses": lines(strings.Replace(addrs, "rules:", "services: {six: {icmpv6: echo}}\nrules:", 1),
			"- {name: r%d, from: a, to: a, service: six, action: allow}\n", bombSize),
		"rules that all overlap": lines(head+"rules:\n", "- {name: r%d, action: allow}\n- {name: s%[1]d, to: 10.0.0.0/8, action: drop}\n", bombSize),
		"the same key":           lines("", "default: drop\n", bombSize),
		"documents":              lines("", "---\n", bombSize),
		"documents with words":   lines("", "--- a\n", bombSize),
		"aliases":                lines("default: &a drop\ngroups: {x: [", "*a, ", bombSize) + "]}\n",
		"anchors":                lines(head+"groups:\n", "- &a x\n", bombSize),
		"anchors in anchors":     "a: &a [x, x, x, x, x, x, x, x]\n" + lines("", "b%d: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n", bombSize),
		"merges":                 lines("a: &a {x: y}\nb:\n", "  <<: *a\n", bombSize),
		"keys":                   lines(head+"groups:\n", "  g%d: [client]\n", bombSize),
		"unknown keys":           lines("", "k%d: x\n", bombSize),
		"unknown words":          lines(head+"groups: {x: [", "w%d, ", bombSize) + "]}\n",
		"near words":             lines(head+"groups:\n", "  clieng%d: [clienh%[1]d]\n", bombSize),
		"keys after marks":       lines("", "? a%d\n", bombSize),
		"brackets":               lines("a: ", "[", bombSize),
		"brackets closed":        lines("a: [", "[],", bombSize) + "]\n",
		"dashes":                 lines("a:\n ", "- ", bombSize),
		"indents": func() string {
			s := ""
			for i := range 700 {
				s += strings.Repeat(" ", i) + "a:\n"
			}
			return s
		}(),
		"a long word":           "default: " + strings.Repeat("x", bombSize),
		"a long quoted word":    "default: \"" + strings.Repeat("\\n", bombSize/2) + "\"",
		"a long key":            strings.Repeat("x", bombSize) + ": drop\n",
		"a block":               "default: |\n" + lines("", "  x\n", bombSize),
		"a folded block":        "default: >\n" + lines("", "\n", bombSize) + "  x\n",
		"a long list":           lines(head+"groups: {x: [", "client, ", bombSize) + "]}\n",
		"comments":              head + lines("", "# x\n", bombSize),
		"empty lines":           head + lines("", "\n", bombSize),
		"zeros":                 head + strings.Repeat("\x00", bombSize),
		"carriage returns":      head + strings.Repeat("\r\n", bombSize/2),
		"lone carriage returns": head + strings.Repeat("\r", bombSize),
		"marks of byte order":   strings.Repeat("\ufeff", bombSize/3),
		"UTF-16":                "\xff\xfe" + strings.Repeat("d\x00", bombSize/2),
		"quotes":                strings.Repeat("'", bombSize),
		"tabs":                  "a:\n" + strings.Repeat("\t", bombSize),
		"colons":                "a: {" + strings.Repeat("a:", bombSize/2) + "}",
		"percents":              strings.Repeat("%TAG ! a\n", bombSize/9),
		"groups of groups":      lines(head+"groups:\n  g: [client]\n", "  g%d: [g, g, g, g, server]\n", bombSize),
		"a chain of groups": lines(head+"groups:\n", "", 1) + func() string {
			s := ""
			for i := range 3000 {
				s += fmt.Sprintf("  h%d: [h%d]\n", i, i+1)
			}
			return s
		}(),
		"a group that doubles": head + "groups:\n  h0: [" + hostList(100) + "client]\n" + func() string {
			s := ""
			for i := range 2000 {
				s += fmt.Sprintf("  h%d: [h%d, 10.200.%d.%d]\n", i+1, i, i>>7, i<<1&255)
			}
			return s
		}(),
		"scopes":   lines(head+"rules:\n", "- {name: r%d, applied-to: [lan, client, server], action: allow}\n", bombSize),
		"sections": lines(head+"sections:\n", "- {name: s%d, rules: []}\n", bombSize),
		"nested subnets": head + "rules:\n" + func() string {
			s := ""
			for i := range 2000 {
				s += fmt.Sprintf("- {name: r%d, from: [10.%d.%d.0/%d, 10.0.0.0/8], action: allow}\n", i, i>>8, i&255, 24)
			}
			return s
		}(),
	}
}

// honest is a policy of the same size that nobody made to cost much.
func honest(size int) string {
	return lines("services:\n  web: {tcp: 80}\ngroups:\n  office: [lan, client]\ndefault: drop\nrules:\n",
		"- {name: r%d, from: office, to: 10.10.2.10, service: web, action: allow}\n", size)
}

// all does with a text whatever is done with policies; says is what is wrong with it.
func all(text string) (says string) {
	p, err := Load("p.yaml", []byte(text), lab)
	if err != nil {
		return err.Error()
	}
	if _, err := Compile(p, Fast); err != nil {
		return err.Error()
	}
	p.Lint()
	p.Expect("t.yaml", []byte(text))
	other, err := Load("p.yaml", []byte(strings.Replace(text, "default: drop", "default: allow", 1)), lab)
	if err != nil {
		return err.Error()
	}
	Diff(p, other)
	if _, err := p.NFT(NFTOptions{Bridge: true}); err != nil {
		return err.Error()
	}
	return ""
}

// processorTime is what the process has used so far: unlike the clock, it does not tell of other processes.
func processorTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBombs: what is done with a policy costs time and memory in proportion to its size, whoever wrote it. The measure
// is a policy of the same size that costs what policies do; the bound lies far above what was measured, and far below
// what grows with a square.
func TestBombs(t *testing.T) {
	spent := func(text string) (time.Duration, uint64, string) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := processorTime(t)
		says := all(text)
		took := processorTime(t) - start
		runtime.ReadMemStats(&after)
		return took, after.TotalAlloc - before.TotalAlloc, says
	}
	const times, timeAtLeast, memoryAtLeast, bytesEach = 40, 50 * time.Millisecond, 32 << 20, 8 << 10
	fair, _, says := spent(honest(bombSize))
	if says != "" {
		t.Fatal(says)
	}
	for name, text := range bombs() {
		took, memory, says := spent(text)
		if took > times*max(fair, timeAtLeast) || memory > uint64(memoryAtLeast+bytesEach*len(text)) {
			t.Errorf("%s: %d bytes cost %v and %d bytes of memory; an honest policy so long costs %v", name, len(text), took, memory, fair)
		}
		if len(says) > 20<<10 {
			t.Errorf("%s: an error of %d bytes", name, len(says))
		}
	}
}

// TestBombsAreNamed: a policy that asks for too much is refused by the name of the bound, at its place.
func TestBombsAreNamed(t *testing.T) {
	all := bombs()
	for name, want := range map[string]string{
		"rules with many ports": "p.yaml:36:3: up to this rule, the services of the rules have more than 1048576 ranges of ports",
		"a chain of groups":     "is a group in more than 64 others",
		"a group that doubles":  "the lists of addresses and ports are too long",
		"brackets":              "p.yaml:1:36: nests deeper than 32",
		"documents":             "p.yaml:2:1: a second document; a policy is one",
		"UTF-16":                "p.yaml:1:1: the file is UTF-16",
	} {
		if _, err := Load("p.yaml", []byte(all[name]), lab); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.200v, want %q", name, err, want)
		}
	}
	if _, err := Load("p.yaml", make([]byte, MaxSource+1), lab); err == nil || !strings.Contains(err.Error(), "at most 16777216 are taken") {
		t.Errorf("a long file: %.200v", err)
	}
	p := mustLoad(t, lines(all["rules with two groups"], "- {name: t%d, from: a, to: b, action: allow}\n", 200<<10))
	if _, err := p.NFT(NFTOptions{}); err == nil || !strings.Contains(err.Error(), "more than 32 MiB") {
		t.Errorf("in nftables: %.200v", err)
	}
}
