package vnic

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

func TestRootHostPort(t *testing.T) {
	roottest.Namespace(t)
	nic, err := OpenHost("sl-vnic-h", HostOptions{})
	must(t, err)
	if _, err := OpenHost("sl-vnic-h", HostOptions{}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second port on the same device: %v", err)
	}
	if _, err := OpenHost("sl-vnic-i", HostOptions{MTU: 9001}); err == nil {
		t.Error("MTU 9001: no error")
	}
	bad := tcpFrame(1, 0)
	bad.Vnet().SetChecksum(60000, 2)
	if n, err := nic.WriteBatch([]*frame.Frame{bad, tcpFrame(5000, 1448)}); n != 1 || err != nil {
		t.Errorf("%d of 1 good frame sent, %v", n, err)
	}
	link, err := netlink.LinkByName("sl-vnic-h")
	must(t, err)
	if got := link.Attrs().Statistics.RxPackets; got != 4 {
		t.Errorf("the far end got %d packets of 5,000 bytes in 1,448 each", got)
	}
	ended := make(chan error)
	go func() {
		var b frame.Batch
		for {
			if err := nic.ReadBatch(&b); err != nil {
				ended <- err
				return
			}
		}
	}()
	must(t, nic.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("ReadBatch ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("ReadBatch did not end")
	}
	if _, err := netlink.LinkByName("sl-vnic-h"); err == nil {
		t.Error("the device is still there")
	}
}
