package course

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A machine is short of processor where a sleeper wakes up so late that a deadline of a check may pass meanwhile, or
// where, as the kernel counts (/proc/pressure/cpu, Linux 4.20), somebody has waited for a processor nearly all of the
// time.
const (
	tick      = 10 * time.Millisecond
	tooLate   = 100 * time.Millisecond
	tooShared = 0.9 // of the time
)

// strain measures until end is called, which says how short of processor the machine was; empty where it was not.
func strain() (end func() string) {
	begun, before, counted := time.Now(), time.Duration(0), false
	if before, counted = pressure(); !counted {
		before = 0
	}
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		most := time.Duration(0)
		for {
			slept := time.Now()
			select {
			case <-stop:
				worst <- most
				return
			case <-time.After(tick):
				most = max(most, time.Since(slept)-tick)
			}
		}
	}()
	return func() string {
		close(stop)
		late := <-worst
		after, still := pressure()
		return strained(late, after-before, time.Since(begun), counted && still)
	}
}

// strained says what speaks for a machine that was too busy.
func strained(late, waited, during time.Duration, counted bool) string {
	switch share := waited.Seconds() / during.Seconds(); {
	case late >= tooLate:
		return fmt.Sprintf("a sleeper woke up %d ms late", late.Milliseconds())
	case counted && share >= tooShared:
		return fmt.Sprintf("somebody waited for it %.0f %% of the time", 100*share)
	}
	return ""
}

// pressure is for how long somebody has waited for a processor since the machine booted; not known where the kernel
// does not count it.
func pressure() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0, false
	}
	_, total, found := strings.Cut(string(text), "total=") // of the first line, "some"
	total, _, _ = strings.Cut(total, "\n")
	us, err := strconv.ParseInt(total, 10, 64)
	return time.Duration(us) * time.Microsecond, found && err == nil
}
