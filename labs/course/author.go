package course

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/document"
	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
)

// skeleton is a minimal lab: it lints, and passes its test.
//
//go:embed skeleton
var skeleton embed.FS

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init DIR",
		Short:   "Make a minimal lab of your own in a folder: it lints, and passes its test",
		Example: "  sluice lab init my-lab\n  sluice lab test my-lab --guests netns",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			if err := makeLab(args[0]); err != nil {
				return err
			}
			return out.Done(laidOut{Folder: args[0]},
				fmt.Sprintf("%s is a lab: sluice lab lint %s, sluice lab test %s, sluice lab deploy %s", args[0], args[0], args[0], args[0]))
		},
	}
}

// makeLab writes the skeleton into a folder that is new or empty. The lab is called as the folder, where that can be a
// lab's name.
func makeLab(dir string) error {
	here, err := os.ReadDir(dir)
	if err == nil && len(here) > 0 {
		return fault.Errorf(fault.BadInput, "%s is not empty: give a folder that is, or a new one", dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Errorf(fault.BadInput, "open %s: %w", dir, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fault.Errorf(fault.BadInput, "open %s: %w", dir, err)
	}
	name := filepath.Base(abs)
	if !labfile.IsName(name) || labs.BuiltinName(name) != "" {
		name = "my-lab"
	}
	return fs.WalkDir(skeleton, "skeleton", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, "skeleton"))
		if e.IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else {
			text, _ := skeleton.ReadFile(path) // it is in the binary
			err = os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "NAME", name)), 0o644)
		}
		if err != nil {
			return fault.Errorf(fault.Failed, "make %s: %w", dir, err)
		}
		return nil
	})
}

// maxPromise bounds expect.yaml, in bytes.
const maxPromise = 4 << 10

// promise is expect.yaml of a wrong-*: the first task that fails, and what is found in the reason.
type promise struct {
	Task, Reason     string
	taskAt, reasonAt int // lines
}

// promiseOf reads what a wrong-* promises, and says what keeps it from being one.
func promiseOf(l *labfile.Lab, folder string) (p promise, reason *regexp.Regexp, wrong *check.LintFinding) {
	file := folder + "/expect.yaml"
	text, err := labfile.ReadBounded(l.Files, file)
	if err != nil {
		const missing = "it is missing, and says which task rejects %s, and why: %v"
		return p, nil, &check.LintFinding{File: file, Text: fmt.Sprintf(missing, folder, err)}
	}
	r := document.NewReader(file, text)
	if n := r.Parse("promise", "give it task and reason", maxPromise); n != nil {
		r.Fields(n, "a promise", map[string]func(*document.Node){
			"task":   func(v *document.Node) { p.Task, _ = r.Word(v, "task"); p.taskAt, _ = v.Place() },
			"reason": func(v *document.Node) { p.Reason, _ = r.Word(v, "reason"); p.reasonAt, _ = v.Place() },
		})
	}
	var bad fault.List
	switch err := r.Err(); {
	case errors.As(err, &bad):
		return p, nil, &check.LintFinding{File: file, Line: bad[0].Line, Text: bad[0].Msg}
	case p.Task == "" || p.Reason == "":
		return p, nil, &check.LintFinding{File: file, Line: 1, Text: "a promise needs task and reason"}
	}
	if reason, err = regexp.Compile(p.Reason); err != nil {
		return p, nil, &check.LintFinding{File: file, Line: p.reasonAt, Text: "reason: " + err.Error()}
	}
	return p, reason, nil
}

// tried is a row of `lab test`.
type tried struct {
	Folder   string `json:"folder"` // empty is the lab as it is at its start
	Kept     bool   `json:"kept"`
	Promised string `json:"promised"`
	Came     string `json:"came"`
}

