package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// The player is a process of its own, so that what the traffic costs is not counted as the switch's. It is given the
// guests' ends as descriptors 3 and 4, reads trials from stdin and writes what came of them to stdout, as JSON.

type playAnswer struct {
	Trial Trial  `json:"trial"`
	Error string `json:"error,omitempty"`
}

func playCommand() *cobra.Command {
	var tap bool
	cmd := &cobra.Command{
		Use: "play", Hidden: true, Args: cobra.NoArgs, Short: "Play the guests of a measurement",
		RunE: func(*cobra.Command, []string) error {
			a, err := newEnd(3, tap)
			if err != nil {
				return err
			}
			b, err := newEnd(4, tap)
			if err != nil {
				return err
			}
			return play(os.Stdin, os.Stdout, [2]*end{a, b})
		},
	}
	cmd.Flags().BoolVar(&tap, "tap", false, "the ends are TAPs")
	return cmd
}

// play answers trials until the input ends. The collector is off while frames run: a pause of ours would be counted as
// the switch's.
func play(in io.Reader, out io.Writer, ends [2]*end) error {
	debug.SetGCPercent(-1)
	ask, answer := json.NewDecoder(in), json.NewEncoder(out)
	for run := uint16(1); ; run++ {
		var a Ask
		if err := ask.Decode(&a); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a trial: %w", err)
		}
		var reply playAnswer
		err := open(a.Shape, ends)
		if err == nil {
			reply.Trial, err = newTrial(a, run, ends[0], ends[1]).play()
		}
		if err != nil {
			reply.Error = err.Error()
		}
		if err := answer.Encode(reply); err != nil {
			return fmt.Errorf("answer a trial: %w", err)
		}
		runtime.GC()
	}
}

// open exchanges the frames that begin the flow. Each is sent again until it arrives: at the start ports are still
// coming up.
func open(s Shape, ends [2]*end) error {
	for i, f := range s.opening() {
		if err := exchange(f, s.fixed(), ends[i%2], ends[1-i%2]); err != nil {
			return fmt.Errorf("frame %d of the opening: %w", i+1, err)
		}
	}
	return nil
}

// fixed is how many bytes of an opening frame no switch changes: up to the L4 checksum.
func (s Shape) fixed() int {
	if s.GSO > 0 {
		return ethLen + 20 + 16
	}
	return ethLen + 20 + 6
}

func exchange(f []byte, fixed int, from, to *end) error {
	into, got := buffers(len(f)), make([][]byte, burst)
	want := f[vnetLen : vnetLen+fixed]
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if _, err := from.send([][]byte{f}); err != nil {
			return err
		}
		if err := to.wait(50); err != nil {
			return err
		}
		for n := 1; n > 0; {
			var err error
			if n, err = to.receive(into, got); err != nil {
				return err
			}
			for _, g := range got[:n] {
				if bytes.HasPrefix(g[min(len(g), vnetLen):], want) {
					return nil
				}
			}
		}
	}
	return errors.New("it did not arrive within 5 s")
}
