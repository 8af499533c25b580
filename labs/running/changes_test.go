package running_test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/vswitch"
)

// changesWanted is how many changes of placement are made under load: SLUICE_TEST_CHANGES, or each ordered pair of
// placements once.
func changesWanted(t *testing.T, pairs int) int {
	s := os.Getenv("SLUICE_TEST_CHANGES")
	if s == "" {
		return pairs
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("SLUICE_TEST_CHANGES=%q is no count", s)
	}
	return n
}

// The load: 500 numbered datagrams a second, downloads one after the other, and attempts at a denied port.
const (
	datagramBytes   = 100
	datagramsASec   = 500
	downloadBytes   = 3000000
	downloadForever = "while :; do wget -qO- http://10.10.2.10/bytes/3000000 | md5sum; sleep 0.2; done"
	deniedForever   = "while :; do nc -w1 10.10.2.10 23 </dev/null; nc -w1 fd00:10:2::10 23 </dev/null; sleep 0.05; done"
	stepWait        = 30 * time.Second // for one step of a guest, on a busy machine
	secondsAChange  = 12               // tenths: how long the stream goes on for each
)

// testChanges changes the placement under load, from each one to each, and then asks everybody what they have seen.
func testChanges(t *testing.T, lab, kind string) {
	placements := append(enforcing(t, lab, kind), "off")
	changes := changesWanted(t, len(placements)*(len(placements)-1))
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d changes, seed %d", changes, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	table := newPairs(placements)

	events := start(t, "--lab", lab, "events")
	defer func() {
		if t.Failed() {
			t.Logf("the lab told:\n%s\ninspector: %s\nswitch: %s", strings.Join(events.read(), "\n"),
				must(t, "--lab", lab, "inspections", "-o", "json"), must(t, "--lab", lab, "stats"))
		}
		events.stop(t)
	}()
	must(t, "--lab", lab, "place", "off")
	witness := startGuest(t, lab, "server", "tcpdump", "-ni", "eth0", "-tt", "-l", "dst port 23 or dst port 7777")
	denied := startGuest(t, lab, "client", "sh", "-c", deniedForever)
	witness.waitLines(t, 2) // in off they arrive: the witness sees what it must later not see
	must(t, "--lab", lab, "place", "fast")
	talk := startTalk(t, lab)
	talk.says(t, enforcedBegins)
	count(t, lab, "client", "postrouting priority 300")
	count(t, lab, "server", "prerouting priority -500")
	before := lossesOf(t, lab)
	downloads := startGuest(t, lab, "client", "sh", "-c", downloadForever)
	stream := startGuest(t, lab, "client", "iperf3", "-c", "10.10.2.10", "-u", "-J",
		"-l", fmt.Sprint(datagramBytes), "-b", fmt.Sprint(8*datagramBytes*datagramsASec), "-t", fmt.Sprint(5+changes*secondsAChange/10))

	var sum vswitch.Receipt
	at := "fast"
	for i := range changes {
		talk.says(t, 10)
		to := table.next(at, rng)
		if to == "off" {
			talk.says(t, enforcedEnds)
		}
		r := place(t, lab, to)
		if at == "off" {
			talk.says(t, enforcedBegins)
		}
		t.Logf("%3d: %s to %s: gap %.1f ms, %d observed, %d lost, %d duplicated, %d reordered, %d leaked, %d carried, overflow %v",
			i+1, at, to, r.GapMS, r.Observed, r.Lost, r.Duplicated, r.Reordered, r.Leaked, r.FlowsCarried, r.Overflow)
		if r.Leaked != 0 {
			t.Errorf("%s to %s: %d denied frames delivered", at, to, r.Leaked)
		}
		sum.Lost, sum.Duplicated, sum.Reordered = sum.Lost+r.Lost, sum.Duplicated+r.Duplicated, sum.Reordered+r.Reordered
		sum.Overflow = sum.Overflow || r.Overflow
		table.add(at, to, r)
		at = to
	}
	talk.says(t, 10)
	if into := os.Getenv("SLUICE_TEST_PLACEMENTS_INTO"); into != "" {
		table.write(t, into, kind)
	}
	downloads.waitLines(t, len(downloads.read())+2)
	checkStream(t, lab, stream, changes, sum, before)
	if at != "off" {
		talk.says(t, enforcedEnds)
	}
	ended := downloads.read() // before the last one is cut off, and summed up as far as it came
	for _, b := range []*background{denied, downloads, witness, talk.background} {
		b.stop(t)
	}
	checkDownloads(t, ended)
	checkWitness(t, witness.read())
}

