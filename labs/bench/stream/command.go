package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// Ready is the line that a receiver prints once it listens; its result is the line after it.
const Ready = "listening"

// Command is the hidden `sluice stream`. Each result is one line of JSON.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stream", Short: "Send and count numbered datagrams, lines and knocks, inside a guest", Hidden: true,
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(sendCommand(), receiveCommand(), chatCommand(), knockCommand())
	return cmd
}

func sendCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "send ADDRESS:PORT", Short: "Send numbered datagrams", Args: cobra.ExactArgs(1)}
	rate := cmd.Flags().Int("rate", 2000, "datagrams a second")
	count := cmd.Flags().Int("count", 10000, "how many")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return send(args[0], *rate, *count) }
	return cmd
}

func receiveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "receive PORT", Short: "Count a stream of numbered datagrams", Args: cobra.ExactArgs(1)}
	wait := cmd.Flags().Duration("wait", 30*time.Second, "how long the first one may take")
	idle := cmd.Flags().Duration("idle", 3*time.Second, "how long a silence ends the stream")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		var port int
		if _, err := fmt.Sscanf(args[0], "%d", &port); err != nil {
			return fmt.Errorf("port %q: %w", args[0], err)
		}
		conn, err := listen(port)
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprintln(c.OutOrStdout(), Ready)
		return print(c.OutOrStdout())(receive(conn, *wait, *idle))
	}
	return cmd
}

// timed adds what chat and knock share: how long, how often, and how patient.
func timed[T any](cmd *cobra.Command, run func(ctx context.Context, address string, every, patience time.Duration) (T, error)) *cobra.Command {
	total := cmd.Flags().Duration("for", 10*time.Second, "how long")
	every := cmd.Flags().Duration("every", 10*time.Millisecond, "how often")
	patience := cmd.Flags().Duration("patience", 10*time.Second, "how long one may take")
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(c *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), *total)
		defer cancel()
		result, err := run(ctx, args[0], *every, *patience)
		if err != nil {
			return err
		}
		return write(c.OutOrStdout(), result)
	}
	return cmd
}

func chatCommand() *cobra.Command {
	return timed(&cobra.Command{Use: "chat ADDRESS:PORT", Short: "Send lines to an echo and wait for each"}, chat)
}

func knockCommand() *cobra.Command {
	return timed(&cobra.Command{Use: "knock ADDRESS:PORT", Short: "Begin new TCP connections"}, knock)
}

// print writes a result as a line of JSON, if there is one.
func print(w io.Writer) func(Result, error) error {
	return func(r Result, err error) error {
		if err != nil {
			return err
		}
		return write(w, r)
	}
}

// write writes a line of JSON for people, too: with -> as it is.
func write(w io.Writer, v any) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return lines.Encode(v)
}
