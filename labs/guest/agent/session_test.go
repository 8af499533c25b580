package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/appliance"
)

// pair is a host's end and a guest's end of a line.
func pair(t *testing.T) (host, guest net.Conn) {
	t.Helper()
	host, guest = net.Pipe()
	t.Cleanup(func() {
		host.Close()
		guest.Close()
	})
	return host, guest
}

// connect joins a client to an agent that runs in this process, as it would in a guest.
func connect(t *testing.T) *Client {
	t.Helper()
	g := newGuest(false)
	return join(t, func(line net.Conn) { g.serveLine(line) })
}

// join joins a client to whatever answers at the other end of its line.
func join(t *testing.T, answer func(line net.Conn)) *Client {
	t.Helper()
	host, line := pair(t)
	go answer(line)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCalls(t *testing.T) {
	c := connect(t)
	info, err := c.Info(t.Context())
	if err != nil || info.Version != Version || info.Kernel == "" || info.Configured {
		t.Errorf("info %+v, %v", info, err)
	}
	err = c.call(t.Context(), "no-such-call", nil, nil)
	var refused *Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Text, "no-such-call") {
		t.Errorf("an unknown call gives %v, want the agent's refusal", err)
	}
	// The agent runs on this machine: what is bad must be seen before anything of it is changed.
	before, err := os.Stat("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Config{{NICs: []NIC{{Name: "eth0", MAC: "nonsense"}}}, {Services: []string{"x"}}} {
		if err := c.Configure(t.Context(), bad); err == nil {
			t.Errorf("%+v is no error", bad)
		}
	}
	if after, err := os.Stat("/etc/hosts"); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the names of this machine were written: %v", err)
	}
}

// TestUnsupported: what a guest's kernel lacks is told from what has failed.
func TestUnsupported(t *testing.T) {
	for _, c := range []struct {
		line string
		want bool
	}{
		{`{"error":"no geneve","unsupported":true}`, true},
		{`{"error":"no geneve"}`, false},
	} {
		err := readReply(bufio.NewReader(strings.NewReader(c.line+"\n")), callSteer, nil)
		if err == nil || errors.Is(err, errors.ErrUnsupported) != c.want || err.Error() != "steer: no geneve" {
			t.Errorf("%s: %v", c.line, err)
		}
	}
}

