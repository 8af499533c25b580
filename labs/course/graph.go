package course

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/vswitch/cli"
)

// graph is who hangs on what.
type graph struct {
	Lab       string         `json:"lab"`
	Placement string         `json:"placement"` // at the start
	Segments  []graphSegment `json:"segments"`
}

type graphSegment struct {
	Name    string     `json:"name"`
	Subnets []string   `json:"subnets"`
	Ports   []graphEnd `json:"ports"`
}

type graphEnd struct {
	Name      string   `json:"name"` // of the vNIC
	Guest     string   `json:"guest"`
	Appliance bool     `json:"appliance,omitempty"`
	Addresses []string `json:"addresses"`
}

func graphCommand() *cobra.Command {
	var mermaid, dot bool
	cmd := &cobra.Command{
		Use:               "graph [LAB]",
		Short:             "Draw a lab: its segments, and who is on them",
		Example:           "  sluice lab graph fast-vs-slow\n  sluice lab graph fast-vs-slow --dot | dot -Tsvg > lab.svg",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: commands.CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			if mermaid && dot {
				return fault.Errorf(fault.BadInput, "give --mermaid or --dot, not both")
			}
			if (mermaid || dot) && cli.OutputGiven(cmd) {
				return fault.Errorf(fault.BadInput, "--mermaid and --dot are outputs of their own: leave out -o")
			}
			l, err := labOrRunning(cmd, args, "")
			if err != nil {
				return err
			}
			g := graphOf(l)
			switch w := cmd.OutOrStdout(); {
			case mermaid:
				return g.mermaid(w)
			case dot:
				return g.dot(w)
			}
			return out.Print(g, g.text)
		},
	}
	cmd.Flags().BoolVar(&mermaid, "mermaid", false, "as a Mermaid flow chart")
	cmd.Flags().BoolVar(&dot, "dot", false, "for Graphviz")
	return cmd
}

func graphOf(l *labfile.Lab) graph {
	g := graph{Lab: l.Name, Placement: l.Placement.String()}
	for _, s := range l.Segments {
		seg := graphSegment{Name: s.Name}
		for _, p := range s.Prefixes() {
			seg.Subnets = append(seg.Subnets, p.String())
		}
		g.Segments = append(g.Segments, seg)
	}
	for _, c := range l.Cards() {
		if c.Steer() {
			continue // it is on no segment
		}
		e := graphEnd{Name: c.Name, Appliance: c.Guest < 0}
		e.Guest, _, _ = strings.Cut(c.Name, "/")
		for _, a := range c.Addrs {
			e.Addresses = append(e.Addresses, a.String())
		}
		seg := &g.Segments[c.Segment-1]
		seg.Ports = append(seg.Ports, e)
	}
	return g
}

func (g graph) text(w io.Writer) {
	fmt.Fprintf(w, "lab %s, placement %s\n", g.Lab, g.Placement)
	for _, s := range g.Segments {
		fmt.Fprintf(w, "\n%s  %s\n", s.Name, strings.Join(s.Subnets, "  "))
		for i, p := range s.Ports {
			branch := "+--"
			if i == len(s.Ports)-1 {
				branch = "`--"
			}
			what := ""
			if p.Appliance {
				what = "  (appliance)"
			}
			fmt.Fprintf(w, "  %s %s  %s%s\n", branch, p.Name, strings.Join(p.Addresses, "  "), what)
		}
	}
}

// mermaid and dot need no quoting: names are of a-z, 0-9 and -.
func (g graph) mermaid(w io.Writer) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	g.each(func(s graphSegment) {
		fmt.Fprintf(&b, "  s-%s([\"%s<br>%s\"])\n", s.Name, s.Name, strings.Join(s.Subnets, "<br>"))
	}, func(e graphEnd) {
		shape := [2]string{"[", "]"}
		if e.Appliance {
			shape = [2]string{"[[", "]]"}
		}
		fmt.Fprintf(&b, "  g-%s%s%s%s\n", e.Guest, shape[0], e.Guest, shape[1])
	}, func(s graphSegment, e graphEnd) {
		fmt.Fprintf(&b, "  g-%s ---|\"%s\"| s-%s\n", e.Guest, strings.Join(e.Addresses, "<br>"), s.Name)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

func (g graph) dot(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "graph \"%s\" {\n", g.Lab)
	g.each(func(s graphSegment) {
		fmt.Fprintf(&b, "  \"s-%s\" [shape=ellipse, label=\"%s\\n%s\"];\n", s.Name, s.Name, strings.Join(s.Subnets, "\\n"))
	}, func(e graphEnd) {
		shape := "box"
		if e.Appliance {
			shape = "box3d"
		}
		fmt.Fprintf(&b, "  \"g-%s\" [shape=%s, label=\"%s\"];\n", e.Guest, shape, e.Guest)
	}, func(s graphSegment, e graphEnd) {
		fmt.Fprintf(&b, "  \"g-%s\" -- \"s-%s\" [label=\"%s\"];\n", e.Guest, s.Name, strings.Join(e.Addresses, "\\n"))
	})
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// each calls for every segment, every guest once, and every vNIC.
func (g graph) each(segment func(graphSegment), guest func(graphEnd), vnic func(graphSegment, graphEnd)) {
	seen := map[string]bool{}
	for _, s := range g.Segments {
		segment(s)
	}
	for _, s := range g.Segments {
		for _, e := range s.Ports {
			if !seen[e.Guest] {
				guest(e)
			}
			seen[e.Guest] = true
		}
	}
	for _, s := range g.Segments {
		for _, e := range s.Ports {
			vnic(s, e)
		}
	}
}