func testCommand(judges Judges) *cobra.Command {
	var guests string
	cmd := &cobra.Command{
		Use:   "test LAB",
		Short: "Judge a lab unsolved, its solution, and each right-* and wrong-*: say what was promised, and what came",
		Long: `Judge a lab as an author does: unsolved it must fail, solution/ and each right-* must pass, and each wrong-* must fail first at the task and for the reason
that its expect.yaml promises. Exit codes: 0 all promises were kept, 1 one was not, 2 the lab cannot be read, 3 this machine lacks something.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: commands.CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			if err := labfile.CheckKind(guests); err != nil {
				return err
			}
			l, err := labfile.Load(args[0])
			if err != nil {
				return err
			}
			rows, err := testLab(cmd, l, judges, guests)
			if err != nil {
				return err
			}
			if err := out.Print(rows, func(w io.Writer) { writeTried(w, out, rows) }); err != nil {
				return err
			}
			for _, r := range rows {
				if !r.Kept {
					return &cli.ExitError{Code: int(fault.Failed)}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&guests, "guests", labfile.KindAuto, "what guests are: qemu, netns or auto")
	commands.CompleteGuestsFlag(cmd)
	return cmd
}

func writeTried(w io.Writer, out *cli.Output, rows []tried) {
	for _, r := range rows {
		word, color, folder := "KEPT", cli.Good, r.Folder
		if !r.Kept {
			word, color = "NOT ", cli.Bad
		}
		if folder == "" {
			folder = "unsolved"
		}
		fmt.Fprintf(w, "%s  %s\n      promised: %s\n      came:     %s\n", out.Paint(color, word), folder, fault.Clean(r.Promised), fault.Clean(r.Came))
	}
}

// testLab judges the lab unsolved and with each of its folders.
func testLab(cmd *cobra.Command, l *labfile.Lab, judges Judges, guests string) ([]tried, error) {
	if judges[labs.BuiltinName(l.Ref)] == nil {
		if err := hasTask(l, ""); err != nil {
			return nil, err
		}
	}
	empty, err := os.MkdirTemp("", "sluice-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(empty)
	if err := os.WriteFile(filepath.Join(empty, "answers.yaml"), []byte("{}\n"), 0o600); err != nil {
		return nil, err
	}
	rows := []tried{}
	for _, folder := range append([]string{""}, l.Overlays()...) {
		if strings.HasPrefix(folder, "start/") {
			continue
		}
		at := folder
		if folder == "" {
			at = empty
		}
		note(cmd, "%s", at)
		s := &submission{ref: l.Ref, how: running.Options{Guests: guests}, work: labfile.Work{Folder: at}, judges: judges, drawnBy: drawnByNobody, note: func(string, ...any) {}}
		row, err := testOne(cmd.Context(), l, s, folder)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func testOne(ctx context.Context, l *labfile.Lab, s *submission, folder string) (row tried, err error) {
	row = tried{Folder: folder, Promised: "it passes"}
	fails, reason := folder == "", (*regexp.Regexp)(nil)
	p := promise{}
	if strings.HasPrefix(folder, "wrong-") {
		var wrong *check.LintFinding
		if p, reason, wrong = promiseOf(l, folder); wrong != nil {
			row.Promised, row.Came = "nothing", placeOf(l, *wrong)+": "+wrong.Text
			return row, nil
		}
		row.Promised = fmt.Sprintf("task %s fails: %s", p.Task, p.Reason)
	} else if fails {
		row.Promised = "it fails"
	}
	_, report, _, err := s.judge(ctx)
	if err != nil {
		if fault.ClassOf(err) != fault.BadInput {
			return row, err
		}
		row.Came = err.Error()
		return row, nil
	}
	first := firstFailed(report)
	row.Came = "it passes"
	if first != nil {
		row.Came = fmt.Sprintf("task %s fails: %s", first.ID, first.Reason)
	}
	row.Kept = kept(first, fails, p.Task, reason)
	return row, nil
}

// kept says whether what came is what was promised: that it fails or not; with a reason, that it fails first at the
// task and for that reason.
func kept(first *check.Result, fails bool, task string, reason *regexp.Regexp) bool {
	switch {
	case first != nil && first.Undecided: // nothing was shown, and so nothing was kept
		return false
	case reason != nil:
		return first != nil && first.ID == task && reason.MatchString(first.Reason)
	}
	return (first != nil) == fails
}

func firstFailed(r check.Report) *check.Result {
	for i := range r.Results {
		if !r.Results[i].Passed {
			return &r.Results[i]
		}
	}
	return nil
}
