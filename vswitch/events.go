package vswitch

import (
	"sync"
	"time"
)

// Event is something that happened to the switch and that somebody may want to be told.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"` // port-up, port-down, placed, place-failed, policy, policy-failed, lost
	Detail string    `json:"detail"`
}

// eventRoom is how many events wait for a slow subscriber.
const eventRoom = 64

// events hands events to subscribers. Nobody waits for a subscriber: one that does not keep up loses events, and the
// next one that it gets says how many.
type events struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

type subscriber struct {
	ch   chan Event
	lost int
}
