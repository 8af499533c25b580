package vnic

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tapPort is a TAP as QEMU would hold it, and the switch's end of it.
func tapPort(t testing.TB, name string) (guest *os.File, nic NIC) {
	t.Helper()
	guest, err := NewTAP(name, frame.OffloadAll)
	must(t, err)
	t.Cleanup(func() { guest.Close() })
	nic, err = OpenPacket(name)
	must(t, err)
	t.Cleanup(func() { nic.Close() })
	return guest, nic
}

// porter makes a port.
type porter func(t testing.TB, name string) (guest *os.File, nic NIC)

// eachPort runs a test with a NIC that hears its device, and with one to which a program punts all.
func eachPort(t *testing.T, test func(*testing.T, porter)) {
	t.Helper()
	punted := func(t testing.TB, name string) (*os.File, NIC) { return divertedPort(t, name, attach) }
	for name, port := range map[string]porter{"heard": tapPort, "punted": punted} {
		t.Run(name, func(t *testing.T) {
			roottest.Namespace(t)
			test(t, port)
		})
	}
}

// forward moves frames one way until its NIC is closed.
func forward(from, to NIC) {
	var b frame.Batch
	out := make([]*frame.Frame, 0, frame.BatchSize)
	for from.ReadBatch(&b) == nil {
		out = out[:0]
		for i := range b.N {
			out = append(out, &b.Frames[i])
		}
		to.WriteBatch(out)
	}
}

var (
	macA = frame.MAC{2, 0, 0, 0, 0, 0xa}
	macB = frame.MAC{2, 0, 0, 0, 0, 0xb}
	ipA  = frame.AddrFrom(netip4(10, 0, 0, 1))
	ipB  = frame.AddrFrom(netip4(10, 0, 0, 2))
)

func netip4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

// tcpFrame is a TCP/IPv4 frame whose checksum is left open, in packets of size bytes of payload; 0 means one packet.
func tcpFrame(payload, size int) *frame.Frame {
	f := frame.New(54 + payload)
	b := f.Eth()
	frame.PutEth(b, macB, macA, frame.EtherIPv4)
	frame.PutIPv4(b[14:], ipA, ipB, frame.ProtoTCP, 64, 40+payload)
	binary.BigEndian.PutUint16(b[34:], 1234)
	binary.BigEndian.PutUint16(b[36:], 80)
	b[46], b[47] = 5<<4, frame.TCPAck
	for i := range payload {
		b[54+i] = byte(i * 7)
	}
	pseudo := frame.L4Checksum(ipA, ipB, frame.ProtoTCP, make([]byte, 40+payload-20))
	binary.BigEndian.PutUint16(b[50:], ^pseudo)
	f.Vnet().SetChecksum(34, 16)
	if size > 0 {
		f.Vnet().SetGSO(frame.GSOTCPv4, size, 54)
	}
	return f
}

// readTAP reads one IPv4 frame that the guest gets.
func readTAP(t testing.TB, tap *os.File) *frame.Frame {
	t.Helper()
	must(t, tap.SetReadDeadline(time.Now().Add(5*time.Second)))
	f := frame.New(frame.MaxLen)
	for {
		n, err := tap.Read(f.Wire())
		must(t, err)
		f.Len = n - frame.VnetLen
		if f.Len >= frame.MinLen && binary.BigEndian.Uint16(f.Eth()[12:]) == frame.EtherIPv4 {
			return f
		}
		f.Len = frame.MaxLen
	}
}

// readUntil collects what a NIC gives until it has n frames.
func readUntil(t testing.TB, nic NIC, n int) (got int) {
	t.Helper()
	watchdog := time.AfterFunc(10*time.Second, func() { nic.Close() })
	defer watchdog.Stop()
	var b frame.Batch
	for got < n {
		if err := nic.ReadBatch(&b); err != nil {
			t.Fatalf("after %d of %d frames: %v", got, n, err)
		}
		got += b.N
	}
	return got
}
