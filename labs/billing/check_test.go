package billing

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const labFolder = "../20-billing"

// promise is what the head of a wrong answer says: which task it fails, and with what reason.
var promise = regexp.MustCompile(`(?m)^# Fails ([a-z]+): (.+)$`)

// TestAnswers: unsolved passes nothing, the solution everything, and each wrong answer fails what it promises, for the
// reason that it promises, and nothing else.
func TestAnswers(t *testing.T) {
	wrong, err := filepath.Glob(labFolder + "/wrong-*")
	if err != nil || len(wrong) < 2 {
		t.Fatalf("only %d wrong answers: %v", len(wrong), err)
	}
	unsolved := checkFolder(t, labFolder)
	if unsolved.Passed || unsolved.Points != 0 || unsolved.failed() != len(unsolved.Tasks) {
		t.Errorf("unsolved: %+v", unsolved)
	}
	if solved := checkFolder(t, labFolder+"/solution"); !solved.Passed || solved.Points != solved.Of || solved.Of == 0 {
		t.Errorf("solution: %+v", solved)
	}
	for _, dir := range wrong {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, answerFile))
			if err != nil {
				t.Fatal(err)
			}
			promised := map[string]string{}
			for _, m := range promise.FindAllStringSubmatch(string(text), -1) {
				promised[m[1]] = m[2]
			}
			r := checkFolder(t, dir)
			if r.Passed || len(promised) == 0 {
				t.Errorf("passed: %v, promised: %v", r.Passed, promised)
			}
			for _, task := range r.Tasks {
				reason, fails := promised[task.ID]
				if task.Passed == fails || !strings.Contains(task.Reason, reason) || fails && task.Look == "" {
					t.Errorf("%s: passed %v: %s; promised: %q", task.ID, task.Passed, task.Reason, reason)
				}
			}
		})
	}
}

