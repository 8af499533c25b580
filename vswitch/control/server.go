package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sluice/firewall/fault"
	"sluice/vswitch"
)

// Server serves one lab's API.
type Server struct {
	sw       *vswitch.Switch
	lab      Lab
	mux      *http.ServeMux
	http     *http.Server
	limits   limits
	sessions chan struct{}   // one for each that runs
	ending   context.Context // done once the server closes; streams end by it
	end      context.CancelFunc
}

// NewServer makes the server of a lab; Serve starts it.
func NewServer(sw *vswitch.Switch, lab Lab) *Server { return newServer(sw, lab, usualLimits) }

func newServer(sw *vswitch.Switch, lab Lab, l limits) *Server {
	s := &Server{sw: sw, lab: lab, mux: http.NewServeMux(), sessions: make(chan struct{}, maxSessions), limits: l}
	s.ending, s.end = context.WithCancel(context.Background())
	s.routes()
	s.http = &http.Server{
		Handler:           s.guard(s.mux),
		ConnContext:       withPeer,
		ReadHeaderTimeout: l.header,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s
}

// Listen makes the socket control.sock in dir, which becomes a folder that only its owner may enter. A socket that a
// dead process left is replaced; one that is answered is an error.
func Listen(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close the state folder to others: %w", err)
	}
	path := filepath.Join(dir, SocketName)
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fault.Errorf(fault.BadInput, "lab %s already runs", filepath.Base(dir))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket that a dead lab left: %w", err)
	}
	// The folder keeps others out until the mode is set.
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close the control socket to others: %w", err)
	}
	return l, nil
}

// Serve answers on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control API: %w", err)
	}
	return nil
}

// Shutdown stops listening, removes the socket, ends streams and sessions, and waits for other requests until ctx is
// done; then it cuts them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

type peerKey struct{}

// withPeer notes who is at the other end of a connection, as the kernel says (SO_PEERCRED in unix(7)).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			ctx = context.WithValue(ctx, peerKey{}, cred.Uid)
		}
	})
	return ctx
}

// guard lets the owner and root in, and nobody who cannot be told.
func (s *Server) guard(next http.Handler) http.Handler {
	owner := uint32(os.Geteuid())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, known := r.Context().Value(peerKey{}).(uint32)
		if !known || uid != owner && uid != 0 {
			err := fault.Errorf(fault.BadInput, "this lab belongs to user %d: only they and root may use it", owner)
			writeProblem(w, http.StatusForbidden, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
