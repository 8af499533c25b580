package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec GUEST -- CMD [ARG...]",
		Short: "Run a command in a guest, with its true exit code",
		Long: `Run a command in a guest. Its input, output and exit code are this command's own, byte for byte.
No shell is put in between: for one, say: sluice exec client -- sh -c 'ping -c1 server | tail -1'

Ctrl-C interrupts the command in the guest; the second time it is killed. With --timeout it is killed after that time, and the exit
code is 124, as timeout(1) has it.`,
		Example: "  sluice exec client -- wget -qO- http://10.10.2.10/\n  sluice exec client -- tar c /etc > etc.tar\n" +
			"  sluice exec client --timeout 10s -- ping 10.10.2.10",
		Annotations:       map[string]string{NoAnswer: ""},
		Args:              execArgs,
		ValidArgsFunction: CompleteGuests,
	}
	tty := cmd.Flags().BoolP("tty", "t", false, "on a terminal in the guest, for commands that want one")
	timeout := cmd.Flags().Duration("timeout", 0, "how long the command may take, as in 10s or 2m; then it is killed, and the exit code is 124")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *timeout < 0 || *timeout == 0 && cmd.Flags().Changed("timeout") {
			return fault.Errorf(fault.BadInput, "--timeout %s: give more than nothing, or leave it out for no bound", *timeout)
		}
		return runInGuest(cmd, args[0], args[1:], *tty, *timeout, (*control.Client).Exec)
	}
	return cmd
}

// execArgs insists on the --: without it, a flag of the command could silently become one of sluice's.
func execArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || cmd.ArgsLenAtDash() == 0:
		return fault.Errorf(fault.BadInput, "which guest? sluice exec GUEST -- CMD [ARG...]")
	case len(args) == 1:
		return fault.Errorf(fault.BadInput, "which command? sluice exec %s -- CMD [ARG...]", args[0])
	case cmd.ArgsLenAtDash() != 1:
		return fault.Errorf(fault.BadInput, "put -- between the guest and the command: sluice exec %s -- %s",
			args[0], joinArgs(args[1:]))
	}
	return nil
}

func consoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "console GUEST",
		Short:             "A shell in a guest; Ctrl-] leaves it",
		Annotations:       map[string]string{NoAnswer: ""},
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: CompleteGuests,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isTerminal(cmd.InOrStdin()) {
				return fault.Errorf(fault.BadInput, "a console needs a terminal: for a script use `sluice exec %s -- CMD`", args[0])
			}
			return runInGuest(cmd, args[0], nil, true, 0, (*control.Client).Console)
		},
	}
}

type clientRun func(*control.Client, context.Context, string, control.ExecRequest, control.Streams) (int, error)

// timedOut is the exit code of a command that took longer than it might, as timeout(1) of GNU coreutils has it.
const timedOut = 124

// runInGuest joins this process's input, output, signals and terminal to a command in a guest. A timeout of 0 is none.
func runInGuest(cmd *cobra.Command, guest string, argv []string, tty bool, timeout time.Duration, run clientRun) error {
	c, err := Dial(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	// An interrupt is the guest's business, not a reason to leave: it is forwarded below.
	ctx, leave := context.WithCancelCause(context.WithoutCancel(cmd.Context()))
	defer leave(nil)
	if timeout > 0 {
		defer time.AfterFunc(timeout, func() { leave(errTimeout) }).Stop()
	}
	req := control.ExecRequest{Argv: argv, TTY: tty}
	s := control.Streams{Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}

	if stdin, ok := s.Stdin.(*os.File); ok && tty && isTerminal(stdin) {
		req.Env = map[string]string{"TERM": os.Getenv("TERM")}
		t, err := takeTerminal(stdin)
		if err != nil {
			return err
		}
		defer t.giveBack()
		req.Size = t.size()
		s.Resizes = t.resizes(ctx)
		s.Stdin = &escapeReader{from: stdin, escaped: func() { leave(errEscaped) }}
		io.WriteString(s.Stderr, "Ctrl-] leaves.\r\n")
	}
	s.Signals = forwardSignals(ctx, tty, func() { leave(errInterrupted) })
	code, err := run(c, ctx, guest, req, s)
	switch {
	case errors.Is(err, errEscaped):
		io.WriteString(s.Stderr, "\r\n") // the guest's prompt stands before the user's own
		return nil
	case errors.Is(err, errInterrupted):
		return &ExitError{Code: 128 + int(syscall.SIGINT)}
	case errors.Is(err, errTimeout):
		fmt.Fprintf(s.Stderr, "sluice: the command in %s took longer than %s, and was killed\n", guest, timeout)
		return &ExitError{Code: timedOut}
	case err != nil:
		return err
	case code != 0:
		return &ExitError{Code: code}
	}
	return nil
}

// Why a session was left before its command ended.
var (
	errEscaped     = errors.New("left with Ctrl-]")
	errInterrupted = errors.New("interrupted twice")
	errTimeout     = errors.New("took longer than --timeout")
)

var signalNames = map[os.Signal]string{
	syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT",
}

// forwardSignals gives the guest's command the signals that this process gets. The second one ends the session, and
// with it the command, which may not listen. On a terminal the keys go to the guest as they are, so that a signal means
// that the user's terminal is going away.
func forwardSignals(ctx context.Context, tty bool, leave func()) <-chan string {
	caught := make(chan os.Signal, 4)
	signal.Notify(caught, slices.Collect(maps.Keys(signalNames))...)
	out := make(chan string, 1)
	go func() {
		defer signal.Stop(caught)
		for heard := tty; ; heard = true {
			select {
			case sig := <-caught:
				if heard {
					leave()
					return
				}
				out <- signalNames[sig]
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
