package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"sluice/firewall"
)

func muxMessage(version, kind byte, flags uint16, length uint32, payload string) []byte {
	b := []byte{version, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, length)
	return append(b, payload...)
}

// TestGuard says which messages of a guest reach the session.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		ok    bool
	}{
		{"data", muxMessage(0, muxData, 0, 5, "hello"), true},
		{"data that ends a stream", muxMessage(0, muxData, 4, 0, ""), true},
		{"window", muxMessage(0, muxWindow, 2, 1<<31, ""), true},
		{"go away", muxMessage(0, 3, 0, 0, ""), false},
		{"go away, in the middle of a stream's life", muxMessage(0, 3, 1, 1, ""), false},
		{"another version", muxMessage(1, muxData, 0, 0, ""), false},
		{"two", append(muxMessage(0, muxData, 0, 2, "hi"), muxMessage(0, muxWindow, 0, 7, "")...), true},
		{"ping", muxMessage(0, 2, 1, 7, ""), false},
		{"a stream by data", muxMessage(0, muxData, muxSYN, 0, ""), false},
		{"a stream by window", muxMessage(0, muxWindow, muxSYN, 0, ""), false},
		{"unknown", muxMessage(0, 9, 0, 0, ""), false},
		{"too long", muxMessage(0, muxData, 0, maxMuxFrame+1, ""), false},
		{"a ping inside of data is data", muxMessage(0, muxData, 0, 12, string(muxMessage(0, 2, 1, 7, ""))), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := io.ReadAll(newGuard(bytes.NewReader(c.bytes), nil))
			if c.ok && (err != nil || !bytes.Equal(got, c.bytes)) {
				t.Errorf("got %q, %v; want all of %q", got, err, c.bytes)
			}
			if !c.ok && (!errors.Is(err, errForbidden) || len(got) > 0) {
				t.Errorf("got %q, %v; want nothing and that it is forbidden", got, err)
			}
		})
	}
}

// The fuzz targets are everything on the host's side that reads what a guest has written. Each says what may not
// happen, beside a crash.

func FuzzGuard(f *testing.F) {
	f.Add(muxMessage(0, muxData, 0, 5, "hello"))
	f.Add(muxMessage(0, 2, 1, 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := io.ReadAll(newGuard(bytes.NewReader(b), nil))
		if !bytes.HasPrefix(b, got) {
			t.Fatalf("%q became %q", b, got)
		}
		for len(got) >= muxHeader {
			if got[1] == 2 || got[1] == 3 || binary.BigEndian.Uint16(got[2:])&muxSYN != 0 {
				t.Fatalf("%q was let through", got)
			}
			n := muxHeader
			if got[1] == muxData {
				n += int(binary.BigEndian.Uint32(got[8:]))
			}
			got = got[min(n, len(got)):]
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"body":1}` + "\n" + `{"end":true}` + "\n"))
	f.Add([]byte(`{"error":"\u001b[2J"}` + "\n"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		bodies := 0
		err := readReply(bufio.NewReader(bytes.NewReader(b)), "x", func(json.RawMessage) error { bodies++; return nil })
		if bodies > maxBodies {
			t.Fatalf("%d bodies", bodies)
		}
		var said *Error
		if errors.As(err, &said) {
			for _, r := range said.Text {
				if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r <= 0x9f {
					t.Fatalf("%q reaches the terminal", said.Text)
				}
			}
		}
	})
}

func FuzzExec(f *testing.F) {
	var good bytes.Buffer
	writeFrame(&good, frameStdout, []byte("out"))
	writeFrame(&good, frameTaken, be32(1<<31))
	writeFrame(&good, frameExit, be32(3))
	f.Add(good.Bytes())
	f.Add([]byte{byte(frameStdout), 0xff, 0xff, 0xff, 0xff, 'x'}) // longer than any buffer
	f.Add([]byte{byte(frameTypes), 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		up := &upstream{w: io.Discard, done: make(chan struct{}), taken: make(chan struct{}, 1), credit: stdinWindow}
		var out bytes.Buffer
		code, err := readExec(bytes.NewReader(b), Command{Stdout: &out, Stderr: &out}, up.addCredit)
		if code < 0 || code > 255 || err != nil && code != 0 {
			t.Fatalf("code %d, %v", code, err)
		}
		if out.Len() > len(b) || up.credit < 0 || up.credit > stdinWindow {
			t.Fatalf("%d bytes out of %d, credit %d", out.Len(), len(b), up.credit)
		}
	})
}

func FuzzFlows(f *testing.F) {
	f.Add(packFlows([]firewall.FlowRecord{{Proto: 6, State: "established"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		flows, err := unpackFlows(b)
		if err != nil {
			return
		}
		again, err := unpackFlows(packFlows(flows))
		if err != nil || len(again) != len(flows) {
			t.Fatalf("%d flows became %d, %v", len(flows), len(again), err)
		}
		for i := range flows {
			if flows[i] != again[i] {
				t.Fatalf("%+v became %+v", flows[i], again[i])
			}
		}
	})
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte("\nsluice-ready 1 abc\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		greetings(bufio.NewReader(bytes.NewReader(b)), maxStale, func(word string, version int, nonce string) (bool, error) {
			if !bytes.Contains(b, []byte(nonce)) {
				t.Fatalf("%q is not in %q", nonce, b)
			}
			return false, nil
		})
	})
}
