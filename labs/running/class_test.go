package running_test

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/vswitch/control"
)

// These tests use a lab that has every kind of check, and a class of three: one is right, one allows everything, one
// hands in what is no policy.

const everyLab = "testdata/every"

func TestRootGrade(t *testing.T) {
	sideBySide(t)
	where := filepath.Join(t.TempDir(), "evidence")
	r := sluice(t, "", "lab", "grade", "testdata/class", "--of", everyLab, "--guests", "netns", "--evidence", where, "-o", "csv", "--drawn-by", "folder")
	if r.code != 1 {
		t.Fatalf("exit code %d, want 1\n%s%s", r.code, r.stdout, r.stderr)
	}
	rows, err := csv.NewReader(strings.NewReader(r.stdout)).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	for i, want := range []string{
		"student,points,of,reach,look,change,speed,run,answer,reason,",
		"ada,12,12,4,3,2,1,1,1,,",
		"bob,4,12,0,0,2,1,1,0,tcp from client to server port 23 (tcp/10.10.2.10/23) is open",
		`eve,0,12,0,0,0,0,0,0,`,
	} {
		if got := strings.Join(rows[i], ","); !strings.HasPrefix(got, want) {
			t.Errorf("row %d is %s\nwant %s", i, got, want)
		}
	}
	for _, name := range []string{"report.json", "policy.yaml", "frames.jsonl", "attempts.jsonl", "walks.jsonl", "receipts.jsonl", "commands.jsonl", "stats.jsonl", "flows.jsonl"} {
		if info, err := os.Stat(filepath.Join(where, "ada", name)); err != nil || info.Size() == 0 {
			t.Errorf("evidence %s: %v", name, err)
		}
	}
	deniedInCapture(t, filepath.Join(where, "ada"))
	commandsAreLogged(t, where)
	var mark struct {
		Error string `json:"error"`
	}
	b, err := os.ReadFile(filepath.Join(where, "eve", "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &mark)
	}
	if err != nil || !strings.Contains(mark.Error, "eve/policy.yaml:1:1") {
		t.Errorf("eve's report says %q, %v", mark.Error, err)
	}
}

// deniedInCapture looks for a SYN that the policy denies with a tool of others, and for what was decided about it
// beside the capture.
func deniedInCapture(t *testing.T, dir string) {
	t.Helper()
	const filter = "ip and src host 10.10.1.10 and dst host 10.10.2.10 and tcp dst port 23 and tcp[tcpflags] = tcp-syn"
	out, err := exec.Command("tcpdump", "-n", "-r", filepath.Join(dir, "look.pcapng"), filter).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10.10.2.10.23: Flags [S]") {
		t.Errorf("tcpdump finds no denied SYN: %v\n%s", err, out)
	}
	r, err := os.Open(filepath.Join(dir, "look.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	points := map[int]string{} // by packet, from 1
	for n := 1; ; n++ {
		_, info, err := ng.ReadPacketData()
		if err != nil {
			break
		}
		face, err := ng.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		points[n] = face.Name
	}
	for _, f := range readLines[decided](t, filepath.Join(dir, "frames.jsonl")) {
		if f.Task != "look" || f.Dst != "10.10.2.10:23" {
			continue
		}
		if f.Point != "client/from-guest" || f.Verdict != "drop" || f.Reason != "default" || points[f.Packet] != f.Point || f.Attempt != 1 {
			t.Errorf("%+v, in the capture at %q", f, points[f.Packet])
		}
		return
	}
	t.Error("no verdict is kept of the denied SYN")
}

// decided is what is kept of a frame beside its bytes.
type decided struct {
	Task, Point, Dst, Verdict, Reason string
	Packet, Attempt                   int
}

func readLines[T any](t *testing.T, path string) (out []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := json.NewDecoder(f); lines.More(); {
		var x T
		if err := lines.Decode(&x); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, x)
	}
	return out
}

// commandsAreLogged: what was done for ada is in the log with exit codes and output, from the deploy to the destroy;
// and for eve, whose work cannot be deployed, there is a report all the same.
func commandsAreLogged(t *testing.T, where string) {
	t.Helper()
	type logged struct {
		Task   string
		Asked  []string
		Answer struct {
			Stdout, Stderr string
			Code           int
		}
	}
	log := readLines[logged](t, filepath.Join(where, "ada", "commands.jsonl"))
	find := func(what string) (l logged) {
		for _, l := range log {
			if strings.HasPrefix(strings.Join(l.Asked, " "), what) {
				return l
			}
		}
		t.Errorf("no command %q in the log", what)
		return l
	}
	if len(log) > 0 {
		if l := log[0]; strings.Join(l.Asked[:3], " ") != "sluice lab deploy" || !strings.Contains(l.Answer.Stderr, "client is ready") || l.Answer.Code != 0 {
			t.Errorf("the first command is %+v", l)
		}
		if l := log[len(log)-1]; strings.Join(l.Asked[:3], " ") != "sluice lab destroy" || l.Task != "" {
			t.Errorf("the last command is %+v", l)
		}
	}
	if l := find("sluice exec client -- ip route"); l.Task != "run" || !strings.Contains(l.Answer.Stdout, "default via 10.10.1.1") {
		t.Errorf("%+v", l)
	}
	if l := find("sluice exec client -- false"); l.Answer.Code != 1 {
		t.Errorf("%+v", l)
	}
	if l := find("sluice exec client -- sluice probe --within"); l.Task != "reach" || !strings.Contains(l.Answer.Stdout, `"outcome":"answered"`) {
		t.Errorf("%+v", l)
	}
	if l := find("sh check.sh"); !strings.HasPrefix(l.Answer.Stdout, "fast") {
		t.Errorf("%+v", l)
	}
	find("sluice place slow")
	if l := find("sluice exec client -- sluice probe --download 500ms tcp/10.10.2.10/80"); l.Task != "speed" || !strings.HasPrefix(l.Answer.Stdout, `{"bytes":`) {
		t.Errorf("%+v", l)
	}
}

// TestRootStudent is a session of a student: checks, hints, answers and resets in a lab that runs.
func TestRootStudent(t *testing.T) {
	sideBySide(t)
	lab := uniqueLab(t, "student")
	setenv(t, "SLUICE_LAB", lab)
	must(t, "lab", "deploy", everyLab, "--name", lab, "--guests", "netns", "--student", "ada")

	first := checkJSON(t, 1)
	if got := passedOf(first); got != "reach look speed run" {
		t.Errorf("at first these pass: %s", got)
	}
	if r := sluice(t, "", "lab", "check", "--student", "bob"); r.code != 2 || !strings.Contains(r.stderr, "was deployed for ada, not for bob") {
		t.Errorf("as another: exit code %d\n%s", r.code, r.stderr)
	}
	answerAll(t, lab)
	must(t, "place", "slow")
	must(t, "place", "fast")
	if r := checkJSON(t, 1); passedOf(r) != "reach look speed run answer" || !strings.Contains(r.Results[2].Reason, "observed is 0") {
		t.Errorf("with answers and an idle change: %s; %s", passedOf(r), r.Results[2].Reason)
	}
	formats(t)
	hints(t)
	resets(t)
}

// answerAll gives every answer; a name that no task asks for is refused.
func answerAll(t *testing.T, lab string) {
	t.Helper()
	readme := must(t, "lab", "readme", lab)
	must(t, "lab", "answer", "port", strings.Trim(readme, "Use port.\n"))
	must(t, "lab", "answer", "rule", "WEB")
	must(t, "lab", "answer", "guests", "server", "client")
	if r := sluice(t, "", "lab", "answer", "color", "red"); r.code != 2 || !strings.Contains(r.stderr, `asks for an answer "color": [port rule guests]`) {
		t.Errorf("an answer to nothing: exit code %d\n%s", r.code, r.stderr)
	}
}

// formats looks at each way to write a report.
func formats(t *testing.T) {
	t.Helper()
	r := sluice(t, "", "lab", "check", "--task", "change", "-o", "junit")
	var suite struct {
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(r.stdout), &suite); err != nil || r.code != 1 || suite.Failures != 1 || suite.Cases[0].Name != "change" || suite.Cases[0].Failure.Message == "" {
		t.Errorf("junit: exit code %d, %v\n%s", r.code, err, r.stdout)
	}
	if out := must(t, "lab", "check", "--task", "run", "-o", "csv"); out != "task,result,points,of,reason\nrun,PASS,1,1,\n" {
		t.Errorf("csv: %q", out)
	}
	if out := must(t, "lab", "check", "--task", "run"); out != "PASS  run      1/1  \n1 of 1 points\n" {
		t.Errorf("table: %q", out)
	}
}

// hints closes the web and asks for help: a free hint comes by itself, the other one costs a point.
func hints(t *testing.T) {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("default: drop\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "policy", "apply", policy)
	r := sluice(t, "", "lab", "check", "--task", "reach")
	for _, want := range []string{"FAIL  reach", "hint: The web is closed.", "there is a hint that costs points: sluice lab hint reach"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if out := must(t, "lab", "hint", "reach"); !strings.Contains(out, "Read the policy. (1 point)") {
		t.Errorf("the hint, after the check has given the free one: %s", out)
	}
	if r := sluice(t, "", "lab", "hint", "reach"); r.code != 1 || !strings.Contains(r.stderr, "there are no more hints") {
		t.Errorf("one more hint: exit code %d\n%s", r.code, r.stderr)
	}
}

// resets comes from the hints' closed policy back to the start, to the start of a task, and boots again.
func resets(t *testing.T) {
	t.Helper()
	must(t, "place", "off")
	must(t, "lab", "reset")
	if r := checkJSON(t, 1); passedOf(r) != "reach look speed run answer" || r.Results[0].Points != 3 {
		t.Errorf("after a reset: %s, %d points for reach, for which a hint was bought", passedOf(r), r.Results[0].Points)
	}
	must(t, "lab", "reset", "--to", "change")
	if out := must(t, "policy", "show"); !strings.Contains(out, "default: reject") {
		t.Errorf("the policy at the start of a task: %s", out)
	}
	if r := sluice(t, "", "exec", "client", "--", "touch", "/tmp/mark"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	must(t, "lab", "reset", "--reboot")
	if r := sluice(t, "", "exec", "client", "--", "ls", "/tmp/mark"); r.code == 0 {
		t.Error("what was in a guest has stayed")
	}
	if r := checkJSON(t, 1); passedOf(r) != "reach look speed run answer" {
		t.Errorf("after a reboot: %s", passedOf(r))
	}
}

// TestRootSubmit is the way of a student's work to a mark: answers on the command line, submit, and a grade that needs
// no more than the folder. Here the lab has its built-in text.
func TestRootSubmit(t *testing.T) {
	sideBySide(t)
	lab := uniqueLab(t, "submit")
	setenv(t, "SLUICE_LAB", lab)
	const student = "ada lovelace"
	must(t, "lab", "deploy", "meet-the-switch", "--name", lab, "--guests", "netns", "--student", student)
	class := t.TempDir()
	work := filepath.Join(class, student)
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	var solution map[string][]string
	l, err := labfile.LoadWork("meet-the-switch", labfile.Work{Student: student, Folder: "solution"})
	if err == nil {
		solution, err = l.Answers()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, words := range solution {
		must(t, append([]string{"lab", "answer", name}, words...)...)
	}
	must(t, "lab", "submit", work)
	must(t, "lab", "submit", work) // once more changes nothing
	if b, err := os.ReadFile(filepath.Join(work, "lab.yaml")); string(b) != "name: meet-the-switch\n" {
		t.Errorf("the lab file says %q, %v", b, err)
	}
	submitRefuses(t, work)
	r := sluice(t, "", "lab", "grade", class, "--guests", "netns", "--evidence", filepath.Join(t.TempDir(), "e"), "-o", "json")
	var marks []struct {
		Student string `json:"student"`
		Passed  bool   `json:"passed"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &marks); err != nil || r.code != 0 || len(marks) != 1 || !marks[0].Passed || marks[0].Student != student {
		t.Errorf("exit code %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
}

// submitRefuses: a folder of another lab's, an answer that is there in other words, and a file that lines cannot be
// added to.
func submitRefuses(t *testing.T, work string) {
	t.Helper()
	answers, err := os.ReadFile(filepath.Join(work, "answers.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(answers), ":")
	for _, c := range []struct {
		file, text string
		code       int
		want       string
	}{
		{"lab.yaml", "name: blind-spot\n", 2, "says that it is of lab blind-spot, and meet-the-switch runs"},
		{"answers.yaml", first + ": something else\n", 1, "the answer " + first + ` is "something else" in `},
		{"answers.yaml", "{}\n", 2, "does not take these lines; add them yourself:"},
		{"answers.yaml", "nothing: [\n", 2, "answers.yaml:"},
	} {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := sluice(t, "", "lab", "submit", other); r.code != c.code || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s with %q: exit code %d, want %d and %q\n%s", c.file, c.text, r.code, c.code, c.want, r.stderr)
		}
		if b, err := os.ReadFile(filepath.Join(other, c.file)); string(b) != c.text {
			t.Errorf("%s is now %q, %v", c.file, b, err)
		}
	}
}

// TestRootReset brings a lab back to its start from wherever a student has left it: the appliance is dead, stands
// still, hangs, or has the policy in its hands. What a student sees then is what a lab shows that was just deployed.
func TestRootReset(t *testing.T) {
	sideBySide(t)
	lab := uniqueLab(t, "reset")
	setenv(t, "SLUICE_LAB", lab)
	must(t, "lab", "deploy", everyLab, "--name", lab, "--guests", "netns")
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("default: reject\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, placement string
		harm            func()
	}{
		{"killed in slow", "slow", func() { must(t, "appliance", "kill") }},
		{"stalled in slow", "slow", func() { must(t, "appliance", "stall") }},
		{"stalled, and unused", "fast", func() { must(t, "appliance", "stall") }},
		{"stalled and killed in inspect", "inspect", func() { must(t, "appliance", "stall"); must(t, "appliance", "kill") }},
		{"hung in slow", "slow", func() { signalGuest(t, lab, "fw", "-STOP") }},
		{"hung, and unused", "fast", func() { signalGuest(t, lab, "fw", "-STOP") }},
		{"full in slow", "slow", func() {
			must(t, "exec", "fw", "--", "nft", "insert rule inet sluice forward ct state new drop")
		}},
		{"fails open", "slow", func() { must(t, "place", "slow", "--fail", "open"); must(t, "appliance", "kill") }},
		{"pushed to", "push", func() {}},
	} {
		t.Run(c.what, func(t *testing.T) {
			must(t, "policy", "apply", policy)
			must(t, "place", c.placement)
			for range 3 {
				sluice(t, "", "exec", "client", "--", "ping", "-c1", "-W1", "10.10.2.10")
			}
			c.harm()
			must(t, "lab", "reset")
			isFresh(t, lab)
			must(t, "lab", "check", "--task", "look")
			if out := must(t, "appliance", "status", "-o", "json"); !strings.Contains(out, `"state": "ready"`) {
				t.Errorf("the appliance: %s", out)
			}
		})
	}
	keepsHistory(t)
	signalGuest(t, lab, "server", "-KILL")
	ended := func() bool {
		return slices.ContainsFunc(inspectLab(t, lab).Guests, func(g control.GuestInfo) bool { return g.Name == "server" && g.State != "ready" })
	}
	for range 100 {
		if ended() {
			break
		}
		time.Sleep(100 * time.Millisecond) // a poll
	}
	if r := sluice(t, "", "lab", "reset"); r.code != 1 || !strings.Contains(r.stderr, "sluice lab reset --reboot brings it back") {
		t.Errorf("without a guest: exit code %d\n%s", r.code, r.stderr)
	}
	must(t, "lab", "reset", "--reboot")
	must(t, "lab", "check", "--task", "look")
}

// keepsHistory: the way to the start of a task leaves what was done for earlier ones.
func keepsHistory(t *testing.T) {
	t.Helper()
	must(t, "place", "slow")
	must(t, "lab", "reset", "--to", "change")
	if out := must(t, "place", "--history", "-o", "json"); !strings.Contains(out, `"to": "slow"`) {
		t.Errorf("history: %s", out)
	}
	must(t, "lab", "reset")
}

// signalGuest signals a namespace guest's processes, which nobody has asked the lab to do.
func signalGuest(t *testing.T, lab, guest, signal string) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "pids", "sluice-"+onMachine(t, lab)+"."+guest).Output()
	if err != nil || len(strings.Fields(string(out))) == 0 {
		t.Fatalf("the processes of %s: %q, %v", guest, out, err)
	}
	for _, pid := range strings.Fields(string(out)) {
		_ = exec.Command("kill", signal, pid).Run() // it may have ended with another
	}
}

// isFresh looks at what a student does: counters, rules, flows, MACs, the share and the history. A guest may have sent
// a neighbour solicitation since.
func isFresh(t *testing.T, lab string) {
	t.Helper()
	st := statsOf(t, lab)
	const few = 8
	var dropped uint64
	for _, n := range st.Dropped {
		dropped += n
	}
	if st.Placement.String() != "fast" || st.In > few || st.Out > few || st.Share.Frames > few || st.Flows > 0 || dropped > few || st.In+st.Copies != st.Out+dropped {
		t.Errorf("after the reset: %+v", st)
	}
	for _, p := range st.Ports {
		if p.InFrames > few || p.OutFrames > few || p.InBytes > few*100 || p.Copies > few || len(p.Dropped) > 1 || p.MACs > 1 {
			t.Errorf("port %+v", p)
		}
	}
	for _, r := range st.Rules {
		if r.Hits > few || r.Frames > few || r.Bytes > few*100 {
			t.Errorf("rule %+v", r)
		}
	}
	if len(st.Rules) < 2 {
		t.Errorf("rules %+v", st.Rules)
	}
	if out := strings.TrimSpace(must(t, "place", "--history", "-o", "json")); out != "[]" {
		t.Errorf("history: %s", out)
	}
}

// checkJSON checks the lab and expects an exit code.
func checkJSON(t *testing.T, code int) (r check.Report) {
	t.Helper()
	out := sluice(t, "", "lab", "check", "-o", "json")
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || out.code != code {
		t.Fatalf("exit code %d, want %d: %v\n%s%s", out.code, code, err, out.stdout, out.stderr)
	}
	return r
}

// passedOf names the tasks that have passed.
func passedOf(r check.Report) string {
	var out []string
	for _, x := range r.Results {
		if x.Passed {
			out = append(out, x.ID)
		}
	}
	return strings.Join(out, " ")
}
