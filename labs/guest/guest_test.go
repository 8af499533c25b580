package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/labs/guest/agent"
	"sluice/vnic/roottest"
)

// The test program is what its own images hold as the agent.
func TestMain(m *testing.M) {
	if agent.IsInit() {
		agent.Main()
		return
	}
	os.Exit(m.Run())
}

func testImage(t *testing.T) *Image {
	t.Helper()
	roottest.Need(t, "makes TAPs and namespaces")
	img, err := EnsureImage(t.Context(), ImageOptions{Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// both runs a test on a guest of each kind.
func both(t *testing.T, name string, test func(t *testing.T, m Machine)) {
	img := testImage(t)
	for _, kind := range []Kind{NetNS, QEMU} {
		t.Run(string(kind), func(t *testing.T) {
			m, err := New(Spec{
				Lab: "sl-guest-" + name, Name: "g1", Kind: kind, Dir: t.TempDir(), Image: img, Accel: TCG,
				Services: agent.ServiceNames,
				Hosts:    []agent.Host{{Name: "friend", Addr: netip.MustParseAddr("10.1.2.3")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := m.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			})
			start := time.Now()
			if err := m.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Log("booted after", time.Since(start))
			if err := m.Configure(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Log("ready after", time.Since(start))
			test(t, m)
		})
	}
}

func TestLabExec(t *testing.T) {
	megabyte := make([]byte, 1<<20)
	rand.Read(megabyte)
	cases := []struct {
		name           string
		args           string
		stdin          []byte
		code           int
		stdout, stderr string
	}{
		{"true", "true", nil, 0, "", ""},
		{"code", "exit 7", nil, 7, "", ""},
		{"largest code", "exit 255", nil, 255, "", ""},
		{"signal", "kill -9 $$", nil, 137, "", ""},
		{"no such program", "exec /no/such", nil, 127, "", "/no/such"},
		{"output", "echo out; echo err >&2", nil, 0, "out\n", "err\n"},
		{"stdin", "cat", []byte("hello"), 0, "hello", ""},
		{"no stdin", "cat", nil, 0, "", ""},
		{"a megabyte", "cat", megabyte, 0, string(megabyte), ""},
		{"unread stdin", "exit 3", megabyte, 3, "", ""},
		{"background", "sleep 1000 & echo done", nil, 0, "done\n", ""},
		{"host name", "hostname", nil, 0, "g1\n", ""},
		{"characters", `exec bash -c 'x=grün€; echo ${#x} $x'`, nil, 0, "5 grün€\n", ""},
		{"hosts", "grep -c friend /etc/hosts", nil, 0, "1\n", ""},
		{"http", "wget -qO- http://127.0.0.1/bytes/1000000 | wc -c", nil, 0, "1000000\n", ""},
		{"http on IPv6", "wget -qO- http://[::1]/bytes/5 | wc -c", nil, 0, "5\n", ""},
		{"a virus", "wget -qO- http://127.0.0.1/eicar | md5sum", nil, 0, "44d88612fea8a8f36de82e1278abb02f  -\n", ""},
		{"a virus in pieces", "wget -qO- http://127.0.0.1/eicar/split | md5sum", nil, 0, "44d88612fea8a8f36de82e1278abb02f  -\n", ""},
		{"a virus behind nothing", "wget -qO- http://127.0.0.1/eicar/behind/3 | tail -c +3073 | md5sum", nil, 0, "44d88612fea8a8f36de82e1278abb02f  -\n", ""},
		{"echo", "echo hi | nc 127.0.0.1 7777 -w 5", nil, 0, "hi\n", ""},
		{"orphans are buried", `for i in 1 2 3 4 5; do (true &); done
			n=0; while ps -o stat | grep -q Z && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done; ps -o stat | grep -c Z`, nil, 1, "0\n", ""},
		{"iperf3", "iperf3 -c 127.0.0.1 -t 1 >/dev/null", nil, 0, "", ""},
		{"tools", "nft --version >/dev/null && tcpdump --version >/dev/null 2>&1 && conntrack --version >/dev/null && ip link >/dev/null", nil, 0, "", ""},
	}
	both(t, "exec", func(t *testing.T, m Machine) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var out, errs bytes.Buffer
				code, err := m.Agent().Exec(ctx, agent.Command{
					Args: []string{"sh", "-c", c.args}, Stdin: bytes.NewReader(c.stdin), Stdout: &out, Stderr: &errs,
				})
				if err != nil {
					t.Fatal(err)
				}
				if code != c.code {
					t.Errorf("code %d, want %d; stderr: %s", code, c.code, errs.String())
				}
				if out.String() != c.stdout {
					t.Errorf("stdout has %d bytes, want %d: %.100q", out.Len(), len(c.stdout), out.String())
				}
				if !strings.Contains(errs.String(), c.stderr) {
					t.Errorf("stderr %q, want %q in it", errs.String(), c.stderr)
				}
			})
		}
		t.Run("shut down", func(t *testing.T) { testShutDown(t, m) })
	})
}

// testShutDown has a guest shut down by a command in it: whoever gave the command is told that it was done, and that is
// no failure.
func testShutDown(t *testing.T, m Machine) {
	how := map[Kind]string{NetNS: "reboot", QEMU: "poweroff"}[m.Kind()]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if code, err := m.Agent().Exec(ctx, agent.Command{Args: []string{how}}); code != 0 && code != 128+15 || err != nil { // SIGTERM is for all, and for who is slow
		t.Errorf("%s: code %d, %v", how, code, err)
	}
	select {
	case <-m.Done():
	case <-ctx.Done():
		t.Fatal("the guest did not end")
	}
	if m.Err() != nil || m.State() != StateStopped {
		t.Errorf("error %v, state %s; want that it is stopped, by no failure", m.Err(), m.State())
	}
}
