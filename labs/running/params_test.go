package running_test

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"sluice/labs"
	"sluice/labs/labfile"
)

// TestMultiples: an answer may be some times the number in the question, where the parameter is a number.
func TestMultiples(t *testing.T) {
	l, err := labfile.Load("blind-spot")
	if err != nil {
		t.Fatal(err)
	}
	l.Params = map[string]string{"tries": "4", "word": "heron"}
	for text, want := range map[string]string{
		"${tries}, ${tries*2} and ${tries*10}": "4, 8 and 40", "${tries*}": "${tries*}", "${tries *2}": "${tries *2}",
		"${tires*2}": `text:1:1: there is no param "tires"`, "a\n ${word*2}": `text:2:2: param word is "heron", and only a number has multiples`,
	} {
		got, err := l.Fill("text", []byte(text))
		if said := fmt.Sprint(err); err != nil && !strings.Contains(said, want) || err == nil && string(got) != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestAnswersAreNotInTheQuestion: no answer of a solution is a number that the student's text shows as it is.
func TestAnswersAreNotInTheQuestion(t *testing.T) {
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		answers, err := fs.ReadFile(l.Files, "solution/answers.yaml")
		if err != nil {
			continue // a lab without tasks of its own has none
		}
		text, err := fs.ReadFile(l.Files, "README.md")
		if err != nil {
			t.Fatal(err)
		}
		for param, value := range l.Params {
			hole := "${" + param + "}"
			_, err := strconv.Atoi(value)
			if err == nil && strings.Contains(string(answers), ": "+hole) && strings.Contains(string(text), hole) {
				t.Errorf("%s: an answer is %s, which the text shows", l.Name, hole)
			}
		}
	}
}
