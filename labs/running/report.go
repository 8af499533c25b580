package running

import (
	"encoding/json"
	"errors"
	"io"
	"sync"

	"sluice/firewall/fault"
)

// report is one line that the lab process writes to its parent while it comes up. The last one has Ready or Error.
type report struct {
	Progress string      `json:"progress,omitempty"`
	Ready    bool        `json:"ready,omitempty"`
	Error    string      `json:"error,omitempty"`
	Class    fault.Class `json:"class,omitempty"` // of Error
}

// reporter is the lab process's end; many guests report at once. A parent that has gone is no reason to stop: the
// reports are then lost.
type reporter struct {
	mu sync.Mutex
	to *json.Encoder
}

func newReporter(w io.Writer) *reporter { return &reporter{to: json.NewEncoder(w)} }

func (r *reporter) say(what report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.to.Encode(what)
}

func (r *reporter) progress(what string) { r.say(report{Progress: what}) }

func (r *reporter) ready() { r.say(report{Ready: true}) }

func (r *reporter) failed(err error) { r.say(report{Error: err.Error(), Class: ClassOf(err)}) }

// errDied says that the lab process ended without a last report.
var errDied = errors.New("the lab process ended without a word")

// follow reads reports, tells of progress, and returns when the lab is ready or has failed.
func follow(from io.Reader, progress func(string)) error {
	in := json.NewDecoder(from)
	for {
		var r report
		if err := in.Decode(&r); err != nil {
			return errDied
		}
		switch {
		case r.Ready:
			return nil
		case r.Error != "":
			return &fault.Error{Class: r.Class, Message: r.Error}
		default:
			progress(r.Progress)
		}
	}
}
