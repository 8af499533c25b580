package bench

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Ask is one trial: frames of a shape, from the first guest to the second.
type Ask struct {
	Shape   Shape         `json:"shape"`
	Rate    float64       `json:"rate"` // frames/s offered; 0 is as many as the sender can
	For     time.Duration `json:"for"`
	Latency bool          `json:"latency"` // keep the way's duration of every frame
}

// Trial is what came of it. A frame that came twice, or not as it was sent, is no frame received.
type Trial struct {
	Sent       uint64  `json:"sent"`
	Received   uint64  `json:"received"`
	Duplicated uint64  `json:"duplicated"`
	Damaged    uint64  `json:"damaged"`   // not as long as it was sent; so is a GSO frame that did not arrive whole
	Resized    uint64  `json:"resized"`   // received, but a GSO frame's segment size is not what the sender asked for
	Reordered  uint64  `json:"reordered"` // came after a frame that was sent later
	Offered    float64 `json:"offered"`   // frames/s really sent
	Rate       float64 `json:"rate"`      // frames/s received, from the first sent to the last received
	Seconds    float64 `json:"seconds"`   // from the first sent to the last received
	CPU        float64 `json:"cpu"`       // seconds of CPU of the player itself
	P50        float64 `json:"p50_us"`    // latency, if asked for
	P99        float64 `json:"p99_us"`
	Max        float64 `json:"max_us"`
}

// Loss is the share of the frames that did not arrive.
func (t Trial) Loss() float64 {
	if t.Sent == 0 {
		return 1
	}
	return 1 - float64(t.Received)/float64(t.Sent)
}

// Sound says what is wrong with how frames arrived; nil where they arrived once and as they were sent.
func (t Trial) Sound() error {
	if t.Duplicated+t.Damaged+t.Resized > 0 {
		return fmt.Errorf("of %d frames %d came twice, %d damaged, %d with another gso_size",
			t.Sent, t.Duplicated, t.Damaged, t.Resized)
	}
	return nil
}

const (
	// late is how far the sender may catch up when it was not scheduled. What is older is not sent, and the offered
	// rate says so: a wire would not send it in one rush either.
	late = time.Millisecond
	// nap is the shortest sleep: below it the time to sleep is mostly the time to wake up.
	nap = 20 * time.Microsecond
	// moderation is how long a receiver that found nothing waits: 100 frames at 1,000,000 a second, a fifth of a TAP's
	// queue.
	moderation = 100 * time.Microsecond
	// quiet is how long after the last frame the receiver gives up on the rest.
	quiet = 200 * time.Millisecond
	// seqLimit bounds the sequence numbers of one trial.
	seqLimit = 1 << 25
)

// trial is one run of sender and receiver, each on a thread of its own.
type trial struct {
	Ask
	run      uint16
	epoch    time.Time // of the stamps
	from, to *end
	sent     atomic.Uint64
	done     atomic.Bool
	first    time.Duration // when the sender began
	sending  time.Duration // how long it sent
	result   Trial
	highest  uint32   // sequence number received
	seen     []uint64 // a bit for each sequence number
	ways     *hdrhistogram.Histogram
}

func newTrial(a Ask, run uint16, from, to *end) *trial {
	return &trial{Ask: a, run: run, epoch: time.Now(), from: from, to: to,
		seen: make([]uint64, seqLimit/64), ways: hdrhistogram.New(1, int64(10*time.Second), 3)}
}

// play runs the trial to its end.
func (t *trial) play() (Trial, error) {
	before := ownCPU()
	errs := make(chan error, 2)
	go func() { errs <- onOwnThread(t.receive) }()
	go func() {
		err := onOwnThread(t.send)
		t.done.Store(true)
		errs <- err
	}()
	for range 2 {
		if err := <-errs; err != nil {
			return Trial{}, err
		}
	}
	r := t.result
	r.Sent = t.sent.Load()
	r.Offered = float64(r.Sent) / t.sending.Seconds()
	if r.Seconds > 0 {
		r.Rate = float64(r.Received) / r.Seconds
	}
	r.CPU = (ownCPU() - before).Seconds()
	us := func(q float64) float64 { return float64(t.ways.ValueAtQuantile(q)) / 1e3 }
	r.P50, r.P99, r.Max = us(50), us(99), us(100)
	return r, nil
}

