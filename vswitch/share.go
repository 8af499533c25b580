package vswitch

import (
	"time"

	"sluice/vnic/frame"
)

// Share is what the fast share is made of: of what guests have sent since the placement was changed last, how much the
// engine alone has handled, and what the two sides have used of the processor meanwhile. A frame is counted once, as
// the guest sent it, in however many pieces it went to the appliance, and whether or not it came back. Frames that the
// switch or the appliance makes, probes among them, are nobody's.
type Share struct {
	Frames    uint64  `json:"frames" doc:"That guests sent"`
	Bytes     uint64  `json:"bytes"`
	Slow      uint64  `json:"slow_frames" doc:"Of these, what was sent to the appliance"`
	SlowBytes uint64  `json:"slow_bytes"`
	Unasked   uint64  `json:"unasked_frames" doc:"Of the frames, what passed the appliance by, unasked, because it had failed"`
	FastCPU   float64 `json:"fast_cpu_s" doc:"Seconds of CPU of the switch's process"`
	SlowCPU   float64 `json:"slow_cpu_s" doc:"Seconds of CPU of the appliance"`
	// SharedKernel says that the figures for CPU blur: the kernel's work for the appliance is charged to whose frame it
	// was, mostly the switch's process.
	SharedKernel bool `json:"shared_kernel" doc:"The appliance has no kernel of its own: what the host's does for it is in fast_cpu_s"`
}

// Usage is what the two sides have used of the processor so far.
type Usage struct {
	Fast, Slow   time.Duration
	SharedKernel bool // the appliance has no kernel of its own
}

// SetMeter says what knows the use of the processor. It is asked now and then, by any goroutine.
func (s *Switch) SetMeter(m func() Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meter = m
}

// usage asks the meter, where there is one. The caller does not have the mutex: the meter may take its time.
func (s *Switch) usage() Usage {
	s.mu.Lock()
	m := s.meter
	s.mu.Unlock()
	if m == nil {
		return Usage{}
	}
	return m()
}

// share counts from the beginning. The caller has the mutex.
func (s *Switch) share(u Usage) Share {
	n := Share{FastCPU: u.Fast.Seconds(), SlowCPU: u.Slow.Seconds(), SharedKernel: u.SharedKernel}
	for id, p := range s.ports {
		if p.ID == 0 || p.Service {
			continue
		}
		c, _ := s.engine.Counters(frame.PortID(id))
		n.Frames += c.In
		n.Bytes += c.InBytes
		n.Slow += c.Slow
		n.SlowBytes += c.SlowBytes
		n.Unasked += c.Unasked
	}
	return n
}

// unasked counts the frames that have passed a failed appliance by, from the beginning. The caller has the mutex.
func (s *Switch) unasked() (n uint64) {
	for id, p := range s.ports {
		if p.ID != 0 && !p.Service {
			c, _ := s.engine.Counters(frame.PortID(id))
			n += c.Unasked
		}
	}
	return n
}

// since is what has been added to an earlier share. A port that was removed has taken its counts with it.
func (n Share) since(old Share) Share {
	n.Frames -= min(n.Frames, old.Frames)
	n.Bytes -= min(n.Bytes, old.Bytes)
	n.Slow -= min(n.Slow, old.Slow)
	n.SlowBytes -= min(n.SlowBytes, old.SlowBytes)
	n.Unasked -= min(n.Unasked, old.Unasked)
	n.FastCPU -= min(n.FastCPU, old.FastCPU)
	n.SlowCPU -= min(n.SlowCPU, old.SlowCPU)
	return n
}

// fast is the share of the frames that did not go to the appliance: all of them where there are none.
func (n Share) fast() float64 {
	if n.Frames == 0 {
		return 1
	}
	return max(0, 1-float64(n.Slow)/float64(n.Frames))
}
