package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// services are what a guest offers to the other guests. They run until the guest ends.
type services struct {
	procs   *procs
	mu      sync.Mutex
	running []string
	http    atomic.Uint64 // requests answered
}

func newServices(p *procs) *services { return &services{procs: p} }

func (s *services) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.running)
}

// start returns when each named service listens.
func (s *services) start(names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if slices.Contains(s.running, name) {
			continue
		}
		if err := s.startOne(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.running = append(s.running, name)
	}
	return nil
}

func (s *services) startOne(name string) error {
	switch name {
	case ServiceHTTP:
		return s.startHTTP()
	case ServiceEcho:
		return errors.Join(startEcho(23), startEcho(7777), startEchoUDP(7777))
	case ServiceIperf3:
		return s.startIperf3()
	}
	return fmt.Errorf("no such service; there are %v", ServiceNames)
}

// listen listens on IPv4 and IPv6 at once.
func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
}

func startEcho(port int) error {
	l, err := listen(port)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return nil
}

func (s *services) startHTTP() error {
	l, err := listen(80)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveIndex)
	mux.HandleFunc("GET /bytes/{n}", serveBytes)
	mux.HandleFunc("GET /slow", serveSlow)
	serveEICAR(mux)
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, s.http.Load()) })
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.http.Add(1)
		mux.ServeHTTP(w, r)
	})
	go (&http.Server{Handler: counted, ReadHeaderTimeout: time.Minute, ConnContext: withConn}).Serve(l)
	return nil
}

func serveIndex(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html>\n<title>%s</title>\n<h1>This is %s.</h1>\n"+
		"<p>You reached it from %s.</p>\n"+
		"<p><a href=\"/bytes/1000000\">a million bytes</a>, <a href=\"/slow\">a slow download</a></p>\n",
		host, host, r.RemoteAddr)
}

// pattern is the bytes of /bytes: 0 to 250 again and again, a period that no packet size has, so that a piece that is
// missing shows.
var pattern = func() []byte {
	p := make([]byte, 251*256)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}()

func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "/bytes/N: N is how many bytes", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	for n > 0 {
		m, err := w.Write(pattern[:min(n, int64(len(pattern)))])
		if err != nil {
			return
		}
		n -= int64(m)
	}
}

// The slow download: a line each tenth of a second for a minute, so that a change of placement falls into it.
const (
	slowEvery = 100 * time.Millisecond
	slowLines = 600
)

func serveSlow(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(slowEvery)
	defer tick.Stop()
	for i := range slowLines {
		if _, err := fmt.Fprintf(w, "line %d of %d\n", i+1, slowLines); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// restartEvery keeps a service that cannot run from eating the guest's CPU.
const restartEvery = time.Second

// startIperf3 keeps the real iperf3 server running: it ends itself after some errors.
func (s *services) startIperf3() error {
	path, err := exec.LookPath("iperf3")
	if err != nil {
		return err
	}
	go func() {
		for {
			next := time.After(restartEvery)
			err := s.procs.run(exec.Command(path, "--server"))
			slog.Warn("iperf3 ended and is started again", "error", err)
			<-next
		}
	}()
	return waitListening(5201)
}

// A guest cannot know how much of a time it had a processor for, so it counts its looks: on a busy machine they take
// longer.
const (
	looks     = 2000
	lookEvery = 10 * time.Millisecond
)

// waitListening waits until something of this guest listens on a TCP port. It looks, and does not connect: iperf3 takes
// a connection for a test.
func waitListening(port int) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for range looks {
		if listening(port) {
			return nil
		}
		<-tick.C
	}
	return fmt.Errorf("nobody listens on port %d, and it was looked %d times", port, looks)
}

// listening looks for a listener in /proc/net/tcp6 and tcp (state 0A is LISTEN).
func listening(port int) bool {
	for _, table := range []string{"/proc/net/tcp6", "/proc/net/tcp"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var slot, local, remote, state string
			fmt.Sscan(lines.Text(), &slot, &local, &remote, &state)
			if state == "0A" && len(local) > 5 && local[len(local)-5:] == fmt.Sprintf(":%04X", port) {
				return true
			}
		}
	}
	return false
}
