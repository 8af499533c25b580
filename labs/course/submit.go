package course

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
)

func submitCommand(judges Judges) *cobra.Command {
	var of, student string
	cmd := &cobra.Command{
		Use:   "submit FOLDER",
		Short: "Make a folder with your work what your teacher can grade",
		Long: `Make a folder with your work a submission to the lab that runs: its name is put into FOLDER/lab.yaml, the answers that you gave with
sluice lab answer into FOLDER/answers.yaml, and whose version of the lab it is and which hints you asked for into FOLDER/submission.yaml. Nothing else that
is there is changed. Then the folder is read as it will be to grade it, and you are told what is in it, and what is not.

Where the lab does not run, --of says which it is of; then answers and hints of the command line are not known.

It is not judged: sluice lab check LAB --with FOLDER does that. Hand in the folder, under your name.`,
		Example: "  sluice lab submit my-work\n  sluice lab submit my-billing --of billing",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			u, err := openSubmitting(cmd, args[0], of, student, judges)
			if err != nil {
				return err
			}
			defer u.close()
			if err := u.write(); err != nil {
				return err
			}
			in, not := u.contents()
			done := submitted{u.folder, u.lab.Name, u.student, in, append([]string{}, not...), u.cost()}
			return out.Done(done, u.tells(done)...)
		},
	}
	cmd.Flags().StringVar(&of, "of", "", "the lab, where it does not run")
	cli.CompleteFlags(cmd, commands.CompleteLabFlag, "of")
	cmd.Flags().StringVar(&student, "student", "", "with --of: whose version of the lab it was")
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "student")
	return cmd
}

// submitting is one `lab submit`.
type submitting struct {
	folder  string      // as it was given
	dir     string      // absolute
	running *runningLab // of the lab that runs; nil is none
	ref     string
	student string
	lab     *labfile.Lab // the student's version, without their files
	judge   Judge        // who judges instead of tasks; nil is nobody
	work    *labfile.Lab // with their files; nil where somebody else judges
	cover   *labfile.Cover
}

