package check

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Run runs a command in a guest, or a script of the lab's folder. It is the escape for what no other check can say.
type Run struct {
	In      string   // the guest; empty for a script
	Command []string // in the guest
	Script  string   // a file of the lab
	Exit    int      // what it must end with
	Stdout  *regexp.Regexp
	Timeout time.Duration
}

func (c *Run) String() string {
	if c.Script != "" {
		return c.Script
	}
	return fmt.Sprintf("%s in %s", inOneLine(c.Command), c.In)
}

// inOneLine is a command as messages show it: whole, or only its program where the whole would fill a screen.
func inOneLine(command []string) string {
	const longest = 80 // letters
	line := strings.Join(command, " ")
	if utf8.RuneCountInString(line) <= longest && !strings.Contains(line, "\n") {
		return line
	}
	return command[0] + " ..."
}

func (c *Run) run(ctx context.Context, lab Lab) (Output, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var out Output
	var err error
	if c.Script != "" {
		out, err = lab.Script(ctx, c.Script)
	} else {
		out, err = lab.Exec(ctx, c.In, c.Command)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it took longer than %s", c.Timeout)
	}
	return out, err
}

func (c *Run) judge(s *scene) Finding {
	ran := s.ran[c]
	const patient = time.Second // a command that takes so long has waited for something
	waited := ran.took >= patient
	switch {
	case ran.err != nil:
		return Finding{Reason: fmt.Sprintf("%s: %v", c, ran.err), doubt: true}
	case ran.out.Code != c.Exit:
		return Finding{Reason: fmt.Sprintf("%s ended with %d, not %d%s", c, ran.out.Code, c.Exit, said(ran.out)), doubt: waited}
	case c.Stdout != nil && !c.Stdout.MatchString(ran.out.Stdout):
		return Finding{Reason: fmt.Sprintf("%s did not write what it should: %s", c, lastLine(ran.out)), doubt: waited}
	}
	return passed()
}

// said is what a command said last, behind a colon; nothing of one that was silent.
func said(o Output) string {
	if last := lastLine(o); last != "" {
		return ": " + last
	}
	return ""
}

// lastLine is what a command said last; a script says there why it failed.
func lastLine(o Output) string {
	text := strings.TrimSpace(o.Stderr)
	if text == "" {
		text = strings.TrimSpace(o.Stdout)
	}
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	const most = 200
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "?")
}
