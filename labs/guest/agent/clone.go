package agent

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a guest that was cloned needs beside its configuration: random numbers that no other clone has, and a moment
// until the vNICs are there that were plugged in while it ran.

// poolInfo is struct rand_pool_info of linux/random.h, with room for a seed.
type poolInfo struct {
	entropy int32 // bits
	size    int32 // bytes
	buf     [64]byte
}

// reseed gives the kernel random numbers of the host, and has it use them at once: until then a clone draws the same
// ones as every other clone.
func (g *guest) reseed(seed []byte) error {
	if !g.ownKernel || len(seed) == 0 {
		return nil
	}
	fd, err := unix.Open("/dev/urandom", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var p poolInfo
	p.size = int32(copy(p.buf[:], seed))
	p.entropy = 8 * p.size
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(&p)
	if no != 0 {
		return fmt.Errorf("add entropy: %w", no)
	}
	return unix.IoctlSetInt(fd, unix.RNDRESEEDCRNG, 0)
}

// nicsWait is how long a vNIC may take to be there: an emulated machine finds one in a tenth of a second.
const nicsWait = 20 * time.Second

// awaitNICs waits until every vNIC is there, by its MAC: they come in any order. A namespace guest has them already.
func (g *guest) awaitNICs(nics []NIC) error {
	if !g.ownKernel {
		return nil
	}
	changes, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(changes, done); err != nil {
		return err
	}
	deadline := time.After(nicsWait)
	for {
		missing, err := missingNIC(nics)
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-changes:
		case <-deadline:
			return fmt.Errorf("%s is not there after %v", missing, nicsWait)
		}
	}
}

// missingNIC names one that is not there yet.
func missingNIC(nics []NIC) (string, error) {
	links, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // one came meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		return "", err
	}
	for _, n := range nics {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().HardwareAddr.String() == mac.String() }) {
			return n.Name, nil
		}
	}
	return "", nil
}
