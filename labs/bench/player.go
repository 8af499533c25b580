package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// player is this process's side of the process that plays the guests (see play).
type player struct {
	proc *process
	in   io.WriteCloser
	out  *json.Decoder
}

// play starts the player on the bed's ends, which become its own.
func (b *bed) play() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "bench", "play")
	if tap := b.wiring == TAP && !b.ownTAPs; tap {
		cmd.Args = append(cmd.Args, "--tap")
	}
	cmd.ExtraFiles = b.ends[:]
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	proc, err := b.sw.spawn(cmd)
	if err != nil {
		return err
	}
	// An end that stays open here stays in this process's poller, and each frame would wake it up.
	for i, f := range b.ends {
		b.ends[i] = nil
		if err := f.Close(); err != nil {
			return err
		}
	}
	b.player = &player{proc: proc, in: in, out: json.NewDecoder(out)}
	return nil
}

// try plays one trial.
func (p *player) try(ctx context.Context, a Ask) (Trial, error) {
	if err := json.NewEncoder(p.in).Encode(a); err != nil {
		return Trial{}, fmt.Errorf("ask the player: %w: %s", err, p.proc.said.String())
	}
	type answer struct {
		playAnswer
		err error
	}
	got := make(chan answer, 1)
	go func() {
		var r answer
		r.err = p.out.Decode(&r.playAnswer)
		got <- r
	}()
	select {
	case <-ctx.Done():
		return Trial{}, ctx.Err()
	case <-time.After(a.For + 30*time.Second):
		return Trial{}, errors.New("the player does not answer")
	case r := <-got:
		if r.err != nil {
			return Trial{}, fmt.Errorf("hear from the player: %w: %s", r.err, p.proc.said.String())
		}
		if r.Error != "" {
			return Trial{}, fmt.Errorf("play: %s", r.Error)
		}
		return r.Trial, nil
	}
}

func (p *player) close() {
	p.in.Close()
	p.proc.stop()
}
