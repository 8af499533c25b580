package vnic

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// featureNames are what the kernel calls the kinds of GSO that a device takes whole (net/ethtool/common.c); their
// numbers differ from kernel to kernel.
var featureNames = map[uint8]string{
	frame.GSOTCPv4: "tx-tcp-segmentation",
	frame.GSOTCPv6: "tx-tcp6-segmentation",
	frame.GSOUDPL4: "tx-udp-segmentation",
}

const (
	stringSet = 4  // ETH_SS_FEATURES (include/uapi/linux/ethtool.h)
	stringLen = 32 // ETH_GSTRING_LEN
)

// virtioSends are the offloads of what is sent that a virtio NIC has (drivers/net/virtio_net.c): what a virtio_net_hdr
// can tell of.
var virtioSends = map[string]bool{
	"tx-scatter-gather": true, "tx-scatter-gather-fraglist": true, "tx-checksum-ip-generic": true,
	"tx-tcp-segmentation": true, "tx-tcp6-segmentation": true, "tx-tcp-ecn-segmentation": true, "tx-udp-segmentation": true,
	"tx-gso-robust": true, "tx-generic-segmentation": true,
}

// featureBits are the kernel's numbers for the kinds of GSO above; the same for all devices.
var featureBits = sync.OnceValues(func() (map[uint8]int, error) {
	names, err := features()
	bits := map[uint8]int{}
	for kind, want := range featureNames {
		if bit := slices.Index(names, want); bit >= 0 {
			bits[kind] = bit
		}
	}
	return bits, err
})

// features are the kernel's names of device features, by number; the same for all devices.
var features = sync.OnceValues(func() ([]string, error) {
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
	all := make([]string, info.count)
	for bit := range all {
		name, _, _ := bytes.Cut(text[bit*stringLen:(bit+1)*stringLen], []byte{0})
		all[bit] = string(name)
	}
	return all, nil
})

// takesWhole says whether a device takes frames of a kind of GSO as they are. A guest's driver may change it at any
// time. Where it cannot be found out, it says yes.
func takesWhole(fd int, device string, kind uint8) bool {
	bits, err := featureBits()
	bit, known := bits[kind]
	if err != nil || !known {
		return true
	}
	f := deviceFeatures{cmd: unix.ETHTOOL_GFEATURES, size: featureBlocks}
	if err := ethtool(fd, device, unsafe.Pointer(&f)); err != nil || bit/32 >= featureBlocks {
		return true
	}
	return f.block[bit/32].active&(1<<(bit%32)) != 0
}

// featureBlocks are of 32 features each; the kernel fills in as many as it has.
const featureBlocks = 4

// deviceFeatures is struct ethtool_gfeatures (include/uapi/linux/ethtool.h).
type deviceFeatures struct {
	cmd, size uint32
	block     [featureBlocks]struct{ available, requested, active, never uint32 }
}

// sendsAsVirtio turns off what a device would send unfinished and a virtio NIC would not: segmentation inside of
// tunnels, SCTP's checksum, tags beside the frame. The kernel of whoever sends does that work then, as for a virtio
// NIC.
func sendsAsVirtio(device string) error {
	names, err := features()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	has := deviceFeatures{cmd: unix.ETHTOOL_GFEATURES, size: featureBlocks}
	if err := ethtool(fd, device, unsafe.Pointer(&has)); err != nil {
		return fmt.Errorf("read offloads: %w", err)
	}
	var set struct { // struct ethtool_sfeatures
		cmd, size uint32
		block     [featureBlocks]struct{ valid, requested uint32 }
	}
	set.cmd, set.size = unix.ETHTOOL_SFEATURES, uint32(min((len(names)+31)/32, featureBlocks)) // no more than the kernel has, or EINVAL
	for bit, name := range names {
		if !strings.HasPrefix(name, "tx-") || virtioSends[name] || bit/32 >= featureBlocks {
			continue
		}
		if mask := uint32(1) << (bit % 32); has.block[bit/32].available&^has.block[bit/32].never&mask != 0 {
			set.block[bit/32].valid |= mask
		}
	}
	if err := ethtool(fd, device, unsafe.Pointer(&set)); err != nil {
		return fmt.Errorf("turn off offloads: %w", err)
	}
	return nil
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
