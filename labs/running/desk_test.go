package running

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"sluice/firewall"
	"sluice/firewall/appliance/admin"
	"sluice/labs/guest"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
	"sluice/vswitch"
	"sluice/vswitch/user"
)

// handMachine is an appliance whose agent the test plays by hand.
type handMachine struct {
	guest.Machine
	agent *agent.Client
}

func (m *handMachine) Agent() *agent.Client { return m.agent }
func (m *handMachine) State() guest.State   { return guest.StateReady }
func (m *handMachine) PIDs() []int          { return nil }

// handDesk is one opening of the desk, as the guest sees it.
type handDesk struct {
	admin.Opening
	stream net.Conn
	r      *bufio.Reader
}

// read reads the host's answer.
func (d *handDesk) read(t *testing.T) (a admin.Answer) {
	t.Helper()
	d.stream.SetReadDeadline(time.Now().Add(handWait))
	line, err := d.r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return a
}

// say writes a line to the host.
func (d *handDesk) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(d.stream, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// push is a request's line.
func (d *handDesk) push(t *testing.T, source string, base uint64) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"body": admin.Request{Push: &admin.Push{File: "x.yaml", Source: []byte(source), Base: base, Force: base == 0}}})
	if err != nil {
		t.Fatal(err)
	}
	d.say(t, string(body))
}

const handWait = 10 * time.Second // a limit, not a measure

// greetAsAgent is an agent's part before a session.
func greetAsAgent(line net.Conn) (*bufio.Reader, error) {
	r := bufio.NewReader(line)
	for {
		s, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(s, "sluice-hello") {
			fmt.Fprintf(line, "\n%s", strings.Replace(s, "hello", "ready", 1))
		}
		if strings.HasPrefix(s, "sluice-go") {
			return r, nil
		}
	}
}

// playAgent greets the host as an agent does, and hands on each desk that it opens; whatever else it asks goes well.
func playAgent(line net.Conn, desks chan<- *handDesk) error {
	r, err := greetAsAgent(line)
	if err != nil {
		return err
	}
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	session, err := yamux.Server(struct {
		io.Reader
		io.WriteCloser
	}{r, line}, c)
	if err != nil {
		return err
	}
	for {
		s, err := session.Accept()
		if err != nil {
			return err
		}
		d := &handDesk{stream: s, r: bufio.NewReader(s)}
		var req struct {
			Call string
			Body json.RawMessage
		}
		asked, err := d.r.ReadBytes('\n')
		if err != nil || json.Unmarshal(asked, &req) != nil {
			return fmt.Errorf("the host asked %q: %w", asked, err)
		}
		if req.Call != "desk" {
			io.WriteString(s, `{"end":true}`+"\n")
			s.Close()
			continue
		}
		if err := json.Unmarshal(req.Body, &d.Opening); err != nil {
			return err
		}
		io.WriteString(s, `{"body":true}`+"\n")
		desks <- d
	}
}

// handLab is a switch in push whose appliance the test plays.
func handLab(t *testing.T) (*vswitch.Switch, <-chan *handDesk) {
	t.Helper()
	sw, err := vswitch.New(vswitch.Config{Name: "test", Engine: user.New, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	host, line := net.Pipe()
	desks := make(chan *handDesk, 1)
	go playAgent(line, desks)
	a, err := agent.Dial(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(&labfile.Lab{Appliance: &labfile.Guest{Name: "fw"}}, sw)
	t.Cleanup(func() {
		d.end()
		a.Close()
		if err := sw.Close(); err != nil {
			t.Error(err)
		}
	})
	sw.SetAppliance(slowSide{machine: &handMachine{agent: a}, desk: d})
	p, err := firewall.Load("lab.yaml", []byte("default: drop\n"), d.inventory)
	if err == nil {
		_, err = sw.SetPolicy(t.Context(), p)
	}
	if err == nil {
		_, err = sw.Place(t.Context(), firewall.Push, vswitch.PlaceOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return sw, desks
}

// next waits for the desk to be opened.
func next(t *testing.T, desks <-chan *handDesk) *handDesk {
	t.Helper()
	select {
	case d := <-desks:
		return d
	case <-time.After(handWait):
		t.Fatal("the desk is not opened")
		return nil
	}
}

// ended waits for the host to close a desk.
func (d *handDesk) ended(t *testing.T) {
	t.Helper()
	d.stream.SetReadDeadline(time.Now().Add(handWait))
	if rest, err := io.ReadAll(d.r); err != nil {
		t.Errorf("the host does not close the desk: %q, %v", rest, err)
	}
}

// TestDeskReopens: a line that breaks, or is broken by the guest, is opened again with what is in force then.
func TestDeskReopens(t *testing.T) {
	sw, desks := handLab(t)
	d := next(t, desks)
	if d.Edition.Generation != 1 || string(d.Edition.Source) != "default: drop\n" {
		t.Errorf("on the desk lies %+v", d.Edition)
	}
	d.push(t, "default: allow\n", 1)
	if a := d.read(t); a.Generation != 2 || a.Error != "" {
		t.Errorf("answer %+v", a)
	}
	d.push(t, "default: reject\n", 1)
	if a := d.read(t); a.Generation != 2 || a.BadInput || !strings.HasPrefix(a.Error, "conflict: generation 2 ") {
		t.Errorf("answer %+v", a)
	}
	d.push(t, "default: maybe\n", 2)
	if a := d.read(t); a.Generation != 2 || !a.BadInput || !strings.HasPrefix(a.Error, "fw:x.yaml:1:10: ") {
		t.Errorf("answer %+v", a)
	}
	for _, noise := range []string{"noise", `{"body":{"place":"off"}}`, `{"end":true}`} {
		d.say(t, noise)
		d.ended(t)
		d = next(t, desks)
		if d.Edition.Generation != 2 || string(d.Edition.Source) != "default: allow\n" {
			t.Errorf("after %q, on the desk lies %+v", noise, d.Edition)
		}
	}
	d.push(t, "default: drop\n", 0)
	if a := d.read(t); a.Generation != 3 || a.Error != "" {
		t.Errorf("answer %+v", a)
	}
	if _, err := sw.Place(t.Context(), firewall.Push, vswitch.PlaceOptions{}); err != nil {
		t.Fatal(err)
	}
	d.ended(t)
	if d = next(t, desks); d.Edition.Generation != 3 {
		t.Errorf("on the desk lies %+v", d.Edition)
	}
	if _, err := sw.Place(t.Context(), firewall.Fast, vswitch.PlaceOptions{}); err != nil {
		t.Fatal(err)
	}
	d.ended(t)
	select {
	case d := <-desks:
		t.Errorf("the desk is opened outside of push: %+v", d.Edition)
	case <-time.After(2 * reopenEvery): // too short a wait could only miss an error, not make one
	}
}

// TestDeskFlooded: a guest that asks without end, and reads no answer, holds up neither a change nor the end of the
// lab.
func TestDeskFlooded(t *testing.T) {
	sw, desks := handLab(t)
	d := next(t, desks)
	flooded := make(chan error, 1)
	go func() {
		for {
			if _, err := io.WriteString(d.stream, `{"body":{}}`+"\n"); err != nil {
				flooded <- err
				return
			}
		}
	}()
	d.read(t)
	if _, err := sw.Place(t.Context(), firewall.Fast, vswitch.PlaceOptions{}); err != nil {
		t.Error(err)
	}
	select {
	case <-flooded:
	case <-time.After(3 * handWait): // yamux waits for a while until it resets what the other side does not close
		t.Error("the flood goes on")
	}
}
