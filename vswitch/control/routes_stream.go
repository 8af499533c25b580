package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/sse"

	"sluice/firewall/fault"
	"sluice/vswitch"
)

func (s *Server) streamRoutes(api huma.API) {
	op := operation(http.MethodGet, "/v1/events", "What happens from now on, as server-sent events")
	op.Description = "First comes the switch's status, so that a reader knows from when on it misses nothing."
	sse.Register(api, op, map[string]any{"status": vswitch.Status{}, "event": vswitch.Event{}}, s.events)
	s.sessionRoute(api, "/v1/guests/{guest}/exec", "Run a command in a guest", true, s.lab.Exec)
	s.sessionRoute(api, "/v1/guests/{guest}/console", "A shell in a guest, on a terminal", false, s.lab.Console)
}

func (s *Server) events(ctx context.Context, _ *struct{}, send sse.Sender) {
	events, cancel := s.sw.Events()
	defer cancel()
	if send.Data(s.sw.Status()) != nil {
		return
	}
	for {
		select {
		case e, more := <-events:
			if !more || send.Data(e) != nil {
				return
			}
		case <-ctx.Done():
			return
		case <-s.ending.Done():
			return
		}
	}
}

type sessionInputs struct {
	Guest string `path:"guest" maxLength:"64"`
	Body  ExecRequest
}

type labRun func(context.Context, string, ExecRequest, Streams) (int, error)

// sessionRoute registers an operation that becomes a session. What can be known before is answered as a problem; the
// rest is said at the session's end.
func (s *Server) sessionRoute(api huma.API, path, summary string, needsCommand bool, run labRun) {
	op := operation(http.MethodPost, path, summary)
	op.Description = "The connection becomes " + sessionProtocol + ": yamux with the streams control, stdin, stdout and stderr."
	op.MaxBodyBytes = maxExecBody
	op.BodyReadTimeout = s.limits.body
	huma.Register(api, op, func(_ context.Context, in *sessionInputs) (*huma.StreamResponse, error) {
		if err := s.knowGuest(in.Guest); err != nil {
			return nil, problemOf(err)
		}
		if needsCommand && (len(in.Body.Argv) == 0 || in.Body.Argv[0] == "") {
			return nil, problemOf(fault.Errorf(fault.BadInput, "no command to run in %s", in.Guest))
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			s.session(w, r, func(ctx context.Context, streams Streams) (int, error) {
				return run(ctx, in.Guest, in.Body, streams)
			})
		}}, nil
	})
}

func (s *Server) knowGuest(name string) error {
	var names []string
	for _, g := range s.lab.Inspect().Guests {
		names = append(names, g.Name)
	}
	if !slices.Contains(names, name) {
		return fault.Errorf(fault.BadInput, "no guest %q in this lab: %s", name, listNames(names))
	}
	return nil
}

func (s *Server) session(w http.ResponseWriter, r *http.Request, run runFunc) {
	if r.Header.Get("Upgrade") != sessionProtocol {
		w.Header().Set("Upgrade", sessionProtocol)
		err := fault.Errorf(fault.BadInput, "this needs an upgrade of the connection to %s", sessionProtocol)
		writeProblem(w, http.StatusUpgradeRequired, err)
		return
	}
	select {
	case s.sessions <- struct{}{}:
		defer func() { <-s.sessions }()
	default:
		err := fault.Errorf(fault.Failed, "%d commands run in this lab's guests already; end one first", maxSessions)
		writeProblem(w, http.StatusServiceUnavailable, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, fmt.Errorf("take the connection over: %w", err))
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", sessionProtocol)
	if err := serveSession(s.ending, &upgraded{conn, buffered.Reader}, run); err != nil && s.ending.Err() == nil {
		slog.Debug("a session ended early", "path", r.URL.Path, "err", err)
	}
}

// upgraded reads what the HTTP server had read ahead, then the connection.
type upgraded struct {
	io.WriteCloser
	io.Reader
}
