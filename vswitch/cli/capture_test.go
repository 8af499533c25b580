package cli_test

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"
)

// writeCaptures is `capture PCAP PCAPNG`: both files hold SYNs from the client to ports 80 and 23 of the server.
func writeCaptures(ts *testscript.TestScript, neg bool, args []string) {
	plain, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer plain.Close()
	ng, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	defer ng.Close()
	w := pcapgo.NewWriter(plain)
	ts.Check(w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	nw, err := pcapgo.NewNgWriter(ng, layers.LinkTypeEthernet)
	ts.Check(err)
	for _, port := range []uint16{80, 23} {
		eth, err := frameSYN(port)
		ts.Check(err)
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(eth), Length: len(eth)}
		ts.Check(w.WritePacket(info, eth))
		ts.Check(nw.WritePacket(info, eth))
	}
	ts.Check(nw.Flush())
}

// writeShort is `capture-short FILE`: a pcapng file whose first block says that it is longer than any.
func writeShort(ts *testscript.TestScript, neg bool, args []string) {
	b := binary.LittleEndian.AppendUint32(nil, 0x0a0d0d0a)
	b = binary.LittleEndian.AppendUint32(b, 0xfffffff0)
	b = binary.LittleEndian.AppendUint32(b, 0x1a2b3c4d)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}
