package running_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// testHelpers speaks active FTP through the lab: over one connection the client says where it waits for another, which
// the server begins. No rule allows that one: it passes in slow, where a helper of the appliance reads the first, and
// nowhere else; and it is cut when the engine takes over.
func testHelpers(t *testing.T, lab string) {
	t.Cleanup(func() {
		must(t, "--lab", lab, "place", "fast")
		must(t, "--lab", lab, "policy", "apply", "../03-fast-vs-slow/policy.yaml")
	})
	for i, c := range []struct {
		placement, helpers string
		passes             bool
	}{{"slow", "[]", false}, {"slow", "[ftp, tftp]", true}, {"fast", "[ftp, tftp]", false}} {
		t.Run(c.placement+" with "+c.helpers, func(t *testing.T) {
			must(t, "--lab", lab, "place", c.placement)
			text := "services: {ftp: {tcp: 21}}\ndefault: drop\nhelpers: " + c.helpers +
				"\nrules: [{name: ftp, from: client, to: server, service: ftp, action: allow}]\n"
			policy := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			must(t, "--lab", lab, "policy", "apply", policy)
			port := 0xfa0 + i
			f := startFTP(t, lab)
			f.say(t, "USER x") // a helper understands a line once it has seen the end of another
			f.say(t, fmt.Sprintf("PORT 10,10,1,10,%d,%d", port>>8, port&0xff))
			f.data(t, lab, port, c.passes)
		})
	}
}

// ftp is a control connection: what the client writes, the server shows.
type ftp struct{ client, server *background }

func startFTP(t *testing.T, lab string) *ftp {
	// A server from before may not have ended yet, and a client is refused until the server listens: both try again.
	f := &ftp{server: startGuest(t, lab, "server", "sh", "-c", "until nc -l -p 21; do usleep 100000; done")}
	f.client = startGuest(t, lab, "client", "sh", "-c", "until nc 10.10.2.10 21; do usleep 100000; done")
	return f
}

// say sends a line, alone in its segment, and waits until the server has it.
func (f *ftp) say(t *testing.T, line string) {
	t.Helper()
	n := len(f.server.read()) + 1
	if _, err := fmt.Fprint(f.client.stdin, line, "\r\n"); err != nil {
		t.Fatal(err)
	}
	f.server.waitLines(t, n)
}

// data has the server connect to where the client waits, and looks whether its line comes.
func (f *ftp) data(t *testing.T, lab string, port int, passes bool) {
	t.Helper()
	at := fmt.Sprint(port)
	client := startGuest(t, lab, "client", "nc", "-l", "-p", at)
	// The first try counts: what the helper expects is one connection, which a refused one has been.
	if r := inGuest(t, lab, "client", "", "sh", "-c", "until ss -Hltn sport = :"+at+" | grep -q .; do usleep 50000; done"); r.code != 0 {
		t.Fatalf("wait until the client listens: %d %s", r.code, r.stderr)
	}
	if !passes {
		if r := inGuest(t, lab, "server", "data\n", "nc", "-w3", "10.10.1.10", at); r.code == 0 {
			t.Error("the server has connected to the client")
		}
		return
	}
	server := startGuest(t, lab, "server", "sh", "-c", "until nc 10.10.1.10 "+at+"; do usleep 100000; done")
	if _, err := fmt.Fprintln(server.stdin, "data"); err != nil {
		t.Fatal(err)
	}
	client.waitLines(t, 1)
	r := place(t, lab, "fast")
	if r.FlowsCut != 1 || r.Leaked != 0 {
		t.Errorf("%d flows cut, %d leaked; want one, and none", r.FlowsCut, r.Leaked)
	}
	f.say(t, "NOOP") // the control connection lives on
}
