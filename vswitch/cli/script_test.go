package cli_test

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// patience is how long a script waits for what must happen at all; nothing is measured by it.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": sluice})
}

// sluice is the command with the commands of this package alone, as main wires it.
func sluice() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Run(ctx, cli.Root(cli.Commands(known, cobra.FixedCompletions([]string{"still"}, cobra.ShellCompDirectiveNoFileComp))...), os.Args[1:]))
}

// known knows one lab that does not run.
func known(lab string) (*firewall.Inventory, *firewall.Policy, error) {
	if lab != "still" {
		return nil, nil, fault.Errorf(fault.BadInput, "no lab %q", lab)
	}
	p, err := firewall.Load("still.yaml", []byte(testPolicy), testInventory)
	return testInventory, p, err
}

// TestScripts runs the sessions in testdata/script: each against control servers of its own, over real sockets, with a
// real switch behind.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Deadline:            time.Now().Add(15 * patience), // of all scripts together: for one that waits in a shell for good
		Setup: func(env *testscript.Env) error {
			env.Setenv("SLUICE_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Values[labsKey{}] = map[string]*testLab{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lab": startLab, "dead-lab": deadLab, "send": send, "random": random, "dialog": dialog,
			"capture": writeCaptures, "capture-short": writeShort,
		},
	})
}

type labsKey struct{}

func labsOf(ts *testscript.TestScript) map[string]*testLab {
	return ts.Value(labsKey{}).(map[string]*testLab)
}

// startLab is `lab NAME`: a lab runs until the script ends. `! lab` would mean nothing.
func startLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lab NAME")
	}
	listener, err := control.Listen(ts.MkAbs("state/" + args[0]))
	ts.Check(err)
	lab, err := newTestLab(args[0], ts.MkAbs("."))
	ts.Check(err)
	server := control.NewServer(lab.sw, lab)
	go server.Serve(listener)
	labsOf(ts)[args[0]] = lab
	ts.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		server.Shutdown(ctx)
		lab.sw.Close()
	})
}

// deadLab is `dead-lab NAME`: what a lab leaves that was killed.
func deadLab(ts *testscript.TestScript, neg bool, args []string) {
	listener, err := control.Listen(ts.MkAbs("state/" + args[0]))
	ts.Check(err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
}

// send is `send LAB PORT`: the client begins a TCP connection to a port of the server, and the switch has handled its
// first frame.
func send(ts *testscript.TestScript, neg bool, args []string) {
	port, err := strconv.ParseUint(args[1], 10, 16)
	ts.Check(err)
	lab := labsOf(ts)[args[0]]
	before := lab.sw.Stats().In
	ts.Check(lab.sendSYN(uint16(port)))
	ts.Check(wait("a frame to be counted", func() bool { return lab.sw.Stats().In > before }))
}

func wait(what string, holds func() bool) error {
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited %s for %s", patience, what)
		}
	}
	return nil
}

// random is `random FILE BYTES`: a file of bytes that no text encoding survives.
func random(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}