func place(t *testing.T, lab, to string) vswitch.Receipt {
	t.Helper()
	return answerOf[vswitch.Receipt](t, "--lab", lab, "place", to)
}

// What the conversation says when a time begins in which the policy is surely enforced, and when it ends. The witness
// sees these lines among the frames, in order, so that no clock of a guest has to be trusted.
const (
	enforcedBegins = 101 // bytes
	enforcedEnds   = 103
)

// checkWitness: while the policy was enforced, no frame to the denied port reached the server.
func checkWitness(t *testing.T, lines []string) {
	t.Helper()
	enforced, marks, seen := false, 0, 0
	for _, line := range lines {
		switch {
		case strings.Contains(line, ".7777: ") && strings.HasSuffix(line, fmt.Sprintf(", length %d", enforcedBegins)):
			enforced = true
			marks++
		case strings.Contains(line, ".7777: ") && strings.HasSuffix(line, fmt.Sprintf(", length %d", enforcedEnds)):
			enforced = false
		case strings.Contains(line, ".23: "):
			seen++
			if enforced {
				t.Errorf("a denied frame was delivered: %s", line)
			}
		}
	}
	if marks == 0 || seen == 0 {
		t.Errorf("the witness is blind: %d marks, %d frames to the denied port", marks, seen)
	}
	t.Logf("%d frames to the denied port were delivered, all while the policy was not enforced", seen)
}

