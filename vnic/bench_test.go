package vnic

import (
	"encoding/binary"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// The far ends of a benchmark's TAPs are processes of their own, as QEMU would be: this test binary, started again with
// one of these as its part. They read or write one frame for each call, as QEMU does.
const farEndEnv = "SLUICE_VNIC_FAR_END"

func TestMain(m *testing.M) {
	switch part := os.Getenv(farEndEnv); part {
	case "":
		os.Exit(m.Run())
	case "sink":
		sink()
	default:
		source(part)
	}
}

// source writes one frame again and again until its standard input ends.
func source(kind string) {
	f := benchFrame(kind)
	stop := make(chan struct{})
	go func() { os.Stdin.Read(make([]byte, 1)); close(stop) }()
	unix.SetNonblock(3, false)
	wire := f.Wire()
	for n := 0; ; n++ {
		if n%64 == 0 {
			select {
			case <-stop:
				return
			default:
			}
		}
		unix.Write(3, wire)
	}
}

// sink counts frames of IPv4 until its standard input ends, and writes the count.
func sink() {
	unix.SetNonblock(3, false)
	count := uint64(0)
	go func() {
		os.Stdin.Read(make([]byte, 1))
		binary.Write(os.Stdout, binary.LittleEndian, count)
		os.Exit(0)
	}()
	buf := make([]byte, frame.MaxLen+frame.VnetLen)
	for {
		if n, err := unix.Read(3, buf); err == nil && n > 24 && buf[22] == 8 && buf[23] == 0 {
			count++
		}
	}
}

func benchFrame(kind string) *frame.Frame {
	switch kind {
	case "64":
		return tcpFrame(6, 0)
	case "1518":
		return tcpFrame(1460, 0)
	}
	return tcpFrame(60000, 1448)
}

// BenchmarkForward moves frames from one TAP to another with nothing in between, for a second: the most that a user
// engine could do. Run: go test -run '^$' -bench Forward -benchtime 1x ./vnic
func BenchmarkForward(b *testing.B) {
	for _, kind := range []string{"64", "1518", "gso"} {
		b.Run("frame="+kind, func(b *testing.B) { benchForward(b, kind) })
	}
}

func benchForward(b *testing.B, kind string) {
	roottest.Namespace(b)
	guestA, nicA := tapPort(b, "sl-vnic-a")
	guestB, nicB := tapPort(b, "sl-vnic-b")
	read, calls := 0, 0
	go func() {
		var b frame.Batch
		out := make([]*frame.Frame, 0, frame.BatchSize)
		for nicA.ReadBatch(&b) == nil {
			out = out[:0]
			for i := range b.N {
				out = append(out, &b.Frames[i])
			}
			nicB.WriteBatch(out)
			read += b.N
			calls++
		}
	}()
	sinkEnd, sinkOut := farEnd(b, guestB, "sink")
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	start := time.Now()
	sourceEnd, _ := farEnd(b, guestA, kind)
	<-time.After(time.Second)
	sourceEnd()
	took := time.Since(start)
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	sinkEnd()
	var count uint64
	must(b, binary.Read(sinkOut, binary.LittleEndian, &count))
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(float64(count)/took.Seconds(), "frames/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(read), "cpu-ns/read")
	b.ReportMetric(float64(read)/took.Seconds(), "reads/s")
	b.ReportMetric(float64(read)/float64(calls), "batch")
	b.ReportMetric(float64(count)*float64(benchFrame(kind).Len)*8/took.Seconds()/1e9, "Gbit/s")
	b.ReportMetric(float64(nicA.(Dropper).Drops())/took.Seconds(), "rxdrop/s")
	b.ReportMetric(0, "ns/op")
}

// farEnd starts a process that holds a TAP. The function that it returns ends the process.
func farEnd(b *testing.B, tap *os.File, part string) (end func(), out *os.File) {
	exe, err := os.Executable()
	must(b, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), farEndEnv+"="+part)
	cmd.ExtraFiles = []*os.File{tap}
	r, w, err := os.Pipe()
	must(b, err)
	cmd.Stdout = w
	in, err := cmd.StdinPipe()
	must(b, err)
	must(b, cmd.Start())
	w.Close()
	b.Cleanup(func() { in.Close(); cmd.Wait(); r.Close() })
	return func() { in.Close(); cmd.Wait() }, r
}
