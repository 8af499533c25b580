package inspect

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// receiver is an honest TCP, as far as what it takes into its stream goes.
type receiver struct {
	lastWins bool // of two versions of a byte that came out of order, it takes the later one
	next     uint32
	waiting  map[uint32]int // a byte, or urgent
	stream   []byte
	urgent   uint32 // bytes that did not go into the stream
	closed   bool
}

const (
	receiveWindow = 1 << 14
	urgent        = -1
)

func (r *receiver) take(k *frame.Key, b []byte) {
	switch {
	case r.closed, k.TCPFlags&frame.TCPSyn != 0, k.TCPFlags&(frame.TCPAck|frame.TCPRst) == 0:
		return
	case k.TCPFlags&frame.TCPRst != 0:
		r.closed = k.Seq == r.next
		return
	}
	for i, c := range b {
		at := k.Seq + uint32(i)
		if d := after(at, r.next); d < 0 || d >= receiveWindow {
			continue
		}
		if _, has := r.waiting[at]; !has || r.lastWins {
			r.waiting[at] = int(c)
			if k.TCPFlags&frame.TCPUrg != 0 && i == len(b)-1 {
				r.waiting[at] = urgent
			}
		}
	}
	for {
		c, has := r.waiting[r.next]
		if !has {
			return
		}
		delete(r.waiting, r.next)
		if c == urgent {
			r.urgent++
		} else {
			r.stream = append(r.stream, byte(c))
		}
		r.next++
	}
}

// attack is a server that sends a virus to an honest client, past an inspector, and does what it likes to be missed.
type attack struct {
	t      *rapid.T
	i      *Inspector
	now    time.Time
	client receiver
	ours   uint32 // the client's own sequence number
	first  uint32 // the sequence number of text
	text   []byte
	silent int // seconds since the last frame
}

// judge is what the inspector says of a frame.
func (a *attack) judge(f *frame.Frame) frame.Verdict {
	a.silent = 0
	return a.i.Judge(a.now, f)
}

// deliver has the server send a segment. lost says that the client does not get it, or finds its checksum wrong.
func (a *attack) deliver(flags uint8, seq uint32, b []byte, lost bool) {
	f := tcp(server, client, flags, seq, a.ours, b)
	if verdict := a.judge(f); verdict > frame.VerdictClean || lost {
		return
	}
	var k frame.Key
	if frame.Parse(f, &k) != frame.ReasonNone {
		a.t.Fatal("a frame that passed is no frame")
	}
	before := a.client.urgent
	a.client.take(&k, payload(f, &k))
	a.first += a.client.urgent - before
	if bytes.Contains(a.client.stream, virus) {
		a.t.Fatalf("the client has it: %q", a.client.stream)
	}
}

// acknowledge has the client say what it has.
func (a *attack) acknowledge() {
	if !a.client.closed {
		a.judge(tcp(client, server, frame.TCPAck, a.ours, a.client.next, nil))
	}
}

// connect has the client begin a conversation, another one of the same ends if there was one. The server chooses its
// number.
func (a *attack) connect(clientISN, serverISN uint32) {
	a.ours = clientISN + 1
	a.judge(tcp(client, server, frame.TCPSyn, clientISN, 0, nil))
	answer := tcp(server, client, frame.TCPSyn|frame.TCPAck, serverISN, a.ours, nil)
	if a.judge(answer) == frame.VerdictPass {
		a.client = receiver{lastWins: a.client.lastWins, next: serverISN + 1, waiting: map[uint32]int{}}
		a.first = serverISN + 1
		a.acknowledge()
	}
}

// piece draws a part of the text near where the client is: as it is, or something else.
func (a *attack) piece(near int) (seq uint32, b []byte) {
	at := rapid.IntRange(max(0, near-20), min(near+40, len(a.text)-1)).Draw(a.t, "at")
	n := rapid.IntRange(1, 30).Draw(a.t, "length")
	b = bytes.Clone(a.text[at:min(at+n, len(a.text))])
	if rapid.IntRange(0, 3).Draw(a.t, "version") == 0 {
		for i := range b {
			b[i] = '.'
		}
	}
	return a.first + uint32(at), b
}

// place is how far the client is in the text.
func (a *attack) place() int { return max(0, min(after(a.client.next, a.first), len(a.text)-1)) }

