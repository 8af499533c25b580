package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vnic/roottest"
)

// raw sends a request as it is and reads the problem that answers it.
func raw(t *testing.T, c *Client, method, path, contentType string, body io.Reader) (int, Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://lab"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p Problem
	b, _ := io.ReadAll(resp.Body)
	json.Unmarshal(b, &p)
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") == "application/problem+json" && p.Class == 0 {
		t.Errorf("%s %s: a problem without a class: %s", method, path, b)
	}
	return resp.StatusCode, p
}

func TestRequestsThatCannotBeRight(t *testing.T) {
	tempState(t)
	startLab(t, "lab", &fakeLab{}, usualLimits)
	c := dial(t, "lab")
	const js = "application/json"
	for _, test := range []struct {
		what, method, path, contentType, body string
		status                                int
		want                                  string
	}{
		{"no body", "PUT", "/v1/placement", js, ``, 400, "body"},
		{"not JSON", "PUT", "/v1/placement", js, `{`, 400, "JSON"},
		{"another type", "PUT", "/v1/placement", js, `[]`, 422, "object"},
		{"unknown field", "PUT", "/v1/placement", js, `{"to":"fast","too":1}`, 422, "body.too"},
		{"missing field", "PUT", "/v1/placement", js, `{}`, 422, "to"},
		{"unknown placement", "PUT", "/v1/placement", js, `{"to":"sideways"}`, 422, "sideways"},
		{"unknown handover", "PUT", "/v1/placement", js, `{"to":"fast","handover":"drop"}`, 422, "handover"},
		{"unknown failure", "PUT", "/v1/placement", js, `{"to":"fast","fail":"ajar"}`, 422, "fail"},
		{"unknown drill", "POST", "/v1/appliance/reboot", js, ``, 422, "drill"},
		{"unknown media", "PUT", "/v1/placement", "text/plain", `x`, 415, ""},
		{"too long", "PUT", "/v1/placement", js, `{"to":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too large"},
		{"too long a policy", "PUT", "/v1/policy", js, `{"file":"` + strings.Repeat("x", maxPolicyBody) + `"}`, 413, "too large"},
		{"unknown query", "GET", "/v1/policy/render?from=nft", js, ``, 422, "from"},
		{"unknown language", "GET", "/v1/policy/render?to=pf", js, ``, 422, "to"},
		{"deep nesting", "POST", "/v1/trace", js, strings.Repeat("[", 20000), 400, ""},
		{"trace of nobody", "POST", "/v1/trace", js, `{"proto":"tcp","from":"nobody","to":"client"}`, 422, "trace"},
		{"port out of range", "POST", "/v1/trace", js, `{"proto":"tcp","from":"a","to":"b","dst_port":70000}`, 422, "dst_port"},
		{"unknown guest", "POST", "/v1/guests/nobody/exec", js, `{"argv":["true"]}`, 422, "client, server"},
		{"no command", "POST", "/v1/guests/client/exec", js, `{"argv":[]}`, 422, "command"},
		{"no upgrade", "POST", "/v1/guests/client/exec", js, `{"argv":["true"]}`, 426, "upgrade"},
		{"no such path", "GET", "/v2/lab", js, ``, 404, ""},
		{"no such method", "DELETE", "/v1/lab", js, ``, 405, ""},
	} {
		status, p := raw(t, c, test.method, test.path, test.contentType, strings.NewReader(test.body))
		if status != test.status || !strings.Contains(p.Detail, test.want) {
			t.Errorf("%s: got %d %q; want %d with %q", test.what, status, p.Detail, test.status, test.want)
		}
		if p.Class != fault.BadInput && p.Status != 0 {
			t.Errorf("%s: class %d; want 2", test.what, p.Class)
		}
	}
}

func TestProblemsKeepTheirPlaceInTheFile(t *testing.T) {
	tempState(t)
	startLab(t, "lab", &fakeLab{load: func(file string, src []byte) (*firewall.Policy, error) {
		return nil, fault.List{{File: file, Line: 3, Col: 5, Source: "  - nmae: x", Msg: `unknown key "nmae"`, Do: "did you mean name?"}}
	}}, usualLimits)
	_, err := dial(t, "lab").SetPolicy(t.Context(), PolicyText{File: "p.yaml", Source: "x"})
	want := "p.yaml:3:5: unknown key \"nmae\"\n      - nmae: x\n        ^\n    did you mean name?"
	if err == nil || err.Error() != want || fault.ClassOf(err) != fault.BadInput {
		t.Fatalf("got %v of class %d\nwant %s", err, fault.ClassOf(err), want)
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	root := tempState(t)
	startLab(t, "lab", &fakeLab{}, limits{header: 50 * time.Millisecond, body: 50 * time.Millisecond, answer: patience, change: patience})
	for what, sent := range map[string]string{
		"half a header": "GET /v1/lab HTTP/1.1\r\nHost: ",
		"half a body":   "PUT /v1/placement HTTP/1.1\r\nHost: lab\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn, err := net.Dial("unix", filepath.Join(root, "lab", SocketName))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, sent)
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%s: the server did not hang up: %v", what, err)
		}
	}
}

func TestThousandRequestsAtOnce(t *testing.T) {
	tempState(t)
	startLab(t, "lab", &fakeLab{}, usualLimits)
	c := dial(t, "lab")
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	for i := range cap(errs) {
		wg.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = c.Inspect(t.Context())
			case 1:
				_, err = c.Stats(t.Context())
			case 2:
				_, err = c.Placement(t.Context())
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	tempState(t)
	running := make(chan struct{}, maxSessions)
	startLab(t, "lab", &fakeLab{run: func(ctx context.Context, _ ExecRequest, s Streams) (int, error) {
		running <- struct{}{}
		readAll(s.Stdin)
		return 0, nil
	}}, usualLimits)
	c := dial(t, "lab")
	hold, release := io.Pipe()
	var wg sync.WaitGroup
	sleep := ExecRequest{Argv: []string{"sleep"}}
	for range maxSessions {
		wg.Go(func() {
			_, err := c.Exec(t.Context(), "client", sleep, Streams{Stdin: hold, Stdout: io.Discard, Stderr: io.Discard})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range maxSessions {
		<-running
	}
	_, err := c.Exec(t.Context(), "client", sleep, Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxSessions, " commands run")) {
		t.Errorf("one more: got %v", err)
	}
	release.Close()
	wg.Wait()
	eventually(t, "room for another session", func() bool {
		_, err := c.Exec(t.Context(), "client", sleep, Streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
		return err == nil
	})
}

func TestExecOverTheSocket(t *testing.T) {
	tempState(t)
	startLab(t, "lab", &fakeLab{run: func(_ context.Context, req ExecRequest, s Streams) (int, error) {
		fmt.Fprint(s.Stderr, req.Argv)
		_, err := io.Copy(s.Stdout, s.Stdin)
		return 42, err
	}}, usualLimits)
	in := bytes.Repeat([]byte{0, 1, 254, 255, '\r', '\n'}, 100_000)
	var out, errOut bytes.Buffer
	code, err := dial(t, "lab").Exec(t.Context(), "client", ExecRequest{Argv: []string{"cat", "-"}},
		Streams{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errOut})
	if code != 42 || err != nil || !bytes.Equal(out.Bytes(), in) || errOut.String() != "[cat -]" {
		t.Fatalf("got %d, %v, %d of %d bytes, %q", code, err, out.Len(), len(in), errOut.String())
	}
}

func TestDrills(t *testing.T) {
	tempState(t)
	var done []Drill
	startLab(t, "lab", &fakeLab{drill: func(d Drill) error {
		if done = append(done, d); d == Resume {
			return fault.Errorf(fault.BadInput, "it is not stalled")
		}
		return nil
	}}, usualLimits)
	c := dial(t, "lab")
	for _, d := range []Drill{Kill, Stall, Restart} {
		if err := c.Appliance(t.Context(), d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
	if err := c.Appliance(t.Context(), Resume); err == nil || err.Error() != "it is not stalled" || fault.ClassOf(err) != fault.BadInput {
		t.Errorf("resume: %v of class %d", err, fault.ClassOf(err))
	}
	if want := []Drill{Kill, Stall, Restart, Resume}; !slices.Equal(done, want) {
		t.Errorf("the lab was asked for %v, want %v", done, want)
	}
}

func TestStop(t *testing.T) {
	tempState(t)
	lab := &fakeLab{stopped: make(chan struct{})}
	startLab(t, "lab", lab, usualLimits)
	if err := dial(t, "lab").Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-lab.stopped
}

// TestRootOnlyTheOwner runs this test's own program as another user, on a socket whose mode would let them in: the
// server must look who it is.
func TestRootOnlyTheOwner(t *testing.T) {
	if path := os.Getenv("SLUICE_TEST_STRANGER"); path != "" {
		stranger(path)
		return
	}
	roottest.Need(t, "runs a client as another user")
	root, err := os.MkdirTemp("", "sluice-stranger-") // not t.TempDir: others may enter this one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	t.Setenv("SLUICE_STATE_DIR", root)
	startLab(t, "lab", &fakeLab{}, usualLimits)
	socket := filepath.Join(root, "lab", SocketName)
	program := filepath.Join(root, "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{root: 0o755, filepath.Join(root, "lab"): 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestRootOnlyTheOwner$")
	cmd.Env = append(os.Environ(), "SLUICE_TEST_STRANGER="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("403 Forbidden")) || !bytes.Contains(out, []byte("belongs to user 0")) {
		t.Errorf("a stranger got %v: %s", err, out)
	}
}

// stranger asks as whoever it runs as, and prints the answer.
func stranger(socket string) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(conn, "GET /v1/lab HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
	io.Copy(os.Stdout, conn)
}
