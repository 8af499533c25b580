package admin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice/firewall"
)

func (at place) show(cmd *cobra.Command, _ string) error {
	o, err := at.look()
	if err != nil {
		return err
	}
	e := o.Edition
	fmt.Fprintf(cmd.ErrOrStderr(), "# %s, generation %d; administered here\n", e.File, e.Generation)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(string(e.Source), "\n"))
	return err
}

func (at place) status(cmd *cobra.Command, _ string) error {
	a, err := at.ask(Request{})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "generation %d is in force\n", a.Generation)
	return writeRealized(cmd.OutOrStdout(), a)
}

func writeRealized(w io.Writer, a Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VNIC\tGENERATION")
	for _, r := range a.Realized {
		fmt.Fprintf(t, "%s\t%d\n", r.VNIC, r.Generation)
	}
	return t.Flush()
}

func (at place) edit(cmd *cobra.Command, _ string) error {
	o, err := at.look() // nobody edits what cannot be pushed
	if err != nil {
		return err
	}
	editor := os.Getenv("EDITOR")
	if editor == "" {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return badInput("an editor needs a terminal (on the host: sluice console), or set EDITOR to one that does not")
		}
		editor = "vi"
	}
	e := exec.CommandContext(cmd.Context(), "sh", "-c", editor+` "$1"`, "sh", at.file)
	e.Stdin, e.Stdout, e.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := e.Run(); err != nil {
		return fmt.Errorf("%s: %w", editor, err)
	}
	if b, ok := readBase(at.file); ok && b.Generation != o.Edition.Generation {
		fmt.Fprintf(cmd.ErrOrStderr(), "# generation %d was pushed since this file began from %d: see %s diff\n", o.Edition.Generation, b.Generation, CommandName)
	}
	return at.lint(cmd, "")
}

func (at place) lint(cmd *cobra.Command, file string) error {
	d, err := at.load(cmd, file)
	if err != nil {
		return err
	}
	found, complete := d.policy.Lint()
	for _, f := range found {
		fmt.Fprintf(cmd.OutOrStdout(), "%s:%d:%d: %s: %s\n", d.file, f.Line, f.Col, f.Kind, f.Detail)
	}
	if len(found) > 0 {
		return fmt.Errorf("%s: %d findings in %d rules", d.file, len(found), len(d.policy.Rules))
	}
	if !complete {
		return fmt.Errorf("%s: its %d rules overlap too much to be compared in full", d.file, len(d.policy.Rules))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: good, %d rules\n", d.file, len(d.policy.Rules))
	return nil
}

// diff compares verdicts. Whoever has seen the differences may push over them: the file now began from what is in
// force.
func (at place) diff(cmd *cobra.Command, file string) error {
	d, err := at.load(cmd, file)
	if err != nil {
		return err
	}
	e := d.Edition
	now, err := firewall.Load(fmt.Sprintf("generation %d", e.Generation), e.Source, d.Inventory)
	if err != nil {
		return fmt.Errorf("read what is in force: %w", err)
	}
	found := firewall.Diff(now, d.policy)
	writeDiff(cmd.OutOrStdout(), d.Inventory, now, d.policy, found)
	if d.path != "" {
		b, _ := readBase(d.path)
		if err := writeBase(d.path, base{e.Generation, b.Sum}); err != nil {
			return err
		}
	}
	if found.Stopped || found.Helpers || len(found.Differences) > 0 {
		return errSaid
	}
	return nil
}

func writeDiff(w io.Writer, inv *firewall.Inventory, a, b *firewall.Policy, found firewall.Comparison) {
	for _, f := range found.Differences {
		fmt.Fprintln(w, f.Witness.String())
		for _, s := range []struct {
			p *firewall.Policy
			d firewall.Decision
		}{{a, f.A}, {b, f.B}} {
			fmt.Fprintf(w, "    %s by rule %s at %s/%s\n", s.d.Action, ruleOf(s.p, s.d), inv.VNIC(s.d.Point.Port), s.d.Point.Dir)
		}
	}
	if found.Helpers {
		fmt.Fprintf(w, "what connections announce, in slow: helpers %s, then %s\n", a.HelperNames(), b.HelperNames())
	}
	switch {
	case found.Stopped:
		fmt.Fprintln(w, "stopped: the policies differ in more places than are looked at; there may be more")
	case len(found.Differences) == 0 && !found.Helpers:
		fmt.Fprintf(w, "%s and %s decide every flow alike\n", a.File, b.File)
	}
}

func ruleOf(p *firewall.Policy, d firewall.Decision) string {
	if d.Rule == 0 {
		return "default (" + p.File + ")"
	}
	r := &p.Rules[d.Rule-1]
	return fmt.Sprintf("%s (%s:%d)", r.Name, p.File, r.Line)
}

func (at place) pushCommand() *cobra.Command {
	var force bool
	cmd := verb("push [FILE]", "Put a policy in force at every vNIC, or change nothing and say why", func(cmd *cobra.Command, file string) error {
		return at.push(cmd, file, force)
	})
	cmd.Flags().BoolVar(&force, "force", false, "whatever was pushed since the file began")
	return cmd
}

func (at place) push(cmd *cobra.Command, file string, force bool) error {
	d, err := at.load(cmd, file)
	if err != nil {
		return err
	}
	req := Request{Push: &Push{File: d.file, Source: d.source, Force: force}}
	if !force {
		if d.path == "" {
			return badInput("what comes from stdin began from no generation: use --force")
		}
		b, ok := readBase(d.path)
		if !ok {
			const why = "nobody knows from which generation %s began; look at `%s diff %s`, then push again, or use --force"
			return badInput(why, d.file, CommandName, d.file)
		}
		req.Push.Base = b.Generation
	}
	if err := req.Check(); err != nil {
		return badInput("%w", err)
	}
	a, err := at.ask(req)
	switch {
	case err != nil:
		return err
	case a.Error != "" && a.BadInput:
		return badInput("%s", a.Error)
	case a.Error != "":
		return errors.New(a.Error)
	}
	if d.path != "" {
		if err := writeBase(d.path, base{a.Generation, sum(d.source)}); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "# it is in force, but: %v\n", err)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "generation %d is in force: %d rules, %d flows cut\n", a.Generation, a.Rules, a.FlowsCut)
	return writeRealized(cmd.OutOrStdout(), a)
}