// TestInspectionCalls: what the inspector is told, and says, crosses the line.
func TestInspectionCalls(t *testing.T) {
	c := connect(t)
	const file = "signatures: [{name: bad, text: harmful}]"
	if err := c.ConfigureInspection(t.Context(), appliance.InspectConfig{Signatures: file, BypassAfter: 9}); err != nil {
		t.Fatal(err)
	}
	r, err := c.Inspections(t.Context())
	if err != nil || len(r.Matches) != 2 || r.Matches[1].Name != "bad" || len(r.Sessions) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	err = c.ConfigureInspection(t.Context(), appliance.InspectConfig{Signatures: "signature: []"})
	if err == nil || !strings.Contains(err.Error(), "signatures:1:1") {
		t.Errorf("a bad signature file: %v", err)
	}
	for _, s := range []firewall.SteerSpec{{Session: 1}, {Session: 1, Inspect: true}} { // there is no vNIC for it
		if err := c.Steer(t.Context(), s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	if err := c.EndSteer(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

// TestStaleBytes has an agent find the hello, and a client the answer, behind what an earlier session has left.
func TestStaleBytes(t *testing.T) {
	for _, c := range []struct{ name, toGuest, toHost string }{
		{"nothing", "", ""},
		{"half a message", "\x00\x00\x00\x01\x00\x00", "\x00\x01\x00"},
		{"lines", "GET / HTTP/1.0\n\n\n", "a\nb\nc"},
		{"another's answer", "", "\nsluice-ready 1 somebodyelse\n"},
		{"another's hello", "\nsluice-hello 1 somebodyelse\n", ""},
		{"another's hello and go", "\nsluice-hello 1 somebodyelse\n\nsluice-go 1 another\n", ""},
		{"much", strings.Repeat("x", 200_000), strings.Repeat("y\n", 200_000)},
		{"half a greeting", "\nsluice-hel", "\nsluice-rea"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, line := pair(t)
			go newGuest(false).serveLine(stale{line, strings.NewReader(c.toGuest)})
			client, err := Dial(t.Context(), staleConn{host, stale{host, strings.NewReader(c.toHost)}})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Info(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnswersOnce has a host repeat its hello, as it does while a guest boots: a second answer would be taken for part
// of the session.
func TestAnswersOnce(t *testing.T) {
	hello := greeting(wordHello, "n1")
	var said bytes.Buffer
	line := struct {
		io.Reader
		io.Writer
	}{strings.NewReader(hello + hello + greeting(wordGo, "n0") + hello + greeting(wordGo, "n1") + "session"), &said}
	r, err := greetHost(line)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said.String(), greeting(wordReady, "n1"); got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "session" {
		t.Errorf("after the greeting comes %q, %v", rest, err)
	}
}

// stale is a line with something in it already.
type stale struct {
	net.Conn
	old *strings.Reader
}

func (s stale) Read(p []byte) (int, error) {
	if s.old.Len() > 0 {
		return s.old.Read(p)
	}
	return s.Conn.Read(p)
}

type staleConn struct {
	net.Conn
	r io.Reader
}

func (s staleConn) Read(p []byte) (int, error) { return s.r.Read(p) }

func TestDialFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		guest func(net.Conn)
		want  string
	}{
		{"another version", func(g net.Conn) { answer(g, "sluice-ready 999 ") }, "speaks version 999"},
		{"gone", func(g net.Conn) { g.Close() }, "EOF"},
		{"too much of something else", func(g net.Conn) {
			go io.Copy(io.Discard, g)
			io.Copy(g, io.LimitReader(zeros{}, maxStale+1<<20))
		}, errNoHello.Error()},
		{"silent", func(g net.Conn) { io.Copy(io.Discard, g) }, errNoHello.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, line := pair(t)
			go c.guest(line)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := Dial(ctx, host); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// answer answers a hello with the nonce in it.
func answer(g net.Conn, with string) {
	buf := make([]byte, 256)
	n, _ := g.Read(buf)
	fields := strings.Fields(string(buf[:n]))
	go io.Copy(io.Discard, g)
	io.WriteString(g, "\n"+with+fields[len(fields)-1]+"\n")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestHostComesBack gives an agent one host after another.
func TestHostComesBack(t *testing.T) {
	g := newGuest(false)
	for range 3 {
		host, line := pair(t)
		ended := make(chan error, 1)
		go func() { ended <- g.serveLine(line) }()
		c, err := Dial(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := <-ended; err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

func TestExecHere(t *testing.T) {
	c := connect(t)
	for _, x := range []struct {
		name           string
		args           []string
		stdin          string
		code           int
		stdout, stderr string
	}{
		{"code", []string{"sh", "-c", "exit 7"}, "", 7, "", ""},
		{"signal", []string{"sh", "-c", "kill -TERM $$"}, "", 143, "", ""},
		{"missing", []string{"no-such-program"}, "", 127, "", "no-such-program"},
		{"not to be run", []string{"/etc/passwd"}, "", 126, "", "permission denied"},
		{"both outputs", []string{"sh", "-c", "cat; echo e >&2"}, "in", 0, "in", "e\n"},
		{"environment and folder", []string{"sh", "-c", "echo $WORD; pwd"}, "", 0, "yes\n/tmp\n", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code, err := c.Exec(t.Context(), Command{
				Args: x.args, Env: []string{"WORD=yes"}, Dir: "/tmp", Stdin: strings.NewReader(x.stdin), Stdout: &out, Stderr: &errs,
			})
			if err != nil || code != x.code || out.String() != x.stdout || !strings.Contains(errs.String(), x.stderr) {
				t.Errorf("code %d, %v, %q, %q; want %d, %q, %q", code, err, out.String(), errs.String(), x.code, x.stdout, x.stderr)
			}
		})
	}
	if _, err := c.Exec(t.Context(), Command{}); err == nil {
		t.Error("no arguments are no error")
	}
}

// TestExecEndsWithItsCaller has a caller go away while its command neither ends nor reads its stdin.
func TestExecEndsWithItsCaller(t *testing.T) {
	c := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, said := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, Command{
			Args: []string{"sh", "-c", "echo $$; exec sleep 1000"}, Dir: "/", Stdin: zeros{}, Stdout: said,
		})
		ended <- err
	}()
	buf := make([]byte, 32)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	gone := "/proc/" + strings.TrimSpace(string(buf[:n]))
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(gone); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s runs on after its caller has gone", gone)
		}
	}
}

// TestExecSignals sends signals to a command that may trap them.
func TestExecSignals(t *testing.T) {
	const loop = "echo up; while :; do sleep 0.02; done"
	// Where a shell says "up" and then starts a program, dash's vfork can swallow an INT that comes before the program
	// has begun: so the program says it.
	up := filepath.Join(t.TempDir(), "up")
	if err := os.WriteFile(up, []byte("up\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name, script string
		send         []string
		code         int
		stdout       string
	}{
		{"trapped", "trap 'echo got; exit 7' INT; " + loop, []string{"INT"}, 7, "got\n"},
		{"each may be trapped", "trap 'exit 8' HUP; " + loop, []string{"HUP"}, 8, ""},
		{"not trapped", loop, []string{"TERM"}, 143, ""},
		{"the whole group", "tail -f " + up + "; exit 9", []string{"INT"}, 130, ""},
		{"one trapped, one not", "trap 'echo got' INT; " + loop, []string{"INT", "QUIT"}, 131, "*"},
		{"no signal of ours", "trap 'exit 7' INT; " + loop, []string{"KILL", "", strings.Repeat("x", maxFrame), "INT"}, 7, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := connect(t)
			ours, theirs := io.Pipe()
			signals := make(chan string)
			ended := make(chan int, 1)
			go func() {
				code, err := c.Exec(t.Context(), Command{Args: []string{"sh", "-c", x.script}, Dir: "/", Stdout: theirs, Signals: signals})
				theirs.CloseWithError(err)
				ended <- code
			}()
			up := make([]byte, len("up\n"))
			if _, err := io.ReadFull(ours, up); err != nil {
				t.Fatal(err)
			}
			for _, s := range x.send {
				signals <- s
			}
			close(signals)
			rest, err := io.ReadAll(ours)
			if code := <-ended; err != nil || code != x.code || x.stdout != "*" && string(rest) != x.stdout {
				t.Errorf("code %d, %q, %v; want %d, %q", code, rest, err, x.code, x.stdout)
			}
		})
	}
}

// TestTerminal has a shell on a terminal: it sees its size, a change of it, and characters with a meaning.
func TestTerminal(t *testing.T) {
	c := connect(t)
	in, typed := io.Pipe()
	t.Cleanup(func() { in.Close() })
	shown, out := io.Pipe()
	sizes := make(chan Size)
	ended := make(chan int, 1)
	go func() {
		code, err := c.Exec(t.Context(), Command{
			Args: []string{"sh", "-c", "trap 'echo caught; exit 5' INT; tty >/dev/null && stty size; " +
				"until stty size | grep '33 44'; do :; done; read x; echo got $x; cat"}, Dir: "/",
			TTY: true, Size: Size{Rows: 11, Cols: 22}, Resize: sizes, Stdin: in, Stdout: out,
		})
		if err != nil {
			t.Error(err)
		}
		out.Close()
		ended <- code
	}()
	var seen bytes.Buffer
	expect := func(what string) {
		t.Helper()
		buf := make([]byte, 256)
		for !strings.Contains(seen.String(), what) {
			n, err := shown.Read(buf)
			seen.Write(buf[:n])
			if err != nil {
				t.Fatalf("the terminal shows %q, want %q: %v", seen.String(), what, err)
			}
		}
	}
	expect("11 22")
	sizes <- Size{Rows: 33, Cols: 44}
	expect("33 44")
	io.WriteString(typed, "word\n")
	expect("got word")
	go interrupt(typed)
	expect("caught")
	go io.Copy(io.Discard, shown)
	if code := <-ended; code != 5 {
		t.Errorf("code %d, want 5", code)
	}
}

// interrupt types Ctrl-C as an impatient user does, until nobody reads it: a shell that is just starting a program
// loses one.
func interrupt(typed io.Writer) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(typed, "\x03"); err != nil {
			return
		}
	}
}

func TestFlowsArePacked(t *testing.T) {
	var f firewall.FlowRecord
	f.Proto, f.Replied, f.Timeout, f.State = 6, true, 1234, "established"
	f.Frames, f.Bytes = [2]uint64{1, 2}, [2]uint64{3, 1 << 40}
	f.TCP = [2]firewall.TCPSide{{Scaled: true, Scale: 14, SACK: true}, {Liberal: true}}
	for i, addrs := range [][2]string{{"10.0.0.1:1", "10.0.0.2:65535"}, {"[fd00::1]:1", "[fd00::2]:2"}} {
		f.Replied, f.Related = i == 0, i == 1
		if err := errors.Join(f.Src.UnmarshalText([]byte(addrs[0])), f.Dst.UnmarshalText([]byte(addrs[1]))); err != nil {
			t.Fatal(err)
		}
		got, err := unpackFlows(packFlows([]firewall.FlowRecord{f, f}))
		if err != nil || len(got) != 2 || got[0] != f || got[1] != f {
			t.Errorf("unpacked %+v, %v; want twice %+v", got, err, f)
		}
	}
}
