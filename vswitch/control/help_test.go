package control

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vswitch"
	"sluice/vswitch/user"
)

// patience is how long a test waits for what must happen at all; nothing is measured by it.
const patience = 20 * time.Second

// fakeLab is a Lab with two guests, in which a test plays what a command does.
type fakeLab struct {
	run     func(context.Context, ExecRequest, Streams) (int, error)
	load    func(file string, src []byte) (*firewall.Policy, error)
	drill   func(Drill) error
	stopped chan struct{}
}

func (l *fakeLab) Inspect() LabInfo {
	return LabInfo{Name: "fake", PID: 1, Engine: "user", Placement: "off", Guests: []GuestInfo{
		{Name: "client", Kind: "embedded", State: "ready", Addresses: []string{"10.10.1.10/24"}},
		{Name: "server", Kind: "embedded", State: "ready", Addresses: []string{"10.10.2.10/24"}},
	}}
}

func (l *fakeLab) Inventory() *firewall.Inventory { return &firewall.Inventory{} }

func (l *fakeLab) LoadPolicy(file string, src []byte) (*firewall.Policy, error) {
	return l.load(file, src)
}

func (l *fakeLab) Exec(ctx context.Context, _ string, req ExecRequest, s Streams) (int, error) {
	return l.run(ctx, req, s)
}

func (l *fakeLab) Console(ctx context.Context, guest string, req ExecRequest, s Streams) (int, error) {
	return l.Exec(ctx, guest, req, s)
}

func (l *fakeLab) Appliance(_ context.Context, d Drill) error { return l.drill(d) }

func (l *fakeLab) Inspections(context.Context) (inspect.Report, error) {
	return inspect.Report{Frames: 7}, nil
}

func (l *fakeLab) Stop() { close(l.stopped) }

// startLab serves a lab in the test's state root, until the test ends.
func startLab(t *testing.T, name string, lab Lab, l limits) *Server {
	t.Helper()
	dir, err := LabDir(name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	sw, err := vswitch.New(vswitch.Config{Name: name, Engine: user.New})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(sw, lab, l)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		sw.Close()
	})
	return s
}

// tempState gives this test a state root of its own.
func tempState(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	t.Setenv("SLUICE_STATE_DIR", root)
	return root
}

func dial(t *testing.T, lab string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// connPair is two ends of a unix stream.
func connPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// readAll drains a command's input.
func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r)
	return b
}
