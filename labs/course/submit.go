package course

import (
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

	"sluice/labs"
	"sluice/vswitch/control"
)

func submitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "submit FOLDER",
		Short: "Make a folder with your work what your teacher can grade",
		Long: `Make a folder with your work a submission to the lab that runs: its name is put into FOLDER/lab.yaml, and the answers that you gave with
sluice lab answer into FOLDER/answers.yaml. Nothing that is there is changed. Then the folder is read as it will be to grade it.

It is not judged: sluice lab check LAB --with FOLDER does that. Hand in the folder, under your name.`,
		Example: "  sluice lab submit my-work",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openSession(cmd, nil)
			if err != nil {
				return err
			}
			defer s.close()
			of, err := s.submit(args[0])
			if err == nil {
				note(cmd, "%s is a submission to %s%s: hand it in; sluice lab check %s --with %s judges it", args[0], of.Name, by(s.lab.Work.Student), of.Name, args[0])
			}
			return err
		},
	}
}

// by says whose version of a lab it is.
func by(student string) string {
	if student == "" {
		return ""
	}
	return ", as drawn for " + student
}

// submit completes a folder, and reads it as a grader would.
func (s *session) submit(folder string) (of *labs.Lab, err error) {
	ref, _, err := labs.DeployedAs(s.client.Lab())
	if err != nil {
		return nil, err
	}
	if of, err = labs.Load(ref); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(folder)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return of, control.Errorf(control.BadInput, "open %s: %w", folder, err)
	}
	if err := nameLab(dir, of.Name); err != nil {
		return of, err
	}
	if err := s.addAnswers(ref, dir); err != nil {
		return of, err
	}
	_, err = labs.LoadWork(ref, labs.Work{Student: s.lab.Work.Student, Folder: dir})
	return of, err
}

// nameLab puts the lab's name into a submission's lab file, where none is.
func nameLab(dir, lab string) error {
	named, err := labs.LabNamedBy(dir)
	if known := labs.BuiltinName(named); known != "" {
		named = known
	}
	switch {
	case err != nil:
		return err
	case named == "":
		return complete(filepath.Join(dir, "lab.yaml"), "name: "+lab+"\n", func() error {
			_, err := labs.LabNamedBy(dir)
			return err
		})
	case named != lab:
		return control.Errorf(control.BadInput, "%s says that it is of lab %s, and %s runs: take another folder, or change that line", filepath.Join(dir, "lab.yaml"), named, lab)
	}
	return nil
}

// addAnswers writes down the answers of the command line that a submission lacks. One that says something else is the student's to decide.
func (s *session) addAnswers(ref, dir string) error {
	text := ""
	mine := s.progress.Answers
	read := func() (map[string][]string, error) {
		l, err := labs.LoadWork(ref, labs.Work{Student: s.lab.Work.Student, Folder: dir})
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
			return control.Errorf(control.Failed, "the answer %s is %q in %s, and you answered %q: make them agree",
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

// complete adds lines at the end of a file, which may not be there yet. Where it cannot be read any more then, it stays as it was.
func complete(path, lines string, read func() error) error {
	was, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return control.Errorf(control.BadInput, "read a submission: %w", err)
	}
	text := lines
	if len(was) > 0 && !strings.HasSuffix(string(was), "\n") {
		text = "\n" + lines
	}
	if err := appendTo(path, text); err != nil {
		return control.Errorf(control.Failed, "write a submission: %w", err)
	}
	if err := read(); err != nil {
		back := func() error { return os.Truncate(path, int64(len(was))) }
		if missing {
			back = func() error { return os.Remove(path) }
		}
		return errors.Join(control.Errorf(control.BadInput, "%s does not take these lines; add them yourself:\n%s%w", path, lines, err), back())
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
