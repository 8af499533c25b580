package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/vswitch/control"
)

// Cost is what a placement costs an accepted flow.
type Cost struct {
	Hops     int     `json:"hops"`     // routers between client and server
	RTT50    float64 `json:"rtt50_ms"` // of pings
	RTT99    float64 `json:"rtt99_ms"`
	Goodput  float64 `json:"goodput_mbit_s"`       // TCP, one stream
	CPUGbit  float64 `json:"cpu_s_per_gbit"`       // of the whole lab
	CPUParts []Part  `json:"cpu_s_per_gbit_by"`    // of the switch and each guest
	Seconds  float64 `json:"goodput_over_seconds"` // what the goodput was measured over
	Pings    int     `json:"pings"`                // what the RTT was measured over
	Lost     int     `json:"pings_lost"`           // of them
	Retrans  int     `json:"tcp_retransmits"`      // in that stream
}

// Part is one process's part of the CPU time.
type Part struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpu_s_per_gbit"`
}

const (
	pings       = 200
	pingEvery   = "0.01" // seconds
	streamTime  = 3      // seconds of the TCP stream
	bitsPerGbit = 1e9
)

func (d *demo) measure(ctx context.Context) (c Cost, err error) {
	if c.Hops, err = d.hops(ctx); err != nil {
		return c, err
	}
	if err = d.ping(ctx, &c); err != nil {
		return c, err
	}
	return c, d.goodput(ctx, &c)
}

// hops counts the routers that answer a traceroute by ICMP echo, which the policy allows.
func (d *demo) hops(ctx context.Context) (int, error) {
	text, _, err := d.must(ctx, "client", "traceroute", "-I", "-n", "-q", "1", "-w", "2", "-m", "8", d.server[0])
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := lines[len(lines)-1]
	if !strings.Contains(last, d.server[0]) {
		return 0, fmt.Errorf("traceroute did not arrive: %s", last)
	}
	n, err := strconv.Atoi(strings.Fields(last)[0])
	return n - 1, err
}

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

func (d *demo) ping(ctx context.Context, c *Cost) error {
	text, _, err := d.exec(ctx, "client", "ping", "-c", strconv.Itoa(pings), "-i", pingEvery, "-W", tryFor, d.server[0])
	if err != nil {
		return err
	}
	var times []float64
	for _, m := range pingTime.FindAllStringSubmatch(text, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return fmt.Errorf("read ping's answer: %w", err)
		}
		times = append(times, ms)
	}
	if len(times) == 0 {
		return fmt.Errorf("no ping was answered: %s", text)
	}
	slices.Sort(times)
	c.Pings, c.Lost = pings, pings-len(times)
	c.RTT50, c.RTT99 = percentile(times, 50), percentile(times, 99)
	return nil
}

// percentile is by nearest rank; sorted is not empty.
func percentile(sorted []float64, p int) float64 {
	return sorted[(len(sorted)*p+99)/100-1]
}

// iperf is what we read of iperf3 -J.
type iperf struct {
	End struct {
		Received struct {
			Seconds       float64 `json:"seconds"`
			Bytes         float64 `json:"bytes"`
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sent struct {
			Retransmits int `json:"retransmits"`
		} `json:"sum_sent"`
	} `json:"end"`
	Error string `json:"error"`
}

func (d *demo) goodput(ctx context.Context, c *Cost) error {
	before, err := d.lab.Inspect(ctx)
	if err != nil {
		return err
	}
	text, code, err := d.exec(ctx, "client", "iperf3", "-J", "-t", strconv.Itoa(streamTime), "-c", d.server[0])
	if err != nil {
		return err
	}
	after, err := d.lab.Inspect(ctx)
	if err != nil {
		return err
	}
	var r iperf
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("read iperf3's answer: %w", err)
	}
	if code != 0 || r.End.Received.Bytes == 0 {
		return fmt.Errorf("iperf3: %s (exit code %d)", r.Error, code)
	}
	c.Goodput, c.Seconds, c.Retrans = r.End.Received.BitsPerSecond/1e6, r.End.Received.Seconds, r.End.Sent.Retransmits
	c.CPUParts = cpuPer(before, after, r.End.Received.Bytes*8/bitsPerGbit)
	for _, p := range c.CPUParts {
		c.CPUGbit += p.CPU
	}
	return nil
}

// cpuPer is the CPU time that each part of the lab used between two looks, for each unit of work.
func cpuPer(before, after control.LabInfo, work float64) []Part {
	parts := []Part{{"switch", (after.CPU - before.CPU) / work}}
	for i, g := range after.Guests {
		parts = append(parts, Part{g.Name, (g.CPU - before.Guests[i].CPU) / work})
	}
	return parts
}

// exec runs a command in a guest, and returns what it wrote on stdout, and its exit code.
func (d *demo) exec(ctx context.Context, guest string, argv ...string) (string, int, error) {
	var out, errs bytes.Buffer
	code, err := d.lab.Exec(ctx, guest, control.ExecRequest{Argv: argv},
		control.Streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	if err != nil {
		return "", code, fmt.Errorf("run %s in %s: %w", argv[0], guest, err)
	}
	if code != 0 && out.Len() == 0 {
		_, _ = io.Copy(&out, &errs)
	}
	return out.String(), code, nil
}

// must is exec where any exit code but 0 is an error.
func (d *demo) must(ctx context.Context, guest string, argv ...string) (string, int, error) {
	text, code, err := d.exec(ctx, guest, argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s in %s ended with %d: %s", argv[0], guest, code, strings.TrimSpace(text))
	}
	return text, code, err
}
