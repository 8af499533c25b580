package guest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"sluice/labs/guest/agent"
)

// TestRedial says how long a line is left alone.
func TestRedial(t *testing.T) {
	for _, c := range []struct{ held, waited, want time.Duration }{
		{time.Hour, 0, 0},
		{time.Hour, time.Minute, 0},
		{0, 0, redialFirst},
		{time.Second, redialFirst, 2 * redialFirst},
		{0, 40 * time.Second, redialAtMost},
		{0, redialAtMost, redialAtMost},
	} {
		if got := redial(c.held, c.waited); got != c.want {
			t.Errorf("a line that held %v, after %v: %v, want %v", c.held, c.waited, got, c.want)
		}
	}
}

// TestHostileLineIsTakenUp plays the agent of a QEMU guest that says it takes no more streams: the line is taken up
// again, and somebody is told both.
func TestHostileLineIsTakenUp(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, agentSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for first := true; ; first = false {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go playAgent(conn, first)
		}
	}()
	told := make(chan string, 8)
	v := newVirtual(Spec{Name: "g", Dir: dir, Tell: func(event, _ string) { told <- event }})
	defer v.ended(nil)
	a, err := v.dialAgent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.booted(a, CameUp{})
	go v.keepAgent()
	for _, want := range []string{EventSilent, EventAnswers} {
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told of %s, want %s", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nobody is told of %s", want)
		}
	}
	if v.Agent() == a {
		t.Error("the agent is still reached by the line that broke")
	}
	if _, err := v.Agent().Info(t.Context()); err != nil {
		t.Errorf("the new line: %v", err)
	}
}

// playAgent greets as an agent does. A hostile one takes no stream; another answers whatever it is asked.
func playAgent(line net.Conn, hostile bool) {
	r := bufio.NewReader(line)
	for word := ""; word != "sluice-go"; {
		s, err := r.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ = strings.Cut(s, " ")
		if word == "sluice-hello" {
			fmt.Fprintf(line, "\n%s", strings.Replace(s, "hello", "ready", 1))
		}
	}
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	session, err := yamux.Server(struct {
		io.Reader
		io.WriteCloser
	}{r, line}, c)
	if err != nil {
		return
	}
	if hostile {
		session.GoAway()
		return
	}
	for {
		s, err := session.Accept()
		if err != nil {
			return
		}
		go func() {
			bufio.NewReader(s).ReadString('\n')
			io.WriteString(s, `{"body":{}}`+"\n"+`{"end":true}`+"\n")
			s.Close()
		}()
	}
}

// TestBootedAfterTheEnd has a machine end between its agent's answer and the note of it: it stays ended.
func TestBootedAfterTheEnd(t *testing.T) {
	host, line := net.Pipe()
	go playAgent(line, false)
	a, err := agent.Dial(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(Spec{Name: "g"})
	p.ended(nil)
	p.booted(a, CameUp{})
	if p.State() != StateStopped {
		t.Errorf("it is %s", p.State())
	}
	<-a.Done()
}
