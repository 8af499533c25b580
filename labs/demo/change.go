package demo

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/firewall"
	"sluice/labs/bench/stream"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// Change is a change of placement under running streams, as the switch and as the guests saw it.
type Change struct {
	Receipt  vswitch.Receipt `json:"receipt"`
	Stream   stream.Result   `json:"stream"`
	Download Download        `json:"download"`
}

// Download is what became of an HTTP download that ran through the change.
type Download struct {
	Lines int  `json:"lines"` // that came
	Whole bool `json:"whole"` // none was missing, and they went on to come after the change
}

const (
	streamPort   = 5201 // UDP, which the policy allows
	streamRate   = 2000 // frames a second
	streamFrames = 6000
	patience     = 10 * time.Second // for a line of the download after the change
)

// change moves the firewall while the client sends numbered frames and downloads from the server. Each stream has begun
// to arrive before the change, and ends after it.
func (d *demo) change(ctx context.Context, to firewall.Placement) (c Change, err error) {
	d.note("to %s, while numbered frames and a download run", to)
	numbered, err := d.startStream(ctx)
	if err != nil {
		return c, err
	}
	download, err := d.startDownload(ctx)
	if err != nil {
		return c, err
	}
	if c.Receipt, err = d.lab.Place(ctx, to, vswitch.PlaceOptions{Handover: vswitch.Carry}); err != nil {
		return c, err
	}
	c.Stream, err = numbered()
	c.Download = download()
	return c, err
}

// startStream begins the numbered frames, and returns once the first ones must have arrived. What it returns waits for
// the end and says what became of them.
func (d *demo) startStream(ctx context.Context) (wait func() (stream.Result, error), err error) {
	ours, theirs := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		code, err := d.lab.Exec(ctx, "server", control.ExecRequest{Argv: []string{"sluice", "stream", "receive", strconv.Itoa(streamPort)}},
			control.Streams{Stdin: strings.NewReader(""), Stdout: theirs, Stderr: io.Discard})
		theirs.CloseWithError(io.EOF)
		if err == nil && code != 0 {
			err = fmt.Errorf("the receiver of numbered frames ended with %d", code)
		}
		failed <- err
	}()
	lines := bufio.NewScanner(ours)
	if !lines.Scan() || lines.Text() != stream.Ready {
		return nil, errors.Join(errors.New("the receiver of numbered frames did not start"), <-failed)
	}
	go func() {
		_, _, err := d.must(ctx, "client", "sluice", "stream", "send", "--rate", strconv.Itoa(streamRate),
			"--count", strconv.Itoa(streamFrames), net.JoinHostPort(d.server[0], strconv.Itoa(streamPort)))
		failed <- err
	}()
	return func() (r stream.Result, err error) {
		if lines.Scan() {
			err = json.Unmarshal(lines.Bytes(), &r)
		}
		return r, errors.Join(err, <-failed, <-failed)
	}, nil
}

// startDownload begins a slow HTTP download, and returns once its first line is here. What it returns ends it, and says
// how many numbered lines came and whether one was missing or the download had ended early.
func (d *demo) startDownload(ctx context.Context) (stop func() Download, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ours, theirs := io.Pipe()
	go func() {
		_, err := d.lab.Exec(ctx, "client", control.ExecRequest{Argv: []string{"wget", "-qO-", "http://" + d.server[0] + "/slow"}},
			control.Streams{Stdin: strings.NewReader(""), Stdout: theirs, Stderr: io.Discard})
		theirs.CloseWithError(cmp.Or(err, io.EOF))
	}()
	lines := bufio.NewScanner(ours)
	if !lines.Scan() {
		cancel()
		return nil, fmt.Errorf("the download did not start: %w", cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
	}
	var asked atomic.Bool
	result := make(chan Download, 1)
	go func() {
		r := Download{Lines: 1, Whole: true}
		for lines.Scan() {
			r.Lines++
			r.Whole = r.Whole && strings.HasPrefix(lines.Text(), fmt.Sprintf("line %d of ", r.Lines))
			if asked.Load() {
				break
			}
		}
		r.Whole = r.Whole && asked.Load()
		cancel()
		ours.Close()
		result <- r
	}()
	return func() Download {
		asked.Store(true) // one more line must come: the download has outlived the change
		select {
		case r := <-result:
			return r
		case <-time.After(patience):
			cancel()
			r := <-result
			r.Whole = false
			return r
		}
	}, nil
}
