package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// tcp measures one TCP stream between the guests' kernels, through the switch, with iperf3 as anybody would.
func (m *meter) tcp(ctx context.Context) error {
	if err := m.address(); err != nil {
		return err
	}
	server := exec.Command("iperf3", "-s", "-1", "-p", strconv.Itoa(guestPort), "--forceflush")
	var said tail
	server.Stdout = &said
	p, err := m.far[1].spawn(server)
	if err != nil {
		return err
	}
	defer p.stop()
	err = p.until(ctx, "wait for iperf3's server", func() bool { return strings.Contains(said.String(), "listening") })
	if err != nil {
		return err
	}
	var r iperfResult
	cost, err := m.spending(func() error {
		out, err := m.far[0].run(ctx, nil, "iperf3", "-c", guestIP[1].String(), "-p", strconv.Itoa(guestPort),
			"-t", strconv.Itoa(m.plan.TCPSeconds), "-J")
		if err != nil {
			return err
		}
		return json.Unmarshal(out, &r)
	})
	if err != nil {
		return err
	}
	if r.Error != "" || r.End.Received.Bytes == 0 {
		return fmt.Errorf("iperf3: %q, %d bytes received", r.Error, r.End.Received.Bytes)
	}
	gbit := float64(r.End.Received.Bytes) * 8 / 1e9
	m.got[TCPGbit] = r.End.Received.Rate / 1e9
	m.got[TCPSwitch], m.got[TCPAll] = cost.own/gbit, cost.machine/gbit
	return nil
}

// iperfResult is the part of iperf3's JSON that is used.
type iperfResult struct {
	Error string `json:"error"`
	End   struct {
		Received struct {
			Bytes int64   `json:"bytes"`
			Rate  float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	} `json:"end"`
}