func onOwnThread(fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The kernel rounds sleeps up by 50 us unless told otherwise (prctl(2), PR_SET_TIMERSLACK).
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	return fn()
}

func (t *trial) send() error {
	frames := make([][]byte, burst)
	for i := range frames {
		frames[i] = t.Shape.data()
	}
	off := t.Shape.stampOff()
	start := time.Since(t.epoch)
	t.first = start
	var given float64 // frames that were due and are dealt with: sent, or too late
	var seq uint32
	now := start
	for ; now < start+t.For && seq < seqLimit-burst; now = time.Since(t.epoch) {
		n := burst
		if t.Rate > 0 {
			due := t.Rate*(now-start).Seconds() - given
			if over := due - max(1, t.Rate*late.Seconds()); over > 0 {
				given, due = given+over, due-over
			}
			if due < 1 {
				sleep(time.Duration((1 - due) / t.Rate * float64(time.Second)))
				continue
			}
			n = min(n, int(due))
		}
		for i := range n {
			stamp(frames[i][off:], t.run, seq+uint32(i), int64(now))
		}
		taken, err := t.from.send(frames[:n])
		if err != nil {
			return err
		}
		given += float64(n)
		seq += uint32(taken)
	}
	t.sending = now - start
	t.sent.Store(uint64(seq))
	return nil
}

func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(max(d, nap)))
	_ = unix.Nanosleep(&ts, nil) // woken early is as good
}

func (t *trial) receive() error {
	into, got := buffers(t.Shape.Size), make([][]byte, burst)
	last := time.Duration(0)
	for {
		done := t.done.Load() // before looking: what was sent before it is seen below
		n, err := t.to.receive(into, got)
		if err != nil {
			return err
		}
		if n > 0 {
			last = time.Since(t.epoch)
			for _, f := range got[:n] {
				t.check(f, last)
			}
			continue
		}
		if done && (t.result.Received >= t.sent.Load() || time.Since(t.epoch)-max(last, t.first+t.sending) > quiet) {
			t.result.Seconds = (last - t.first).Seconds()
			return nil
		}
		if err := t.pause(); err != nil {
			return err
		}
	}
}

// pause waits for more frames. Where latency is measured the next frame wakes the receiver. Elsewhere it looks again
// after a while, as a card with interrupt moderation would: else a receiver that is faster than its sender makes every
// frame pay for a wake-up, and that, not the switch, is what would be measured.
func (t *trial) pause() error {
	if t.Latency {
		return t.to.wait(10)
	}
	sleep(moderation)
	return nil
}

// check counts one frame. What carries no stamp of this trial is somebody else's (ARP, an answer) and does not count.
func (t *trial) check(f []byte, now time.Duration) {
	off := t.Shape.stampOff()
	if len(f) < off {
		return
	}
	seq, sent, ok := readStamp(f[off:], t.run)
	switch {
	case !ok:
		return
	case len(f)-vnetLen != t.Shape.Size || seq >= seqLimit:
		t.result.Damaged++
		return
	}
	word, bit := seq/64, uint64(1)<<(seq%64)
	if t.seen[word]&bit != 0 {
		t.result.Duplicated++
		return
	}
	t.seen[word] |= bit
	if seq < t.highest {
		t.result.Reordered++
	}
	t.highest = max(t.highest, seq)
	t.result.Received++
	if !t.Shape.kept(f) {
		t.result.Resized++
	}
	if t.Latency {
		_ = t.ways.RecordValue(int64(now) - sent) // out of range is over ten seconds: it is lost by then
	}
}

// ownCPU is the time this process has run.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
