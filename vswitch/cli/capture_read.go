package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

// The bounds of a capture file that somebody else may have made.
const (
	maxCapture = 256 << 20 // bytes
	maxBlock   = 1 << 20   // of pcapng: a frame with all that is said about it
)

// captured reads one frame out of FILE or FILE:N, the Nth packet from 1.
func captured(name string) ([]byte, error) {
	file, n := name, uint64(1)
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		number, err := strconv.ParseUint(name[i+1:], 10, 32)
		if err != nil || number == 0 {
			return nil, fault.Errorf(fault.BadInput, "--frame %s: write FILE or FILE:N, the Nth packet of a capture from 1", name)
		}
		file, n = name[:i], number
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "read the capture: %w", err)
	}
	defer f.Close()
	all, err := io.ReadAll(io.LimitReader(f, maxCapture+1))
	switch {
	case err != nil:
		return nil, fault.Errorf(fault.BadInput, "read the capture: %w", err)
	case len(all) > maxCapture:
		return nil, fault.Errorf(fault.BadInput, "%s is longer than %d MiB", file, maxCapture>>20)
	}
	eth, err := packet(all, n)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "%s: %w", file, err)
	}
	return eth, nil
}

// captureReader is what both kinds of file are read by.
type captureReader interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// packet finds the nth packet of a pcap or pcapng file.
func packet(file []byte, n uint64) ([]byte, error) {
	r, err := openCapture(file)
	if err != nil {
		return nil, err
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("its packets are of link type %s; a lab's are Ethernet", r.LinkType())
	}
	for i := uint64(1); ; i++ {
		eth, info, err := r.ReadPacketData()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("there is no packet %d: it has %d", n, i-1)
		case err != nil:
			return nil, fmt.Errorf("packet %d: %w", i, err)
		case i == n && info.CaptureLength < info.Length:
			return nil, fmt.Errorf("packet %d was cut off after %d of %d bytes: capture whole packets", n, info.CaptureLength, info.Length)
		case i == n:
			return eth, nil
		}
	}
}

func openCapture(file []byte) (captureReader, error) {
	// pcapngMagic begins a section header block; it is the same read either way.
	const pcapngMagic = 0x0a0d0d0a
	if bytes.HasPrefix(file, []byte("\x1f\x8b")) { // the reader of pcap would unpack it, to a thousand times its size
		return nil, errors.New("it is packed with gzip: unpack it with gunzip first")
	}
	if len(file) < 4 || binary.LittleEndian.Uint32(file) != pcapngMagic {
		r, err := pcapgo.NewReader(bytes.NewReader(file))
		if err != nil {
			return nil, fmt.Errorf("no capture: neither pcapng nor pcap: %w", err)
		}
		r.SetSnaplen(frame.MaxLen) // the reader allocates what a packet says
		return r, nil
	}
	if err := checkBlocks(file); err != nil {
		return nil, err
	}
	return pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
}

// checkBlocks sees that no block of a pcapng file is longer than the file or than a frame needs: the reader allocates
// what a block says.
func checkBlocks(file []byte) error {
	var order binary.ByteOrder = binary.LittleEndian
	for at := 0; at < len(file); {
		b := file[at:]
		if len(b) < 12 {
			return fmt.Errorf("it ends within a block, at byte %d", at)
		}
		if binary.BigEndian.Uint32(b) == 0x0a0d0d0a {
			order = binary.LittleEndian
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d { // byte-order magic (pcapng draft 4.1)
				order = binary.BigEndian
			}
		}
		n := order.Uint32(b[4:])
		if n < 12 || n > maxBlock || int(n) > len(b) || n%4 != 0 {
			return fmt.Errorf("a block at byte %d says that it has %d bytes", at, n)
		}
		const simple, enhanced = 3, 6 // blocks with a packet: its length is at byte 8 or 20
		at += int(n)
		switch kind := order.Uint32(b); {
		case kind == simple && order.Uint32(b[8:]) > maxBlock, kind == enhanced && (n < 32 || order.Uint32(b[20:]) > n-32):
			return fmt.Errorf("a packet before byte %d is longer than its block", at)
		}
	}
	return nil
}

// fromHex reads a frame from hexadecimal digits, with spaces, colons or dashes between them as other tools print them.
func fromHex(s string) ([]byte, error) {
	digits := strings.NewReplacer(" ", "", "\n", "", "\t", "", ":", "", "-", "").Replace(s)
	if len(digits) > 2*frame.MaxLen {
		return nil, fault.Errorf(fault.BadInput, "--hex: more than a frame's %d bytes", frame.MaxLen)
	}
	eth, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fault.Errorf(fault.BadInput, "--hex: %w", err)
	}
	return eth, nil
}