func openSubmitting(cmd *cobra.Command, folder, of, student string, judges Judges) (u *submitting, err error) {
	u = &submitting{folder: folder, ref: of, student: student}
	if of == "" {
		if student != "" {
			return nil, fault.Errorf(fault.BadInput, "--student goes with --of: the lab that runs knows for whom it was deployed")
		}
		if u.running, err = openRunning(cmd, nil); err != nil {
			return nil, err
		}
		u.student = u.running.lab.Work.Student
		u.ref, _, err = running.DeployedAs(u.running.client.Lab())
	}
	if err == nil {
		u.lab, err = labfile.LoadWork(u.ref, labfile.Work{Student: u.student})
	}
	if err == nil {
		u.judge = judges[labs.BuiltinName(u.ref)]
		u.dir, err = filepath.Abs(folder)
	}
	if err == nil {
		err = os.MkdirAll(u.dir, 0o755)
		if err != nil {
			err = fault.Errorf(fault.BadInput, "open %s: %w", folder, err)
		}
	}
	if err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

func (u *submitting) close() {
	if u.running != nil {
		u.running.close()
	}
}

// write completes the folder, and reads it as a grader would.
func (u *submitting) write() (err error) {
	if err := nameLab(u.dir, u.lab.Name); err != nil {
		return err
	}
	if u.judge != nil {
		return u.writeCover()
	}
	if u.running != nil {
		if err := u.running.addAnswers(u.ref, u.dir); err != nil {
			return err
		}
	}
	if u.work, err = labfile.LoadWork(u.ref, labfile.Work{Student: u.student, Folder: u.dir}); err != nil {
		return err
	}
	if _, err := u.work.Answers(); err != nil {
		return err
	}
	return u.writeCover()
}

// writeCover writes the cover sheet. Hints of an earlier one stay on the bill: they were asked for.
func (u *submitting) writeCover() error {
	before, err := labfile.ReadCover(u.dir)
	if err != nil {
		return err
	}
	bought := before.Bought()
	if u.running != nil {
		for task, hints := range u.running.progress.Bought {
			bought[task] = append(bought[task], hints...)
		}
	}
	u.cover = &labfile.Cover{Lab: u.lab.Name, Student: u.student, Params: u.lab.Params}
	for _, t := range u.lab.Tasks {
		slices.Sort(bought[t.ID])
		for _, i := range slices.Compact(bought[t.ID]) {
			if i < len(t.Hints) && t.Hints[i].Cost > 0 {
				u.cover.Hints = append(u.cover.Hints, labfile.CoverHint{Task: t.ID, Hint: i, Cost: t.Hints[i].Cost})
			}
		}
	}
	if err := os.WriteFile(filepath.Join(u.dir, labfile.CoverFile), u.cover.Text(), 0o644); err != nil {
		return fault.Errorf(fault.Failed, "write a submission: %w", err)
	}
	return nil
}

// submitted is the answer of `lab submit`.
type submitted struct {
	Folder  string   `json:"folder"`
	Lab     string   `json:"lab"`
	Student string   `json:"student"` // whose version of the lab; empty is nobody's
	In      []string `json:"in_it"`
	NotIn   []string `json:"not_in_it"`
	Cost    int      `json:"hints_cost"` // points
}

// cost is what the hints cost that were asked for, in points.
func (u *submitting) cost() (points int) {
	for _, h := range u.cover.Hints {
		points += h.Cost
	}
	return points
}

// tells says what is in the submission, and what is not.
func (u *submitting) tells(done submitted) []string {
	whose := ""
	if len(u.lab.Params) > 0 {
		whose = ", as drawn for " + labfile.OrNobody(u.student)
	}
	out := []string{fmt.Sprintf("%s is a submission to %s%s", u.folder, u.lab.Name, whose)}
	out = append(out, "in it: "+strings.Join(done.In, ", "))
	for _, x := range done.NotIn {
		out = append(out, "not in it: "+x)
	}
	if done.Cost > 0 {
		out = append(out, "on the bill: hints for "+pointsOf(done.Cost))
	}
	return append(out, fmt.Sprintf("hand in the folder, under your name; sluice lab check %s --with %s judges it", u.lab.Name, u.folder))
}

// contents are what is handed in and counts, and what a student may think is.
func (u *submitting) contents() (in, not []string) {
	has := func(name string) bool { _, err := os.Stat(filepath.Join(u.dir, name)); return err == nil }
	for _, name := range u.lab.Theirs {
		switch {
		case has(name):
			in = append(in, name)
		case u.judge == nil:
			not = append(not, fmt.Sprintf("%s: the lab's own counts", name))
		}
	}
	if u.judge != nil {
		if has("answers.yaml") {
			return []string{"answers.yaml"}, nil
		}
		return []string{"nothing yet"}, []string{"answers.yaml"}
	}
	answers, _ := u.work.Answers() // they were read before
	var missing []string
	for _, name := range u.lab.AnswerNames() {
		if _, there := answers[name]; !there {
			missing = append(missing, name)
		}
	}
	in = append(in, fmt.Sprintf("%d of %d answers", len(answers), len(u.lab.AnswerNames())))
	if u.placed() {
		in = append(in, "the placement "+u.work.Placement.String())
	}
	if len(missing) > 0 {
		not = append(not, "the answers "+strings.Join(missing, ", "))
	}
	return in, append(not, u.left()...)
}

// placed says whether it matters in which placement the work begins.
func (u *submitting) placed() bool {
	return slices.ContainsFunc(u.lab.Tasks, func(t check.Task) bool { return slices.ContainsFunc(t.Checks, check.Check.InPlace) })
}

// left is what the running lab has and the submission has not: where the firewall stands now, and a policy that was
// applied and not saved.
func (u *submitting) left() (not []string) {
	if u.running == nil {
		return nil
	}
	ctx := context.Background()
	if at, err := u.running.client.Placement(ctx); err == nil && u.placed() && at.Placement != u.work.Placement {
		not = append(not, fmt.Sprintf("the placement in which the lab runs now, %s: the work begins in %s; a line placement: %s in %s makes it that one",
			at.Placement, u.work.Placement, at.Placement, filepath.Join(u.folder, "lab.yaml")))
	}
	p, err := u.running.client.Policy(ctx)
	if err == nil && strings.TrimSpace(p.Source) != strings.TrimSpace(string(u.work.Policy.Source)) && len(u.lab.Theirs) > 0 {
		not = append(not, "the policy that is in force: it is another than the one that is handed in; sluice policy show writes it")
	}
	return not
}

// nameLab puts the lab's name into a submission's lab file, where none is.
func nameLab(dir, lab string) error {
	named, err := labfile.LabNamedBy(dir)
	if known := labs.BuiltinName(named); known != "" {
		named = known
	}
	switch {
	case err != nil:
		return err
	case named == "":
		return complete(filepath.Join(dir, "lab.yaml"), "name: "+lab+"\n", func() error {
			_, err := labfile.LabNamedBy(dir)
			return err
		})
	case named != lab:
		return fault.Errorf(fault.BadInput, "%s says that it is of lab %s, and %s runs: take another folder, or change that line", filepath.Join(dir, "lab.yaml"), named, lab)
	}
	return nil
}

// addAnswers writes down the answers of the command line that a submission lacks. One that says something else is the
// student's to decide.
func (s *runningLab) addAnswers(ref, dir string) error {
	text := ""
	mine := s.progress.Answers
	read := func() (map[string][]string, error) {
		l, err := labfile.LoadWork(ref, labfile.Work{Student: s.lab.Work.Student, Folder: dir})
		if err != nil {
			return nil, err
		}
		return l.Answers()
	}
	here, err := read()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		was, there := here[name]
		switch {
		case !there:
			line, err := answerLine(name, mine[name])
			if err != nil {
				return err
			}
			text += line
		case !slices.Equal(was, mine[name]):
			return fault.Errorf(fault.Failed, "the answer %s is %q in %s, and you answered %q: make them agree",
				name, strings.Join(was, ", "), filepath.Join(dir, "answers.yaml"), strings.Join(mine[name], ", "))
		}
	}
	if text == "" {
		return nil
	}
	return complete(filepath.Join(dir, "answers.yaml"), text, func() error {
		_, err := read()
		return err
	})
}

