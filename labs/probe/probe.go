// Package probe is what a lab's check tries from inside a guest: real connections, datagrams and pings, each with a
// deadline. It says what the guest's kernel was told, and no more: whether that was right, and who answered, is the
// business of labs/check.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxTargets is how many targets one call tries at once.
const maxTargets = 256

// Target is what is tried. It is written as tcp/10.10.2.10/80, or icmp/10.10.2.10.
type Target struct {
	Proto string // tcp, udp or icmp
	Addr  netip.Addr
	Port  uint16 // 0 for icmp
}

func (t Target) String() string {
	if t.Proto == "icmp" {
		return t.Proto + "/" + t.Addr.String()
	}
	return fmt.Sprintf("%s/%s/%d", t.Proto, t.Addr, t.Port)
}

// ParseTarget reads a target.
func ParseTarget(s string) (t Target, err error) {
	words := strings.Split(s, "/")
	t.Proto = words[0]
	ports := map[string]int{"tcp": 1, "udp": 1, "icmp": 0}
	n, known := ports[t.Proto]
	if !known || len(words) != 2+n {
		return t, fmt.Errorf("target %q is not like tcp/10.10.2.10/80 or icmp/10.10.2.10", s)
	}
	if t.Addr, err = netip.ParseAddr(words[1]); err != nil {
		return t, fmt.Errorf("target %q: %w", s, err)
	}
	if n > 0 {
		port, err := strconv.ParseUint(words[2], 10, 16)
		if err != nil || port == 0 {
			return t, fmt.Errorf("target %q: no port %q", s, words[2])
		}
		t.Port = uint16(port)
	}
	return t, nil
}

// Outcome is what the guest's kernel was told.
type Outcome string

// The outcomes.
const (
	Answered    Outcome = "answered"    // a connection, a datagram or an echo came back
	Refused     Outcome = "refused"     // a TCP reset, or ICMP port unreachable
	Prohibited  Outcome = "prohibited"  // ICMP administratively prohibited
	Unreachable Outcome = "unreachable" // another ICMP unreachable
	Silent      Outcome = "silent"      // nothing in time
	Broken      Outcome = "broken"      // the guest could not try
)

// Result is what became of one target.
type Result struct {
	Target  string  `json:"target"`
	Outcome Outcome `json:"outcome"`
	MS      float64 `json:"ms"`
	Error   string  `json:"error,omitempty"`
}

// Try tries every target at once; each has until the deadline. The results are in the order of the targets.
func Try(ctx context.Context, targets []Target, within time.Duration) []Result {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out := make([]Result, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			begun := time.Now()
			err := t.try(ctx)
			out[i] = Result{Target: t.String(), Outcome: outcomeOf(err), MS: float64(time.Since(begun).Microseconds()) / 1000}
			if err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	all.Wait()
	return out
}

func (t Target) try(ctx context.Context) error {
	switch t.Proto {
	case "tcp":
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", netip.AddrPortFrom(t.Addr, t.Port).String())
		if err != nil {
			return err
		}
		return c.Close()
	case "udp":
		return t.datagram(ctx)
	}
	return ping(ctx, t.Addr)
}

// datagram sends one, and waits for any answer to it.
func (t Target) datagram(ctx context.Context) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(t.Addr, t.Port).String())
	if err != nil {
		return err
	}
	defer c.Close()
	if late, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(late); err != nil {
			return err
		}
	}
	if _, err := c.Write([]byte("sluice\n")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64))
	return err
}

// outcomeOf is what an error of the kernel's means. The kernel tells a connected datagram socket only of hard errors,
// among them what a firewall prohibits (RFC 1812 5.2.7.1), which is EHOSTUNREACH for IPv4 and EACCES for IPv6.
func outcomeOf(err error) Outcome {
	is := func(all ...error) bool {
		return slices.ContainsFunc(all, func(e error) bool { return errors.Is(err, e) })
	}
	switch {
	case err == nil:
		return Answered
	case is(syscall.ECONNREFUSED, syscall.ECONNRESET):
		return Refused
	case is(syscall.EHOSTUNREACH, syscall.EACCES, errProhibited):
		return Prohibited
	case is(syscall.ENETUNREACH, errUnreachable):
		return Unreachable
	case is(os.ErrDeadlineExceeded, context.DeadlineExceeded, syscall.ETIMEDOUT):
		return Silent
	}
	return Broken
}
