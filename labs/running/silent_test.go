package running

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"sluice/labs/guest"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
)

// lineMachine is a guest of which only the line to its agent is there.
type lineMachine struct {
	guest.Machine
	agent *agent.Client
}

func (m lineMachine) State() guest.State   { return guest.StateReady }
func (m lineMachine) Agent() *agent.Client { return m.agent }

// TestSilent: a guest is ready while its agent answers, and silent when the line has broken or nobody answers on it.
func TestSilent(t *testing.T) {
	host, line := net.Pipe()
	go playAgent(line, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := agent.Dial(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	r := &resident{Guest: &labfile.Guest{Name: "g", Kind: labfile.KindQEMU}}
	r.setMachine(lineMachine{agent: a})
	if s := r.tried(ctx); s != ready {
		t.Errorf("a guest that answers is %s", s)
	}
	mute, far := net.Pipe()
	go playAgentMute(far)
	b, err := agent.Dial(ctx, mute)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r.setMachine(lineMachine{agent: b})
	asked, enough := context.WithTimeout(ctx, 50*time.Millisecond)
	defer enough()
	if s := r.tried(asked); s != silent {
		t.Errorf("a guest that does not answer is %s", s)
	}
	r.setMachine(lineMachine{agent: a})
	a.Close()
	if s := r.state(); s != silent {
		t.Errorf("a guest whose line has broken is %s", s)
	}
}

// playAgentMute greets, and says no more.
func playAgentMute(line net.Conn) {
	if r, err := greetAsAgent(line); err == nil {
		io.Copy(io.Discard, r)
	}
}
