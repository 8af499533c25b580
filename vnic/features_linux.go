package vnic

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// featureNames are what the kernel calls the kinds of GSO that a device takes whole (net/ethtool/common.c); their numbers
// differ from kernel to kernel.
var featureNames = map[uint8]string{
	frame.GSOTCPv4: "tx-tcp-segmentation",
	frame.GSOTCPv6: "tx-tcp6-segmentation",
	frame.GSOUDPL4: "tx-udp-segmentation",
}

const (
	stringSet = 4  // ETH_SS_FEATURES (include/uapi/linux/ethtool.h)
	stringLen = 32 // ETH_GSTRING_LEN
)

// featureBits are the kernel's numbers for the features above; the same for all devices.
var featureBits = sync.OnceValues(func() (map[uint8]int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var info struct {
		cmd, reserved uint32
		mask          uint64
		count         uint32
	}
	info.cmd, info.mask = unix.ETHTOOL_GSSET_INFO, 1<<stringSet
	if err := ethtool(fd, "lo", unsafe.Pointer(&info)); err != nil {
		return nil, fmt.Errorf("count the kernel's device features: %w", err)
	}
	const head = 3
	names := make([]uint32, head+int(info.count)*stringLen/4)
	names[0], names[1], names[2] = unix.ETHTOOL_GSTRINGS, stringSet, info.count
	if err := ethtool(fd, "lo", unsafe.Pointer(&names[0])); err != nil {
		return nil, fmt.Errorf("read the kernel's names of device features: %w", err)
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&names[0])), len(names)*4)[head*4:]
	bits := map[uint8]int{}
	for bit := range int(info.count) {
		name, _, _ := bytes.Cut(text[bit*stringLen:(bit+1)*stringLen], []byte{0})
		for kind, want := range featureNames {
			if string(name) == want {
				bits[kind] = bit
			}
		}
	}
	return bits, nil
})

// takesWhole says whether a device takes frames of a kind of GSO as they are. A guest's driver may change it at any time.
// Where it cannot be found out, it says yes.
func takesWhole(fd int, device string, kind uint8) bool {
	bits, err := featureBits()
	bit, known := bits[kind]
	if err != nil || !known {
		return true
	}
	const blocks = 4 // of 32 features; the kernel fills in as many as it has
	var f struct {
		cmd, size uint32
		block     [blocks]struct{ available, requested, active, never uint32 }
	}
	f.cmd, f.size = unix.ETHTOOL_GFEATURES, blocks
	if err := ethtool(fd, device, unsafe.Pointer(&f)); err != nil || bit/32 >= blocks {
		return true
	}
	return f.block[bit/32].active&(1<<(bit%32)) != 0
}

// ethtool asks the kernel about a device (SIOCETHTOOL) in the network namespace of the socket.
func ethtool(fd int, device string, data unsafe.Pointer) error {
	var ifr struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], device)
	ifr.data = data
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	runtime.KeepAlive(data)
	if errno != 0 {
		return errno
	}
	return nil
}
