package course

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/vswitch/cli"
)

func startCommand() *cobra.Command {
	var student string
	cmd := &cobra.Command{
		Use:   "start LAB FOLDER",
		Short: "Make a folder with what a student begins with",
		Long: `Make a folder with what a student begins with: the lab's text with the student's own parameters, and the files that are worked with. Nothing
that tells a solution is among them, and no file that is there is changed.`,
		Example: "  sluice lab start billing my-billing",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return commands.CompleteBuiltins(cmd, args, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			l, err := labfile.LoadWork(args[0], labfile.Work{Student: student})
			if err != nil {
				return err
			}
			n, err := layOut(l, args[1])
			if err != nil {
				return err
			}
			return out.Done(laidOut{args[1], l.Name, &n},
				fmt.Sprintf("%s has %d new files; when you are ready: sluice lab submit %s", args[1], n, args[1]))
		},
	}
	cmd.Flags().StringVar(&student, "student", "", "whose version of the lab")
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "student")
	return cmd
}

// laidOut is the answer of what makes a folder.
type laidOut struct {
	Folder string `json:"folder"`
	Lab    string `json:"lab,omitempty"`
	New    *int   `json:"new_files,omitempty"` // those that were there are not counted
}

// layOut writes the files that are not there yet, and says how many.
func layOut(l *labfile.Lab, folder string) (n int, err error) {
	names := []string{"README.md"}
	names = append(append(names, l.Theirs...), l.Handout...)
	for _, name := range names {
		text, err := labfile.ReadBounded(l.Files, name)
		if err == nil {
			text, err = l.Fill(name, text)
		}
		if err != nil {
			return n, fault.Errorf(fault.BadInput, "lab %s: %w", l.Name, err)
		}
		to := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(path.Dir(to), 0o755); err != nil {
			return n, fault.Errorf(fault.BadInput, "make %s: %w", folder, err)
		}
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			_, err = f.Write(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return n, fault.Errorf(fault.Failed, "write %s: %w", to, err)
		}
		n++
	}
	return n, nil
}
