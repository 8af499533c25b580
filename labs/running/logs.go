package running

import (
	"encoding/json"
	"errors"
	"log"
	"path/filepath"

	"sluice/labs/boundlog"
	"sluice/vswitch"
)

// What is kept of what a lab process says, and of what happens in its lab: more than a class makes of them in a day.
const (
	logBytes    = 1 << 20
	eventsBytes = 256 << 10
)

// logs are the files that a lab process writes for people, in the lab's state folder.
type logs struct {
	own    *boundlog.Log // also standard output and error, where the runtime says why it ends
	events *boundlog.Log // JSON lines
}

// openLogs turns this process's log into its file.
func openLogs(dir string) (*logs, error) {
	own, err := boundlog.Open(filepath.Join(dir, LogFile), logBytes)
	if err != nil {
		return nil, err
	}
	events, err := boundlog.Open(filepath.Join(dir, EventsFile), eventsBytes)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	log.SetOutput(own)
	return &logs{own, events}, nil
}

// keepEvents writes events until there are no more.
func (l *logs) keepEvents(events <-chan vswitch.Event, cancel func()) {
	defer cancel()
	out := json.NewEncoder(l.events)
	for e := range events {
		if e.Logged != nil {
			continue // what a rule logs is frames: as many as guests send
		}
		_ = out.Encode(e) // a full disk is no reason to end a lab
	}
}

// close keeps the process's own log open: there may be more to say.
func (l *logs) close() { l.events.Close() }
