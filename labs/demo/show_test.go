package demo

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/labs/bench/stream"
	"sluice/vswitch"
	"sluice/vswitch/cli"
)

// TestReportIsReadable writes a report with large figures: it fits a terminal, and says what went wrong.
func TestReportIsReadable(t *testing.T) {
	var r Report
	for _, p := range walk {
		r.Stops = append(r.Stops, Stop{
			Placement: p,
			Tries:     []Try{{What: "telnet, tcp 23", Address: "fd00:10:2::1010", Open: p == firewall.Off}},
			Cost:      Cost{Hops: 2, RTT99: 1234.5, Goodput: 123456, CPUParts: []Part{{"switch", 12.25}}},
		})
	}
	large := vswitch.Receipt{From: firewall.Fast, To: firewall.Slow, Observed: 7654321, Lost: 3, Leaked: 4, GapMS: 123.45}
	full := large
	full.Overflow = true
	r.Changes = []Change{
		{Receipt: large, Stream: stream.Result{Sent: 6000, GapMS: 98.76}, Download: Download{Lines: 9, Whole: true}},
		{Receipt: full, Stream: stream.Result{Sent: 6000}, Download: Download{Lines: 12}},
	}
	cmd := &cobra.Command{}
	cmd.Flags().String("output", "table", "")
	out, err := cli.OutputOf(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	r.write(&b, out)
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	said := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"off fast slow telnet, tcp 23 to fd00:10:2::1010 answers silence silence", "hops 2 2 2", "of it switch 12.25 12.25 12.25",
		"fast -> slow fast -> slow", "frames watched 7654321 the first 7654321", "leaked: denied, yet delivered 4 4",
		"longest wait of a flow, ms 123.5 123.5", "longest pause, ms 98.8 0.0", "the download went on BROKE after line 12",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
