package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// pcap is a capture file whose header promises packets of any length, and what follows it.
func pcap(packets ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 0xffffffff) // the longest packet
	return append(binary.LittleEndian.AppendUint32(b, 1), packets...)
}

// record is the head of a packet that says how long it is.
func record(length uint32) []byte {
	b := make([]byte, 8, 16)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint32(b, length)
}

// TestCaptureBombs: a capture that somebody else made costs memory in proportion to its size, and is refused in words.
func TestCaptureBombs(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(pcap(bytes.Repeat(append(record(1<<14), make([]byte, 1<<14)...), 2000)...))
	w.Close()
	block := func(kind, length uint32, rest ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, kind), length), rest...)
	}
	section := block(0x0a0d0d0a, 28, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 28, 0, 0, 0)
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"packed with gzip", packed.Bytes(), "unpack it with gunzip first"},
		{"a packet of 2 GiB", pcap(record(1 << 31)...), "capture length exceeds snap length"},
		{"a packet of 4 GiB", pcap(record(1<<32 - 1)...), "capture length exceeds snap length"},
		{"empty packets", pcap(bytes.Repeat(record(0), 1<<12)...), "there is no packet 9999: it has 4096"},
		{"half a head", pcap(record(64)[:9]...), "packet 1: unexpected EOF"},
		{"a block of 4 GiB", append(section, block(6, 0xfffffffc, make([]byte, 64)...)...), "block"},
		{"a block of nothing", append(section, block(6, 0, make([]byte, 64)...)...), "block"},
		{"empty", nil, "no capture"},
		{"zeros", make([]byte, 1<<16), "no capture"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := packet(c.file, 9999)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+64*len(c.file)) {
			t.Errorf("%s: %d bytes cost %d bytes of memory", c.name, len(c.file), took)
		}
	}
}