// checkDownloads: each that ended has every byte.
func checkDownloads(t *testing.T, lines []string) {
	t.Helper()
	whole := make([]byte, downloadBytes)
	for i := range whole {
		whole[i] = byte(i % 251)
	}
	sum := md5.Sum(whole)
	for _, line := range lines {
		if got, _, _ := strings.Cut(line, " "); got != hex.EncodeToString(sum[:]) {
			t.Errorf("a download was broken: %s", line)
		}
	}
	t.Logf("%d downloads of %d bytes", len(lines), downloadBytes)
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkStream compares what the server missed with what the receipts own up to, and what has been lost in places that
// count it.
func checkStream(t *testing.T, lab string, b *background, changes int, sum vswitch.Receipt, before losses) {
	t.Helper()
	if err := b.waitWithin(t, deadline+time.Duration(changes*secondsAChange)*time.Second/10); err != nil {
		t.Fatalf("iperf3: %v\n%s", err, strings.Join(b.read(), "\n"))
	}
	var report struct {
		End struct {
			Sum struct {
				Packets int `json:"packets"`
				Lost    int `json:"lost_packets"`
			} `json:"sum"`
			Streams []struct {
				UDP struct {
					OutOfOrder int `json:"out_of_order"`
				} `json:"udp"`
			} `json:"streams"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(strings.Join(b.read(), "\n")), &report); err != nil || len(report.End.Streams) != 1 {
		t.Fatalf("iperf3 said: %v\n%s", err, strings.Join(b.read(), "\n"))
	}
	sent, seen := counted(t, lab, "client"), counted(t, lab, "server")
	elsewhere := lossesOf(t, lab).since(before)
	late := report.End.Streams[0].UDP.OutOfOrder
	t.Logf("%d datagrams: %d lost, %d out of order (iperf3 missed %d); receipts of all flows: %d lost, %d reordered, %d duplicated; %d lost in places that count: %v",
		sent, sent-seen, late, report.End.Sum.Lost, sum.Lost, sum.Reordered, sum.Duplicated, elsewhere.sum(), elsewhere)
	if sent < datagramsASec {
		t.Errorf("only %d datagrams", sent)
	}
	if sum.Overflow {
		return // a receipt says that it did not see everything
	}
	if lost := sent - seen; lost > sum.Lost+elsewhere.sum() {
		t.Errorf("%d datagrams lost, the receipts know of %d and other places of %d", lost, sum.Lost, elsewhere.sum())
	}
	if late > sum.Reordered+sum.Duplicated {
		t.Errorf("%d datagrams out of order, the receipts know of %d", late, sum.Reordered)
	}
}

// background is a command, mostly one in a guest, that runs beside the test.
type background struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan error
	lines chan struct{} // told of each new line, if anyone listens

	mu     sync.Mutex
	stdout []string
	stderr bytes.Buffer
}

func startGuest(t *testing.T, lab, guest string, argv ...string) *background {
	t.Helper()
	return start(t, append([]string{"--lab", lab, "exec", guest, "--"}, argv...)...)
}

// start runs a command beside the test.
func start(t *testing.T, args ...string) *background {
	t.Helper()
	cmd, stop := commandWithin(t, 12*time.Hour, args...) // it runs beside all others
	b := &background{cmd: cmd, ended: make(chan error, 1), lines: make(chan struct{}, 1)}
	out, err := cmd.StdoutPipe()
	if err == nil {
		b.stdin, err = cmd.StdinPipe()
	}
	cmd.Stderr = &b.stderr
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			b.mu.Lock()
			b.stdout = append(b.stdout, s.Text())
			b.mu.Unlock()
			select {
			case b.lines <- struct{}{}:
			default:
			}
		}
		b.ended <- cmd.Wait()
	}()
	t.Cleanup(stop)
	return b
}

// read is what the command has said so far.
func (b *background) read() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stdout[:len(b.stdout):len(b.stdout)]
}

// waitLines waits until the command has said n lines.
func (b *background) waitLines(t *testing.T, n int) {
	t.Helper()
	late := time.After(stepWait)
	for len(b.read()) < n {
		select {
		case <-b.lines:
		case err := <-b.ended:
			t.Fatalf("%v ended: %v %s", b.cmd.Args, err, &b.stderr)
		case <-late:
			t.Fatalf("%v: %d lines after %v, want %d", b.cmd.Args, len(b.read()), stepWait, n)
		}
	}
}

func (b *background) wait(t *testing.T) error {
	t.Helper()
	return b.waitWithin(t, deadline)
}

func (b *background) waitWithin(t *testing.T, most time.Duration) error {
	t.Helper()
	select {
	case err := <-b.ended:
		return err
	case <-time.After(most):
		t.Fatalf("%v did not end", b.cmd.Args)
		return nil
	}
}

// stop interrupts the command, as a user would, and waits for it.
func (b *background) stop(t *testing.T) {
	t.Helper()
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("%v has ended: %v %s", b.cmd.Args, err, &b.stderr)
		return
	}
	_ = b.wait(t) // the exit code is that of an interrupted command
}

// conversation is one TCP connection on which the server repeats what the client says.
type conversation struct {
	*background
	said int
}

func startTalk(t *testing.T, lab string) *conversation {
	return &conversation{background: startGuest(t, lab, "client", "nc", "10.10.2.10", "7777")}
}

// says sends one numbered line of so many bytes, and waits for the answer.
func (c *conversation) says(t *testing.T, bytes int) {
	t.Helper()
	c.said++
	line := fmt.Sprintf("%0*d", bytes-1, c.said)
	if _, err := fmt.Fprintln(c.stdin, line); err != nil {
		t.Fatalf("the conversation broke at %q: %v", line, err)
	}
	c.waitLines(t, c.said)
	if got := c.read()[c.said-1]; got != line {
		t.Fatalf("said %q, heard %q", line, got)
	}
}
