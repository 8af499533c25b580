package running_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/labs/labfile"
)

// Every command of every lab's text is typed, in order, as docs/labs.md says.

func TestRootReadme(t *testing.T) {
	courseLabs(t, "netns", func(t *testing.T, l *labfile.Lab) { typeReadme(t, l, "netns") })
}
func TestLabReadme(t *testing.T) {
	courseLabs(t, "qemu", func(t *testing.T, l *labfile.Lab) { typeReadme(t, l, "qemu") })
}

func typeReadme(t *testing.T, l *labfile.Lab, kind string) {
	text, err := fs.ReadFile(l.Files, "README.md")
	if err == nil {
		text, err = l.Fill("README.md", text)
	}
	if err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	sideBySide(t) // with a state folder of its own, so that the lab can have the name that the text calls it
	setenv(t, "SLUICE_GUESTS", kind)
	setenv(t, "PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))
	dir := t.TempDir()
	t.Cleanup(func() { must(t, "lab", "destroy", "--all") })
	lines := commandsOf(string(text))
	for _, line := range lines {
		layOut(t, l, filepath.Join(dir, "my-work"))
		typeLine(t, dir, fillAnswer(t, l, line))
	}
	if len(lines) < 5 {
		t.Errorf("only %d commands found", len(lines))
	}
}

// commandsOf are the lines that begin with sluice, in blocks of three backticks. One that ends with \ goes on in the
// next.
func commandsOf(text string) (out []string) {
	inside, going := false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inside = !inside
			continue
		}
		line = going + line
		going = ""
		if !inside || !strings.HasPrefix(line, "sluice ") {
			continue
		}
		if rest, more := strings.CutSuffix(line, "\\"); more {
			going = rest
			continue
		}
		out = append(out, line)
	}
	return out
}

// layOut puts the solution's files where a student works, as that student would write them: with values where the lab
// has parameters.
func layOut(t *testing.T, l *labfile.Lab, work string) {
	t.Helper()
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	solution, err := fs.Sub(l.Files, "solution")
	if err == nil {
		err = os.CopyFS(work, solution)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	files, globErr := filepath.Glob(filepath.Join(work, "*.yaml"))
	err = errors.Join(err, globErr)
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		text, fillErr := l.Fill(file, text)
		err = errors.Join(err, readErr, fillErr, os.WriteFile(file, text, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

var answerLine = regexp.MustCompile(`^sluice lab answer ([a-z0-9-]+) [A-Z][A-Z-]*\b`)

// fillAnswer puts the solution's answer where the text has a word in capitals.
func fillAnswer(t *testing.T, l *labfile.Lab, line string) string {
	t.Helper()
	m := answerLine.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	solved, err := labfile.LoadWork(l.Ref, labfile.Work{Folder: "solution"})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := solved.Answers()
	if err != nil || answers[m[1]] == nil {
		t.Fatalf("%s: no such answer in the solution: %v", line, err)
	}
	return "sluice lab answer " + m[1] + " '" + strings.Join(answers[m[1]], "' '") + "'" + line[len(m[0]):]
}

var exitCode = regexp.MustCompile(`#.*\bexit code (\d+)`)

func typeLine(t *testing.T, dir, line string) {
	t.Helper()
	want := 0
	if m := exitCode.FindStringSubmatch(line); m != nil {
		want, _ = strconv.Atoi(m[1])
	}
	begun := time.Now()
	cmd := exec.Command("timeout", strconv.Itoa(int(deadline.Seconds())), "sh", "-c", line)
	cmd.Dir, cmd.Env = dir, environ(t)
	out, _ := cmd.CombinedOutput() // its exit code is looked at
	t.Logf("%6.2f s  %s", time.Since(begun).Seconds(), line)
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("%s: exit code %d, want %d\n%s", line, got, want, out)
	}
}
