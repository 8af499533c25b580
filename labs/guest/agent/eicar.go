package agent

import (
	"net/http"
	"strconv"
	"time"

	"sluice/firewall/inspect"
)

// The web server also has the EICAR test file, for a firewall that looks into what it lets through: at once, in pieces, and behind
// something harmless. Each says its length, for else HTTP would put the length of each piece into the file (chunked).
func serveEICAR(mux *http.ServeMux) {
	file := inspect.EICAR()
	mux.HandleFunc("GET /eicar", func(w http.ResponseWriter, _ *http.Request) { writePieces(w, file) })
	mux.HandleFunc("GET /eicar/split", func(w http.ResponseWriter, _ *http.Request) {
		writePieces(w, file[:10], file[10:40], file[40:])
	})
	mux.HandleFunc("GET /eicar/behind/{kib}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("kib"))
		if err != nil || n < 0 || n > mostBehind {
			http.Error(w, "/eicar/behind/N: N is how many KiB stand before it, up to "+strconv.Itoa(mostBehind), http.StatusBadRequest)
			return
		}
		writePieces(w, make([]byte, n<<10), file)
	})
}

const (
	mostBehind = 1 << 10               // KiB
	pieceEvery = 20 * time.Millisecond // so that no stack joins two pieces
)

// writePieces sends each piece in segments of its own.
func writePieces(w http.ResponseWriter, pieces ...[]byte) {
	length := 0
	for _, p := range pieces {
		length += len(p)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(pieceEvery)
		}
		if _, err := w.Write(p); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}