func checkFolder(t *testing.T, dir string) Report {
	t.Helper()
	r, err := checkPath(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestNoFigureInTheTasks: what is right is worked out, so a changed scenario changes it.
func TestNoFigureInTheTasks(t *testing.T) {
	text, err := os.ReadFile(labFolder + "/" + tasksFile)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range []string{"article.yaml", "winter.yaml", "flat.yaml"} {
		data, err := os.ReadFile(filepath.Join(labFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	files["article.yaml"].Data = []byte(strings.Replace(string(files["article.yaml"].Data), "fee: 10.00", "fee: 11.00", 1))
	files["flat.yaml"].Data = []byte(strings.Replace(string(files["flat.yaml"].Data), "500.00", "501.00", 1))
	tasks, err := parseTasks("tasks.yaml", text, files)
	if err != nil {
		t.Fatal(err)
	}
	a, err := LoadAnswer(labFolder + "/solution/" + answerFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range tasks.Check(a).Tasks {
		if want := r.ID == "order" || r.ID == "holds"; r.Passed != want {
			t.Errorf("%s: passed %v with other fees: %s", r.ID, r.Passed, r.Reason)
		}
	}
}

// TestReasons: one thing of the solution replaced; what the student reads.
func TestReasons(t *testing.T) {
	tasks, err := LoadTasks(labFolder + "/" + tasksFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(labFolder + "/solution/" + answerFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"newest-first: 47.00", "newest-first:", "FAIL read owed: newest-first is not answered"},
		{"newest-first: 47.00", "newest-first: 107.00", "FAIL read 107.00 is not what is owed under newest-first"},
		{"oldest-first: 18.00", "oldest-first: 28.00", "FAIL read 28.00 is not what is owed under oldest-first"},
		{"cut-off: 2010-08-14", "cut-off:", "FAIL read cut-off is not answered"},
		{"cut-off: 2010-08-14", "cut-off: 2010-08-15", "FAIL read service is not cut off on 2010-08-15"},
		{"order:\n  - age: oldest", "order:", "FAIL order order is not answered"},
		{"age: oldest", "share: pro-rata", "FAIL order Eighteen dollars short: under pro-rata 57.00 is owed"},
		{"age: oldest", "amount: largest", "FAIL holds A large bill first: under amount:largest 61.00 is owed, after fees of 10.00; another order is better"},
		{"- age: oldest", "- class: phone\n  - class: power\n  - age: oldest", "PASS order Eighteen dollars short: under class:phone,class:power,age:oldest 18.00 is owed"},
		{"gets: 32.90", "gets: 32.91", "FAIL shares the shares come to 500.01 of 500.00: 0.01 is made from nothing"},
		{"gets: 427.63}\n  - {charge: phone, gets: 39.47}\n  - {charge: power, gets: 32.90", "gets: 427.64}\n  - {charge: phone, gets: 39.47}\n  - {charge: power, gets: 32.89", "FAIL shares the sum is right, but a cent went to the wrong charge"},
		{"  - {charge: power, gets: 32.90}\n", "", "FAIL shares 3 charges get something, not 2"},
		{"charge: power", "charge: gas", "FAIL shares gas gets nothing of payment transfer"},
		{"short: 18.00", "short: 60.00", "FAIL rate 60.00 is not what was short"},
		{"fees: 29.00", "fees: 19.00", "FAIL rate 19.00 is not what that cost in fees"},
		{"days: 60", "days: 61", "FAIL rate it is not 61 days"},
		{"days: 60", "days:", "FAIL rate rate: short, fees and days are not all answered"},
		{"stated: 966.7", "stated: 967", "PASS rate"},
		{"stated: 966.7", "stated: 966.6667", "PASS rate"},
		{"stated: 966.7", "stated: 966", "PASS rate"}, // cut off instead of rounded
		{"stated: 966.7", "stated: 965", "FAIL rate stated: 965 % is not right"},
		{"stated: 966.7", "stated: 9.667", "FAIL rate stated: 9.667 % is not right: give it in percent"},
		{"stated: 966.7", "stated: 1933.3", "FAIL rate stated: 1933.3 % is not right: that takes the whole time for a month"},
		{"apr: 980.1", "apr: 966.7", "FAIL rate apr: 966.7 % is not right: that is with a year of 360 days"},
		{"apy: 34231.1", "apy: 34231.08", "PASS rate"},
		{"apy: 34231.1", "apy: 34231.0877", "PASS rate"},
		{"apy: 34231.1", "apy: 34231.2", "FAIL rate apy: 34231.2 % is not right"},
		{"apy: 34231.1", "apy: 980.1", "FAIL rate apy: 980.1 % is not right: that is with a year of 365 days, without compounding"},
		{"apy: 34231.1", "apy:", "FAIL rate rate: apy is not answered"},
	} {
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if changed == string(text) {
			t.Errorf("%q is not in the solution", c.old)
			continue
		}
		a, err := parseAnswer("answers.yaml", []byte(changed))
		if err != nil {
			t.Errorf("%q: %v", c.new, err)
			continue
		}
		var all []string
		for _, r := range tasks.Check(a).Tasks {
			all = append(all, fmt.Sprintf("%s %s %s", map[bool]string{true: "PASS", false: "FAIL"}[r.Passed], r.ID, r.Reason))
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%q:\n%s\nwant %s", c.new, got, c.want)
		}
	}
}

// TestBadAnswersAndTasks: what is wrong in a file is told with its place.
func TestBadAnswersAndTasks(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"owed: {newest: 1}", `1:8: owed has no key "newest"|it takes newest-first, oldest-first, pro-rata`},
		{"rate: {days: many}", `1:14: days is "many"`},
		{"rate: {stated: 967%}", `1:16: the stated rate is "967%"|write one like 12 or 12.3`},
		{"rate: {stated: 966.66667}", "at most 4 decimals"},
		{"shares: [{charge: a, gets: 1}, {charge: a, gets: 2}]", "1:32: charge a is there twice"},
		{"order: [{by: age}]", `1:10: an entry of an order has no key "by"`},
		{"order: [{}]", "1:9: an entry of an order is empty"},
	} {
		_, err := parseAnswer("answers.yaml", []byte(c.text))
		checkFault(t, err, c.text, c.want)
	}
	const task = "name: n\ntasks:\n  - {id: a, title: t, points: 1, check: %s, scenario: %s, order: %s, look: l}\n"
	files := fstest.MapFS{
		"good": {Data: []byte(good)}, "bad": {Data: []byte("title: x")},
		"paid": {Data: []byte(strings.Replace(good, "amount: 60}", "amount: 60.5}", 1))},
	}
	for _, c := range []struct{ check, scenario, order, want string }{
		{"magic", "good", "oldest-first", `no check "magic"|take one of order, owed, rate, shares`},
		{"order", "../x", "oldest-first", `scenario "../x" lies outside`},
		{"order", "none", "oldest-first", "read scenario none"},
		{"order", "good", "oldest-first", "a task has an order unless it checks the student's"},
		{"owed", "good", "oldest-first", "owed is asked for under oldest-first and another order"},
		{"owed", "paid", "newest-first", "nobody is cut off under newest-first"},
		{"rate", "paid", "newest-first", "0 charges cause fees under newest-first"},
	} {
		text := fmt.Sprintf(task, c.check, c.scenario, c.order)
		_, err := parseTasks("tasks.yaml", []byte(text), files)
		checkFault(t, err, text, c.want)
	}
	_, err := parseTasks("x/tasks.yaml", fmt.Appendf(nil, task, "order", "bad", "oldest-first"), files)
	if err == nil || !strings.Contains(err.Error(), "x/bad:1:1: the scenario lacks until") {
		t.Errorf("a bad scenario: %v", err)
	}
}

// FuzzAnswers: whatever is handed in, the reader gives an error with a place or an answer that can be checked.
func FuzzAnswers(f *testing.F) {
	tasks, err := LoadTasks(labFolder + "/" + tasksFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, dir := range []string{"", "/solution", "/wrong-lost-cent"} {
		text, err := os.ReadFile(labFolder + dir + "/" + answerFile)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseAnswer("a.yaml", text)
		if err != nil {
			checkFuzzed(t, err)
			return
		}
		r := tasks.Check(a)
		for _, task := range r.Tasks {
			if task.Reason == "" || strings.ContainsFunc(task.Reason, func(c rune) bool { return c < ' ' }) {
				t.Fatalf("%q", task.Reason)
			}
		}
		if r.Passed != (r.Points == r.Of) {
			t.Fatalf("%+v", r)
		}
	})
}
