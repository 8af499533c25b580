package labfile

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// bombSize is as long as shows what grows with a square.
const bombSize = 24 << 10

func lines(head, line string) string {
	var b strings.Builder
	for b.WriteString(head); b.Len() < bombSize; {
		b.WriteString(strings.ReplaceAll(line, "%d", fmt.Sprint(b.Len())))
	}
	return b.String()
}

// bombs are small files that ask for much, whoever reads them.
func bombs() map[string]string {
	const head, guest = "name: bomb\nsegments: {lan: {subnet: 10.0.0.0/8}}\n", "  g%d: {segment: lan, address: 10.0.0.9}\n"
	return map[string]string{
		"brackets":        strings.Repeat("[", bombSize),
		"braces":          strings.Repeat("{a: ", bombSize/4),
		"dashes":          strings.Repeat("- ", bombSize/2),
		"documents":       strings.Repeat("---\n", bombSize/4),
		"anchors":         lines("", "a%d: &a [*a, *a]\n"),
		"laughs":          "a: &a [x]\n" + lines("", "b%d: [*a, *a, *a, *a, *a, *a]\n"),
		"unknown keys":    lines("", "gusts%d: x\n"),
		"one key":         lines("", "name: x\n"),
		"one line":        "name: " + strings.Repeat("x", bombSize),
		"one quote":       "name: '" + strings.Repeat("'", bombSize),
		"comments":        lines(head, "# x\n"),
		"zeros":           strings.Repeat("\x00", bombSize),
		"tabs":            "a:\n" + strings.Repeat("\t", bombSize),
		"carriage return": strings.Repeat("\r\n", bombSize/2),
		"guests":          lines(head+"guests:\n", guest),
		"guests misspelt": lines(head+"guests:\n", "  g%d: {segmnet: lan}\n"),
		"segments":        lines("name: bomb\nsegments:\n", "  s%d: {subnet: 10.0.0.0/8}\n"),
		"policy":          lines(head+"guests:\n"+guest+"policy:\n  default: drop\n  rules:\n", "    - {name: r%d, action: allow}\n"),
		"tasks":           lines(head+"guests:\n"+guest+"policy: policy.yaml\ntasks:\n", "  - {id: t%d, title: x, check: []}\n"),
		"needs": head + "guests:\n" + guest + "policy: policy.yaml\ntasks:\n  - {id: a, title: x, needs: [" +
			strings.Repeat("a, ", bombSize/3) + "a], check: []}\n",
		"params":     lines("params:\n", "  p%d: {random: 1-9}\n"),
		"long words": "params: {p: {pick: [" + strings.Repeat("x", maxWord) + "]}}\nname: x\n" + lines("", "# ${p}\n"),
		"signatures": lines("signatures:\n", "  - {name: s%d, text: virus, action: drop}\n"),
		"hints":      lines("hints:\n", "  - {task: t%d, hint: 1, cost: 1}\n"),
		"answers":    lines("", "a%d: [x, y]\n"),
		"long list":  "a: [" + strings.Repeat("x, ", bombSize/3) + "x]\n",
	}
}

// readers do with a text whatever is done with the files of a lab and of a submission.
var readers = map[string]func(text string) error{
	"lab.yaml": func(text string) error {
		_, err := parseLab(bombFolder(text), labFile, []byte(text), Work{})
		return err
	},
	"policy.yaml": func(text string) error {
		const lab = "name: bomb\nsegments: {lan: {subnet: 10.0.0.0/8}}\nguests: {a: {segment: lan, address: 10.0.0.9}}\npolicy: it.yaml\n"
		_, err := parseLab(bombFolder(text), labFile, []byte(lab), Work{})
		return err
	},
	"signatures": func(text string) error {
		const lab = "name: bomb\nsegments: {lan: {subnet: 10.0.0.0/8}}\nguests: {a: {segment: lan, address: 10.0.0.9}}\n" +
			"appliance: {name: fw}\ninspect: {signatures: it.yaml}\npolicy: {default: drop}\n"
		_, err := parseLab(bombFolder(text), labFile, []byte(lab), Work{})
		return err
	},
	"cover sheet": func(text string) error { _, err := parseCover(CoverFile, []byte(text)); return err },
	"answers": func(text string) error {
		l := &Lab{Files: fstest.MapFS{answersFile: {Data: []byte(text)}}, Params: map[string]string{"p": strings.Repeat("x", maxWord)}}
		_, err := l.Answers()
		return err
	},
}

func bombFolder(text string) fs.FS {
	return fstest.MapFS{labFile: {Data: []byte(text)}, "it.yaml": {Data: []byte(text)}}
}

// spent is the processor's time and the memory that something takes. The clock would tell of other processes.
func spent(t *testing.T, do func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	var from, to unix.Rusage
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := unix.Getrusage(unix.RUSAGE_SELF, &from)
	do()
	if err == nil {
		err = unix.Getrusage(unix.RUSAGE_SELF, &to)
	}
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return time.Duration(to.Utime.Nano() + to.Stime.Nano() - from.Utime.Nano() - from.Stime.Nano()), after.TotalAlloc - before.TotalAlloc
}

// TestBombs: each reader of files that people write takes time and memory in proportion to the file's size, and refuses
// what asks for more in an error that can be read. The measure is an honest list of answers of the same size.
func TestBombs(t *testing.T) {
	fair, _ := spent(t, func() { readers["answers"](bombs()["answers"]) })
	const times, timeAtLeast, memoryAtLeast, bytesEach = 40, 50 * time.Millisecond, 16 << 20, 2 << 10
	for reader, read := range readers {
		for name, text := range bombs() {
			var err error
			took, memory := spent(t, func() { err = read(text) })
			if took > times*max(fair, timeAtLeast) || memory > uint64(memoryAtLeast+bytesEach*len(text)) {
				t.Errorf("%s, %s: %d bytes cost %v and %d bytes of memory; honest ones so long cost %v", reader, name, len(text), took, memory, fair)
			}
			if err != nil && len(err.Error()) > 20<<10 {
				t.Errorf("%s, %s: an error of %d bytes", reader, name, len(err.Error()))
			}
		}
	}
}

// TestBombsAreNamed: what asks for too much is refused by the name of the bound.
func TestBombsAreNamed(t *testing.T) {
	long := fstest.MapFS{answersFile: {Data: make([]byte, maxFile+1)}}
	for _, c := range []struct {
		what string
		read func() error
		want string
	}{
		{"a long file", func() error { _, err := (&Lab{Files: long}).Answers(); return err }, "at most 262144 are taken"},
		{"a file that grows", func() error { _, err := ReadBounded(growing{long}, answersFile); return err }, "more than 262144 bytes"},
		{"nesting", func() error { return readers["lab.yaml"](bombs()["brackets"]) }, "nests deeper than 32"},
		{"documents", func() error { return readers["cover sheet"](bombs()["documents"]) }, "a second document"},
		{"params", func() error { return readers["answers"](bombs()["long words"]) }, "with its params filled in, it has more than 524288 bytes"},
		{"guests", func() error { return readers["lab.yaml"](bombs()["guests"]) }, "a lab has 1 to 200"},
	} {
		if err := c.read(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v; want %q", c.what, err, c.want)
		}
	}
}

// growing says of its files that they are empty, as files do that somebody writes to after the look.
type growing struct{ fstest.MapFS }

func (g growing) Stat(name string) (fs.FileInfo, error) {
	info, err := g.MapFS.Stat(name)
	return emptyInfo{info}, err
}

type emptyInfo struct{ fs.FileInfo }

func (emptyInfo) Size() int64 { return 0 }