func (a *attack) trick() {
	near := a.place()
	switch rapid.IntRange(0, 9).Draw(a.t, "trick") {
	case 0:
		a.acknowledge()
	case 1: // no bytes, but what might move the inspector
		flags := rapid.SampledFrom([]uint8{
			frame.TCPSyn, frame.TCPSyn | ackFlag, frame.TCPRst, frame.TCPRst | ackFlag, frame.TCPFin | ackFlag, ackFlag,
		}).Draw(a.t, "flags")
		seq := a.first + uint32(near) + uint32(rapid.IntRange(-3, 3).Draw(a.t, "off"))
		a.deliver(flags, seq, nil, rapid.Bool().Draw(a.t, "lost"))
	case 2:
		pause := rapid.IntRange(1, longTime/4).Draw(a.t, "seconds")
		if a.silent+pause > longTime {
			return // who waits for longer is forgotten, and the page says so
		}
		a.silent += pause
		a.now = a.now.Add(time.Duration(pause) * time.Second)
		for range 4 {
			a.i.table.tick(int64(a.now.Sub(epoch) / time.Second))
		}
	case 3:
		isn := a.first + uint32(rapid.IntRange(-40, 100).Draw(a.t, "isn"))
		a.connect(a.ours+uint32(rapid.IntRange(1, 1<<30).Draw(a.t, "own")), isn)
	case 4:
		_, b := a.piece(near)
		a.deliver(ackFlag|frame.TCPUrg, a.first+uint32(near), append(b, 'u'), false)
	default:
		seq, b := a.piece(near)
		a.deliver(ackFlag, seq, b, rapid.IntRange(0, 3).Draw(a.t, "lost") == 0)
	}
}

// finish sends what the client lacks, piece by piece.
func (a *attack) finish() {
	for range 400 {
		at := a.place()
		if at == len(a.text)-1 || a.client.closed {
			return
		}
		n := rapid.IntRange(1, 12).Draw(a.t, "n")
		a.deliver(ackFlag, a.client.next, a.text[at:min(at+n, len(a.text))], false)
		if rapid.Bool().Draw(a.t, "acks") {
			a.acknowledge()
		}
		if a.place() == at && n == 1 {
			return
		}
	}
}

// TestNoWayPast: whatever a server does with order, overlap, repetition, flags and time, a client never has the whole
// signature.
func TestNoWayPast(t *testing.T) { rapid.Check(t, noWayPast) }

// FuzzNoWayPast is the same, with a fuzzer's sense for what is new.
func FuzzNoWayPast(f *testing.F) { f.Fuzz(rapid.MakeFuzz(noWayPast)) }

func noWayPast(t *rapid.T) {
	config, _ := Load("s.yaml", []byte("anomalies: {flags: pass, after-fin: pass, retransmission: drop}\nsignatures: [{name: x, text: nothing}]"))
	bad := []frame.Verdict{frame.VerdictDrop, frame.VerdictReset, frame.VerdictQuarantine}
	config.signatures[0].verdict = rapid.SampledFrom(bad).Draw(t, "verdict")
	if rapid.Bool().Draw(t, "regex") {
		config.behind = maxBehind // the window keeps a tail
	}
	a := &attack{t: t, i: New(config, epoch), now: epoch, ours: 77, first: 1<<32 - 60}
	a.text = append(append([]byte("abcdefgh"), virus...), "after"...)
	a.client = receiver{lastWins: rapid.Bool().Draw(t, "last wins"), next: a.first, waiting: map[uint32]int{}}
	if rapid.Bool().Draw(t, "from the beginning") {
		a.connect(a.ours-1, a.first-1)
	}
	for range rapid.IntRange(0, 60).Draw(t, "tricks") {
		a.trick()
	}
	a.finish()
	if fault := a.i.inconsistent(); fault != "" {
		t.Fatal(fault)
	}
}

// TestCleanPasses: a stream without a signature arrives, in whatever order its segments come and however often, and is
// not called odd.
func TestCleanPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := New(Default(), epoch)
		text := bytes.Repeat([]byte("clean bytes, X5O! and all. "), 40)
		r := receiver{next: 1<<32 - 500, waiting: map[uint32]int{}}
		first := r.next
		for len(r.stream) < len(text) {
			at := after(r.next, first) + rapid.IntRange(-100, 200).Draw(t, "at")
			if rapid.IntRange(0, 2).Draw(t, "in order") == 0 {
				at = after(r.next, first)
			}
			at = max(0, min(at, len(text)-1))
			b := text[at:min(at+rapid.IntRange(1, 90).Draw(t, "n"), len(text))]
			f := tcp(server, client, ackFlag, first+uint32(at), 1, b)
			if w := i.Judge(epoch, f); w != frame.VerdictPass {
				t.Fatalf("%d bytes at %d: %s", len(b), at, verdictName(w))
			}
			var k frame.Key
			frame.Parse(f, &k)
			if rapid.IntRange(0, 4).Draw(t, "lost") > 0 {
				r.take(&k, b)
			}
			if rapid.IntRange(0, 2).Draw(t, "acks") == 0 {
				if w := i.Judge(epoch, tcp(client, server, ackFlag, 1, r.next, nil)); w != frame.VerdictPass {
					t.Fatalf("an ACK: %s", verdictName(w))
				}
			}
		}
		if !bytes.Equal(r.stream, text) {
			t.Fatal("it arrived as something else")
		}
	})
}
