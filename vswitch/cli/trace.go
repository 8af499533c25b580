package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

func traceCommand() *cobra.Command {
	var file, digits, at string
	cmd := &cobra.Command{
		Use:   "trace 'PROTO from GUEST [port N] to GUEST [port N] [flags LIST | type ICMP]' | --frame FILE[:N] --at POINT | --hex DIGITS --at POINT",
		Short: "Explain a frame's walk step by step, without sending it",
		Long: `Explain the walk of a frame, step by step, by the same decisions that real frames meet: of the first frame of a flow that
is described, or of one out of a capture (pcap or pcapng) or in hexadecimal. Nothing is sent and nothing changes.

A port belongs to the end before it. A source port that is not given is one that no flow uses. Who asks about an answer names both
ports: 'tcp from server port 80 to client port 40000' is a packet like an answer that belongs to no flow, as a stateless filter meets
it; from-port is the sender's wherever it stands. Guests with addresses of both kinds are traced over IPv4, unless one of them is given by
its IPv6 address.

A guest with several vNICs sends from the one that its own kernel would take: that on the receiver's segment, or the first. Name another
one as GUEST/1 (or as it is called inside, GUEST/eth1), or give its address. The words of policies say the rest: TCP's flags (SYN if none
are said), ICMP's type or code (echo; an error tells of a packet that nobody sent), and protocols without ports (gre, ospf, vrrp, sctp, ...).`,
		Example: `  sluice trace 'tcp from client to server port 80'
  sluice trace icmp from client to 10.10.2.10
  sluice trace 'tcp from server port 80 to client port 40000'
  sluice trace 'tcp from client to fd00:10:2::10 port 23'
  sluice trace 'tcp from client from-port 1024 to server port 80 flags syn,ack'
  sluice trace 'icmp from router/1 to server type host-unreachable'
  sluice trace 'vrrp from server to 224.0.0.18'
  sluice trace --frame session.pcapng:7 --at client
  sluice trace --hex "$(cat frame.hex)" --at server/to-guest`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeTrace,
	}
	cmd.Flags().StringVar(&file, "frame", "", "the Nth packet (1 if left out) of a pcap or pcapng file, as FILE:N")
	cmd.Flags().StringVar(&digits, "hex", "", "the frame itself, from its Ethernet header on")
	cmd.Flags().StringVar(&at, "at", "", "where a captured frame is: client, for one that it sends, or client/to-guest")
	CompleteFlags(cmd, cobra.NoFileCompletions, "hex")
	CompleteFlags(cmd, completePoints, "at")
	cmd.MarkFlagFilename("frame", "pcap", "pcapng")
	cmd.MarkFlagsMutuallyExclusive("frame", "hex")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := traceRequest(args, file, digits, at)
		if err != nil {
			return err
		}
		return withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
			res, err := c.Trace(cmd.Context(), req)
			if err != nil {
				return err
			}
			return o.Print(res, func(w io.Writer) { writeTrace(w, o, res) })
		})(cmd, args)
	}
	return cmd
}

// completeTrace offers the words of a description, where each is an argument of its own.
func completeTrace(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	guests, d := CompleteGuests(cmd, nil, begun)
	return vswitch.TraceNext(args, guests), d
}

// traceRequest is what the arguments and flags ask for.
func traceRequest(args []string, file, digits, at string) (r vswitch.TraceRequest, err error) {
	switch {
	case file == "" && digits == "":
		if len(args) == 0 {
			return r, fault.Errorf(fault.BadInput, "trace what? 'tcp from client to server port 80', --frame FILE[:N] or --hex DIGITS")
		}
		if at != "" {
			return r, fault.Errorf(fault.BadInput, "--at is for --frame and --hex")
		}
		if r, err = vswitch.ParseTrace(joinArgs(args)); err != nil {
			return r, fault.Errorf(fault.BadInput, "%w", err)
		}
		return r, nil
	case len(args) > 0:
		return r, fault.Errorf(fault.BadInput, "describe a frame, or give one with --frame or --hex: not both")
	case at == "":
		return r, fault.Errorf(fault.BadInput, "say where the frame is, as in --at client or --at server/to-guest")
	case file != "":
		r.Frame, err = captured(file)
	default:
		r.Frame, err = fromHex(digits)
	}
	if err == nil && len(r.Frame) == 0 {
		err = fault.Errorf(fault.BadInput, "the frame is empty")
	}
	r.At = at
	return r, err
}

func writeTrace(w io.Writer, o *Output, res vswitch.TraceResult) {
	g := NewGrid(">", "", "", "")
	for i, s := range res.Steps {
		detail := s.Detail
		if s.Rule != "" || s.Where != "" {
			detail += " (" + joinNonEmpty(", ", s.Rule, s.Where) + ")"
		}
		g.Row(i+1, s.Point, s.What, detail)
	}
	g.Write(w, "")
	color := Bad
	switch res.Verdict {
	case "pass":
		color = Good
	case "answered":
		color, res.Verdict, res.Reason = Good, "answered by the gateway", ""
	}
	why := ""
	if res.Rule != "" {
		why += ", by rule " + res.Rule
	}
	if res.Reason != "" {
		why += ", reason " + res.Reason
	}
	fmt.Fprintf(w, "\nverdict: %s%s\n", o.Paint(color, res.Verdict), fault.Clean(why))
}
