package firewall

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/firewall/fault"
)

func TestExpect(t *testing.T) {
	p := mustLoad(t, reference)
	got, err := p.Expect("tests.yaml", []byte(`
- {from: client, to: server, tcp: 80, expect: allow, rule: web}
- {from: client, to: server, icmp: echo, expect: allow}
- {from: other, to: server, tcp: 80, expect: allow}
- {from: client, to: 10.10.2.99, udp: 5201, expect: drop}
- {from: client, to: server, tcp: 80, expect: allow, rule: ping}
`))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, x := range got {
		lines = append(lines, fmt.Sprintf("%d %s: %s by %s, %v", x.Line, x.What, x.Got, x.Rule, x.Passed))
	}
	want := `2 tcp/80 from 10.10.1.10 to 10.10.2.10: allow by web, true
2 tcp/80 from fd00:10:1::10 to fd00:10:2::10: allow by web, true
3 icmp type 8 from 10.10.1.10 to 10.10.2.10: allow by ping, true
3 icmpv6 type 128 from fd00:10:1::10 to fd00:10:2::10: allow by ping, true
4 tcp/80 from 10.10.1.11 to 10.10.2.10: drop by default, false
4 tcp/80 from fd00:10:1::11 to fd00:10:2::10: drop by default, false
5 udp/5201 from 10.10.1.10 to 10.10.2.99: drop by default, true
6 tcp/80 from 10.10.1.10 to 10.10.2.10: allow by web, false
6 tcp/80 from fd00:10:1::10 to fd00:10:2::10: allow by web, false`
	if s := strings.Join(lines, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestExpectErrors(t *testing.T) {
	for _, c := range []struct{ text, place string }{
		{"- {from: client}", "1:3"},
		{"- {from: nobody, to: server, tcp: 80, expect: allow}", "1:10"},
		{"- {from: client, to: server, tcp: 0, expect: allow}", "1:35"},
		{"- {from: 10.0.0.1, to: fd00::1, tcp: 80, expect: allow}", "1:3"},
		{"- {from: client, to: server, tcp: 80, expect: allow, port: 1}", "1:54"},
	} {
		_, err := mustLoad(t, reference).Expect("t.yaml", []byte(c.text))
		var e *fault.Fault
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "t.yaml:"+c.place+": ") {
			t.Errorf("%s: want %s, got %v", c.text, c.place, err)
		}
	}
}
