package course

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

func lintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint LAB",
		Short: "Check a lab's files, and look for tasks that prove nothing",
		Long: `Read a lab as a deploy would, and each overlay in it (solution, wrong-*, start/*). What cannot be right is an error with its place, and ends with 2.
Then look for checks that are allowed, but prove nothing; a finding ends with 1.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: labs.CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			l, err := labs.Load(args[0])
			if err != nil {
				return err
			}
			for _, folder := range l.Overlays() {
				if _, err := labs.LoadWork(args[0], labs.Work{Folder: folder}); err != nil {
					return control.Errorf(control.BadInput, "overlay %s: %w", folder, err)
				}
			}
			faults := check.Lint(l.Tasks)
			err = out.Print(faults, func(w io.Writer) {
				for _, f := range faults {
					fmt.Fprintf(w, "%s:%d: task %s: %s\n", l.File, f.Line, f.Task, f.Text)
				}
				fmt.Fprintf(w, "%s: %d tasks, %d findings\n", l.File, len(l.Tasks), len(faults))
			})
			if err == nil && len(faults) > 0 {
				err = &cli.ExitError{Code: int(control.Failed)}
			}
			return err
		},
	}
}
