package vswitch

import (
	"fmt"
	"sync"
	"time"
)

// Event is something that happened to the switch and that somebody may want to be told.
type Event struct {
	Time time.Time `json:"time"`
	// Kind is port-up, port-down, guest-up, guest-down, guest-silent, guest-answers, placed, place-failed, policy,
	// policy-failed, push, push-failed, appliance, rule or lost.
	Kind   string  `json:"kind"`
	Detail string  `json:"detail"`
	Logged *Logged `json:"logged,omitempty"` // of kind rule
}

// eventRoom is how many events wait for a slow subscriber.
const eventRoom = 64

// events hands events to subscribers. Nobody waits for a subscriber: one that does not keep up loses events, and the
// next one that it gets says how many.
type events struct {
	mu     sync.Mutex
	subs   map[*subscriber]struct{}
	closed bool
}

type subscriber struct {
	ch   chan Event
	lost int
}

func newEvents() *events { return &events{subs: map[*subscriber]struct{}{}} }

// tell hands an event of now to every subscriber.
func (e *events) tell(kind, detail string) {
	e.send(Event{Time: time.Now(), Kind: kind, Detail: detail})
}

// Tell hands an event to whoever listens: labs tell what becomes of their guests.
func (s *Switch) Tell(kind, detail string) { s.events.tell(kind, detail) }

// send hands an event to every subscriber that has room.
func (e *events) send(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subs {
		lost := Event{Time: ev.Time, Kind: "lost", Detail: fmt.Sprintf("%d events, read too slowly", s.lost)}
		if s.lost > 0 && s.put(lost) {
			s.lost = 0
		}
		if s.lost > 0 || !s.put(ev) {
			s.lost++
		}
	}
}

func (s *subscriber) put(ev Event) bool {
	select {
	case s.ch <- ev:
		return true
	default:
		return false
	}
}

func (e *events) subscribe() (<-chan Event, func()) {
	s := &subscriber{ch: make(chan Event, eventRoom)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		close(s.ch)
		return s.ch, func() {}
	}
	e.subs[s] = struct{}{}
	return s.ch, func() { e.drop(s) }
}

func (e *events) drop(s *subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.subs[s]; ok {
		delete(e.subs, s)
		close(s.ch)
	}
}

// close ends every subscription.
func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for s := range e.subs {
		delete(e.subs, s)
		close(s.ch)
	}
}

// Events tells of what happens from now on, until the cancel function is called or the switch is closed; then the
// channel is closed. A reader that does not keep up loses events, and is told how many.
func (s *Switch) Events() (<-chan Event, func()) { return s.events.subscribe() }
