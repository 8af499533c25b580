package boundlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestBound writes whatever a guest may, and finds the file never larger than its bound and its end what was written
// last.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, fmt.Sprint(rapid.Uint64().Draw(t, "name")))
		defer os.Remove(path)
		const most = 2048
		l, err := Open(path, most)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range rapid.IntRange(1, 40).Draw(t, "writes") {
			size := rapid.IntRange(0, 3*most).Draw(t, "size")
			p := bytes.Repeat([]byte(rapid.SampledFrom([]string{"\x00", "a\n", "line of a log\n"}).Draw(t, "what")), size)[:size]
			if n, err := l.Write(p); n != len(p) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			all, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) > most {
				t.Fatalf("the log has %d bytes, and may have %d", len(all), most)
			}
			if end := p[max(0, len(p)-most/2):]; !bytes.HasSuffix(all, end) {
				t.Fatalf("the log does not end with what was written last: %d bytes", len(p))
			}
		}
	})
}

// TestFill fills a log from a source without end, and from others at the same time.
func TestFill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Open(path, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	l.Fill(io.LimitReader(zero, 20<<20))
	l.Fill(strings.NewReader("the end\n"))
	info, err := os.Stat(path)
	if err != nil || info.Size() > 64<<10 {
		t.Fatalf("%d bytes, %v", info.Size(), err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if b, err := Tail(path, 8); err != nil || string(b) != "the end\n" {
		t.Errorf("its end is %q, %v", b, err)
	}
}

// TestOthersAppend has another writer of the same file, as a program has whose standard error it is: its bytes count,
// and stay.
func TestOthersAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Open(path, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i := range 300 {
		fmt.Fprintf(other, "panic %d\n", i)
		fmt.Fprintf(l, "line %d\n", i)
	}
	b, err := Tail(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 4096 || !strings.HasPrefix(string(b), gone) || !strings.HasSuffix(string(b), "panic 299\nline 299\n") {
		t.Errorf("%d bytes: %.40q", len(b), b)
	}
}

// TestTailReadsNoMore looks at the end of a file that is far larger than what is asked for.
func TestTailReadsNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	if b, err := Tail(path, 4096); err != nil || len(b) != 4096 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
