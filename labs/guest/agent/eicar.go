package agent

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/firewall/inspect"
)

// serveEICAR has the web server serve the EICAR test file, too, for a firewall that looks into what it lets through: at
// once, in pieces, and behind something harmless. Each says its length, for else HTTP would put the length of each
// piece into the file (chunked).
func serveEICAR(mux *http.ServeMux) {
	file := inspect.EICAR()
	mux.HandleFunc("GET /eicar", func(w http.ResponseWriter, r *http.Request) { writePieces(w, r, file) })
	mux.HandleFunc("GET /eicar/split", func(w http.ResponseWriter, r *http.Request) {
		writePieces(w, r, file[:10], file[10:40], file[40:])
	})
	mux.HandleFunc("GET /eicar/behind/{kib}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("kib"))
		if err != nil || n < 0 || n > mostBehind {
			http.Error(w, "/eicar/behind/N: N is how many KiB stand before it, up to "+strconv.Itoa(mostBehind), http.StatusBadRequest)
			return
		}
		writePieces(w, r, make([]byte, n<<10), file)
	})
}

const (
	mostBehind = 1 << 10               // KiB
	pieceEvery = 20 * time.Millisecond // so that no stack joins two pieces
	pieceWait  = 10 * time.Second      // at most, for a piece to arrive
)

// writePieces sends each piece in segments of its own: the next one begins when the last has arrived. Bytes that still
// wait for a window when more are written would share a segment with these.
func writePieces(w http.ResponseWriter, r *http.Request, pieces ...[]byte) {
	length := 0
	for _, p := range pieces {
		length += len(p)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	for i, p := range pieces {
		if i > 0 {
			untilArrived(r.Context())
			time.Sleep(pieceEvery)
		}
		if _, err := w.Write(p); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// connKey is where a request's context has the connection by which it came.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// untilArrived waits until the other end has acknowledged all that was sent.
func untilArrived(ctx context.Context) {
	c, ok := ctx.Value(connKey{}).(syscall.Conn)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pieceWait)
	defer cancel()
	for ctx.Err() == nil && unacknowledged(c) > 0 {
		time.Sleep(time.Millisecond)
	}
}

// unacknowledged is how many bytes a TCP connection has sent, or has still to send, that the other end has not
// acknowledged.
func unacknowledged(c syscall.Conn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err != nil {
		return 0
	}
	return n
}
