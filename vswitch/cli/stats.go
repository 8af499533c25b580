package cli

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

func statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Counters by port, rule and reason, and how much of the work the fast side did",
		Long: `Counters by port, rule and reason, and how much of the work the fast side did: the fast share, of the frames that guests
have sent since the placement was changed last. With --watch it is shown again and again: on a terminal in place, else in
a line each time, with what has come since the last one.

WAKE-UPS are how often a port's goroutine had to wait for a frame, and was woken by one; frames that were there already then cost none.
-o json also has the batches that it read: wake-ups are some of them.`,
		Args: cobra.NoArgs,
	}
	watch := watchFlag(cmd)
	cmd.RunE = withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
		var last vswitch.Stats
		return again(cmd, *watch, o, func() error {
			st, err := c.Stats(cmd.Context())
			if err != nil {
				return err
			}
			if *watch == 0 || o.Screen() {
				return o.Print(st, func(w io.Writer) { writeStats(w, o, st) })
			}
			line := shareLine(last, st)
			last = st
			return o.Line(st, line)
		})
	})
	return cmd
}

func writeStats(w io.Writer, o *Output, st vswitch.Stats) {
	fmt.Fprintf(w, "fast share %s: of what guests sent since the placement changed, what the engine alone has handled\n", o.Paint(Bold, fastShare(st)))
	writeShare(w, st.Share)
	fmt.Fprintf(w, "\nplacement %s, epoch %d, policy generation %d, %d flows\n", st.Placement, st.Epoch, st.Generation, st.Flows)
	var dropped, missed uint64
	for _, n := range st.Dropped {
		dropped += n
	}
	fmt.Fprintf(w, "frames: %d in + %d copies = %d out + %d dropped\n\n", st.In, st.Copies, st.Out, dropped)

	g := NewGrid("PORT", "SEGMENT", "UP", ">POLICY", ">FRAMES IN", ">BYTES IN", ">FRAMES OUT", ">BYTES OUT", ">WAKE-UPS", ">MACS", ">MISSED", "DROPPED")
	for _, p := range st.Ports {
		g.Row(p.Name, orDash(p.Segment), yesNo(p.Up), p.Generation, p.InFrames, p.InBytes, p.OutFrames, p.OutBytes, p.Wakes, p.MACs, p.NICDrops, byReason(p.Dropped))
		missed += p.NICDrops
	}
	g.Write(w, "")
	fmt.Fprintln(w)
	if !st.RulesAsked {
		fmt.Fprintf(w, "in placement %s the engine asks no rule: hits stand still, and frames are those of flows that were let in before\n", st.Placement)
	}
	g = NewGrid("RULE", ">HITS", ">FRAMES", ">BYTES", "LAST HIT")
	for _, r := range st.Rules {
		g.Row(r.Rule, r.Hits, r.Frames, r.Bytes, lastHit(r.LastHit))
	}
	g.Write(w, "")
	fmt.Fprintf(w, "\ndropped by reason: %s\n", byReason(st.Dropped))
	if missed > 0 {
		fmt.Fprintf(w, "missed: %d, lost in the NICs' own queues before the switch saw them, so not among the frames in\n", missed)
	}
	if st.Dropped[frame.ReasonOwnGateway.String()] > 0 {
		fmt.Fprintln(w, "  own-gateway is no loss: those frames were for the gateway itself, and ended there")
	}
}

func fastShare(st vswitch.Stats) string { return strconv.FormatFloat(st.FastShare, 'f', 2, 64) }

// writeShare writes what the fast share is made of.
func writeShare(w io.Writer, s vswitch.Share) {
	g := NewGrid("", ">FRAMES", ">BYTES", ">CPU s")
	g.Row("fast side", s.Frames-s.Slow, s.Bytes-s.SlowBytes, seconds(s.FastCPU))
	g.Row("slow side", s.Slow, s.SlowBytes, seconds(s.SlowCPU))
	g.Write(w, "  ")
	if s.SharedKernel {
		fmt.Fprintln(w, "  The appliance has no kernel of its own: what the host's does for it counts as CPU of the fast side.")
	}
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 2, 64) }

// shareLine is the fast share, and what has been added to its parts since an earlier look. A change of placement begins
// anew.
func shareLine(old, st vswitch.Stats) string {
	now, was := st.Share, old.Share
	if st.Placement != old.Placement || now.Frames < was.Frames {
		was = vswitch.Share{}
	}
	return fmt.Sprintf("%s  %-7s  fast share %s  frames %d fast, %d slow  bytes %d fast, %d slow  CPU %s s fast, %s s slow",
		time.Now().Format("15:04:05"), st.Placement, fastShare(st),
		now.Frames-now.Slow-(was.Frames-was.Slow), now.Slow-was.Slow,
		now.Bytes-now.SlowBytes-(was.Bytes-was.SlowBytes), now.SlowBytes-was.SlowBytes,
		seconds(now.FastCPU-was.FastCPU), seconds(now.SlowCPU-was.SlowCPU))
}
