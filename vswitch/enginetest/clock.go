package enginetest

import (
	"sync"
	"testing"
	"time"
)

// clock is what time it is for a switch: monotonic ns. It goes with the machine's clock, but by no more than a stride
// from one look at it to the next. So a machine that gave the test no processor for a while makes nobody late: for the
// switch that was hardly any time.
type clock struct {
	mu     sync.Mutex
	shown  int64
	looked time.Time // when it was looked at last
	held   bool
}

const (
	stride   = 5 * time.Millisecond
	lookEach = time.Millisecond // while nobody else does
)

// newClock makes a clock that runs until the test ends.
func newClock(t testing.TB) *clock {
	c := &clock{looked: time.Now()}
	tick, stop := time.NewTicker(lookEach), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-tick.C:
				c.now()
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { tick.Stop(); close(stop); running.Wait() })
	return c
}

func (c *clock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look()
}

// look lets the time pass since the last look. The caller has the mutex.
func (c *clock) look() int64 {
	now := time.Now()
	if !c.held {
		c.shown += int64(min(now.Sub(c.looked), stride))
	}
	c.looked = now
	return c.shown
}

// skip lets some time pass at once.
func (c *clock) skip(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown += int64(d)
}

// hold stops the clock until the caller lets it run again, from where it stood.
func (c *clock) hold() (run func()) {
	set := func(held bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.look()
		c.held = held
	}
	set(true)
	return func() { set(false) }
}
