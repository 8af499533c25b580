package course

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sluice/firewall"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/labs/probe"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// maxOutput bounds what is kept of a command's output, in bytes of each stream.
const maxOutput = 256 << 10

// live is a running lab as checks meet it: its control API, and commands in its guests.
type live struct {
	*control.Client
	lab *labfile.Lab
}

var _ check.Lab = (*live)(nil)

func (v *live) Exec(ctx context.Context, guest string, argv []string) (check.Output, error) {
	var out, errs limited
	code, err := v.Client.Exec(ctx, guest, control.ExecRequest{Argv: argv},
		control.Streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	return check.Output{Stdout: out.String(), Stderr: errs.String(), Code: code}, err
}

// patience is how much longer than its deadline an attempt in a guest may take: a QEMU guest has to start a program.
const patience = 20 * time.Second

// Probe runs this same program in the guest.
func (v *live) Probe(ctx context.Context, guest string, targets []probe.Target, within time.Duration) (res []probe.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, within+patience)
	defer cancel()
	out, err := v.Exec(ctx, guest, probe.Argv(targets, within))
	if err != nil {
		return nil, err
	}
	if out.Code != 0 {
		return nil, fmt.Errorf("the attempt in %s ended with %d: %s", guest, out.Code, strings.TrimSpace(out.Stderr))
	}
	if err := json.Unmarshal([]byte(out.Stdout), &res); err != nil {
		return nil, fmt.Errorf("read the attempt in %s: %w", guest, err)
	}
	return res, nil
}

// Download runs this same program in the guest.
func (v *live) Download(ctx context.Context, guest string, from probe.Target, during time.Duration) (d probe.Download, err error) {
	ctx, cancel := context.WithTimeout(ctx, during+patience)
	defer cancel()
	out, err := v.Exec(ctx, guest, probe.DownloadArgv(from, during))
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("the download in %s ended with %d: %s", guest, out.Code, strings.TrimSpace(out.Stderr))
	}
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(out.Stdout), &d); err != nil {
		return d, fmt.Errorf("read the download in %s: %w", guest, err)
	}
	return d, nil
}

func (v *live) InForce(ctx context.Context) (*firewall.Policy, error) {
	p, err := v.Client.Policy(ctx)
	if err != nil {
		return nil, err
	}
	return firewall.Load(p.File, []byte(p.Source), v.lab.Inventory())
}

func (v *live) Placement(ctx context.Context) (firewall.Placement, []vswitch.Receipt, error) {
	info, err := v.Client.Placement(ctx)
	return info.Placement, info.History, err
}

// limited keeps the beginning of what is written to it, and takes the rest for written.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, maxOutput-l.Len()))])
	return len(p), nil
}
