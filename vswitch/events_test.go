package vswitch

import "testing"

// TestEventsLost says that a slow reader loses events and is told, and that nobody waits for it.
func TestEventsLost(t *testing.T) {
	e := newEvents()
	ch, stop := e.subscribe()
	for range eventRoom + 10 {
		e.tell("placed", "")
	}
	for range eventRoom {
		<-ch
	}
	e.tell("placed", "after")
	if ev := <-ch; ev.Kind != "lost" || ev.Detail != "10 events, read too slowly" {
		t.Errorf("told %+v", ev)
	}
	if ev := <-ch; ev.Detail != "after" {
		t.Errorf("told %+v", ev)
	}
	stop()
	if _, open := <-ch; open {
		t.Error("the channel is open after the end")
	}
}
