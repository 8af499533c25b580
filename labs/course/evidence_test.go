package course

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"sluice/labs/check"
	"sluice/vswitch"
)

// seen is a frame of a watch, n ms after a beginning.
func seen(point string, n int) vswitch.SeenFrame {
	at := time.Unix(1_700_000_000, 0).Add(time.Duration(n) * time.Millisecond)
	return vswitch.SeenFrame{Point: point, Time: at, Bytes: 60 + n, Data: fmt.Appendf(nil, "%-60d", n), Verdict: "pass"}
}

// packets reads a capture back: each as POINT:FIRST-WORD.
func packets(t *testing.T, path string) (out []string, comments string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		face, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		word := string(bytes.Fields(data)[0])
		if info.Length != 60+number(t, word) || !info.Timestamp.Equal(seen("", number(t, word)).Time) {
			t.Errorf("packet %s: %+v", word, info)
		}
		out = append(out, face.Name+":"+word)
	}
	for i := range r.NInterfaces() {
		face, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		comments += face.Name + ": " + face.Comment + "\n"
	}
	return out, comments
}

func number(t *testing.T, word string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(word, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCapture: each task has a file, its points are interfaces, frames are in the order of time, and beside the file
// lies what was decided.
func TestCapture(t *testing.T) {
	dir := t.TempDir()
	e := &evidence{}
	e.tries("one")
	e.capture(vswitch.Watched{Frames: []vswitch.SeenFrame{seen("a/from-guest", 2), seen("b/to-guest", 1)}, Missed: []vswitch.Missed{{Point: "b/to-guest", Frames: 7}}})
	e.tries("one")
	e.capture(vswitch.Watched{Frames: []vswitch.SeenFrame{seen("b/to-guest", 3)}})
	e.tries("two")
	e.capture(vswitch.Watched{})
	if err := e.write(dir, mark{}); err != nil {
		t.Fatal(err)
	}
	got, comments := packets(t, filepath.Join(dir, "one.pcapng"))
	if want := []string{"b/to-guest:1", "a/from-guest:2", "b/to-guest:3"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if want := "b/to-guest: each frame is cut after 256 bytes; 7 more came here and are not in the file\na/from-guest: each frame is cut after 256 bytes\n"; comments != want {
		t.Errorf("comments\n%swant\n%s", comments, want)
	}
	if got, _ := packets(t, filepath.Join(dir, "two.pcapng")); len(got) != 0 {
		t.Errorf("in a task where nothing was seen: %v", got)
	}
	b, err := os.ReadFile(filepath.Join(dir, "frames.jsonl"))
	if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[2], `{"task":"one","attempt":2,"packet":3,`) || strings.Contains(string(b), `"data"`) {
		t.Errorf("%v\n%s", err, b)
	}
	b, err = os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil || !strings.Contains(string(b), "one.pcapng: 7 more frames at b/to-guest") {
		t.Errorf("%v\n%s", err, b)
	}
}

// TestEvidenceIsBounded: of a task that is tried without end the last attempts are kept, and how much is missing is
// said.
func TestEvidenceIsBounded(t *testing.T) {
	e := &evidence{}
	const tries = 3 * maxEntries
	for i := range tries {
		e.tries("one")
		e.capture(vswitch.Watched{Frames: []vswitch.SeenFrame{seen("a/from-guest", i)}})
		e.did(time.Now(), check.Output{Stdout: strings.Repeat("x", 100_000)}, nil, "sluice", fmt.Sprint(i))
	}
	log := e.kept["commands"].entries
	if len(log) != maxEntries || log[len(log)-1].Attempt != tries || len(log[0].Answer.(command).Stdout) > 9000 {
		t.Errorf("%d entries are kept, the last of attempt %d", len(log), log[len(log)-1].Attempt)
	}
	frames := e.captures["one"].frames
	if len(frames) != maxFrames || frames[len(frames)-1].Attempt != tries {
		t.Errorf("%d frames are kept, the last of attempt %d", len(frames), frames[len(frames)-1].Attempt)
	}
	want := []string{fmt.Sprintf("commands.jsonl: %d earlier entries", tries-maxEntries), fmt.Sprintf("one.pcapng: %d more frames at a/from-guest", tries-maxFrames)}
	if got := e.missing(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestEvidenceAnew: what an earlier grading has left goes, and nothing else does.
func TestEvidenceAnew(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old.pcapng", "walks.jsonl", "policy.yaml", "report.json", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&evidence{}).write(dir, mark{Student: "eve", Error: "no policy"}); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, x := range entries {
		left = append(left, x.Name())
	}
	if err != nil || !slices.Equal(left, []string{"notes.txt", "report.json"}) {
		t.Errorf("left are %v, %v", left, err)
	}
	var m mark
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil || m.Student != "eve" || m.Error != "no policy" {
		t.Errorf("%+v, %v", m, err)
	}
}