// answerLine is an answer as answers.yaml has it: JSON is YAML.
func answerLine(name string, words []string) (string, error) {
	var value any = words
	if len(words) == 1 {
		value = words[0]
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("write the answer %s: %w", name, err)
	}
	return name + ": " + string(b) + "\n", nil
}

// complete adds lines at the end of a file, which may not be there yet. Where it cannot be read any more then, it stays
// as it was.
func complete(path, lines string, read func() error) error {
	was, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fault.Errorf(fault.BadInput, "read a submission: %w", err)
	}
	text := lines
	if len(was) > 0 && !strings.HasSuffix(string(was), "\n") {
		text = "\n" + lines
	}
	if err := appendTo(path, text); err != nil {
		return fault.Errorf(fault.Failed, "write a submission: %w", err)
	}
	if err := read(); err != nil {
		back := func() error { return os.Truncate(path, int64(len(was))) }
		if missing {
			back = func() error { return os.Remove(path) }
		}
		return errors.Join(fault.Errorf(fault.BadInput, "%s does not take these lines; add them yourself:\n%s%w", path, lines, err), back())
	}
	return nil
}

// appendTo writes behind what a file has: all of it or nothing, and no failure costs what was there.
func appendTo(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	was, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Truncate(was))
	}
	return nil
}
