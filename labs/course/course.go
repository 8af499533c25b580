// Package course is what a class does with labs: check, grade and reset them, and what a student answers and asks for.
// It deploys through labs/running, asks a running lab through its API like any user, and leaves the judging to
// labs/check. How a lab file is read and what a guest is are not its business.
package course

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Commands are those of a class; they stand beside the other commands of `sluice lab`. judges judge the labs whose
// tasks are not in their lab files.
func Commands(judges Judges) []*cobra.Command {
	return []*cobra.Command{
		checkCommand(judges), gradeCommand(judges), resetCommand(), answerCommand(), startCommand(), submitCommand(judges), hintCommand(),
		readmeCommand(), graphCommand(), lintCommand(judges), initCommand(), testCommand(judges),
	}
}

// note tells the user something that is not the answer.
func note(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}
