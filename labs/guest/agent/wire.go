package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// request is the line of JSON that begins a stream, which is one call. Then come lines of JSON with the reply (each a
// message, the last one an end), or exec's frames.
type request struct {
	Call string          `json:"call"`
	Body json.RawMessage `json:"body,omitempty"`
}

// reply is one line of an answer. A call whose answer is long sends several with Body and then one with End.
type reply struct {
	Body        json.RawMessage `json:"body,omitempty"`
	Error       string          `json:"error,omitempty"`       // the call failed; implies End
	Unsupported bool            `json:"unsupported,omitempty"` // beside Error: the guest's kernel lacks something
	End         bool            `json:"end,omitempty"`
}

const (
	maxMessage = 1 << 20  // bytes of one line
	maxBodies  = 4096     // lines of one reply
	maxError   = 16 << 10 // bytes of an error's text
)

var errTooLong = errors.New("message too long")

// sessionConfig keeps the session as still as it is safe: a paused guest answers no keep-alive, and is no broken line.
func sessionConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 5 * time.Second
	c.AcceptBacklog = 64
	c.ConnectionWriteTimeout = 10 * time.Second
	c.LogOutput = io.Discard
	return c
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= maxMessage {
		return errTooLong
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// readLine reads one message of at most maxMessage bytes.
func readLine(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxMessage {
			return errTooLong
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(line, v)
	}
}

// frameType tells the frames of exec apart. A frame is type (1 byte), length (4 bytes, big-endian), payload.
type frameType byte

const (
	frameStdin  frameType = iota // to the guest; empty means end of file
	frameStdout                  // from the guest
	frameStderr                  // from the guest
	frameResize                  // to the guest: rows, columns, 2 bytes each
	frameTaken                   // from the guest: 4 bytes, how much of stdin the command has taken since the last
	frameExit                    // from the guest, the last: 4 bytes of exit code
	frameFailed                  // from the guest, the last: why nothing was run
	frameSignal                  // to the guest: a name of signals, for the command's process group
	frameTypes
)

const (
	maxFrame    = 32 << 10  // bytes of payload
	stdinWindow = 256 << 10 // bytes of stdin on the way that the command has not taken
)

func writeFrame(w io.Writer, t frameType, payload []byte) error {
	b := make([]byte, 5+len(payload))
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	copy(b[5:], payload)
	_, err := w.Write(b)
	return err
}

// readFrame reads into buf, which must hold maxFrame bytes; the payload is valid until the next call with it.
func readFrame(r io.Reader, buf []byte) (frameType, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	t, n := frameType(head[0]), binary.BigEndian.Uint32(head[1:])
	if t >= frameTypes || n > maxFrame {
		return 0, nil, fmt.Errorf("frame of type %d and %d bytes: %w", t, n, errTooLong)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, fmt.Errorf("frame cut short: %w", io.ErrUnexpectedEOF)
	}
	return t, buf[:n], nil
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
