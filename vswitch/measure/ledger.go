// Package measure says what a change cost: engines note each IP frame that enters and that is delivered, and what was
// noted is joined, flow by flow, once nobody writes any more.
package measure

import (
	"hash/maphash"

	"sluice/vnic/frame"
)

// ledgerRecords is how many records all journals of a ledger hold together, and journalRecords how many one of them
// holds at least and at most. A record is a frame that entered, or one that was delivered.
const (
	ledgerRecords     = 1 << 20
	journalRecordsMin = 1 << 10
	journalRecordsMax = 1 << 16
)

// Ledger is what a change of placement is measured by: while an engine has one, each walker notes the IP frames that
// its port's guest sends, and those that it delivers. Nothing is analysed before the walkers have left it.
type Ledger struct {
	seed     maphash.Seed
	journals []*Journal // by PortID; nil where there is no port
}

// Journal is one walker's part of the ledger. Only that walker writes.
type Journal struct {
	seed    maphash.Seed
	records []Record // of fixed capacity
	full    int64    // monotonic ns: when the first record found no room; 0 is never
}

// Record is one frame at an insertion point.
type Record struct {
	At        int64  // monotonic ns; 0 where an output was not sent in the end
	Epoch     uint64 // of the plan that it walked by
	Flow      Flow
	Print     Print
	Delivered bool   // at to-guest; else it entered at from-guest
	Appliance bool   // it came out of the appliance
	Copies    uint16 // how many went on of what entered
}

// Flow is one direction of a flow.
type Flow struct {
	Src, Dst         frame.Addr
	SrcPort, DstPort uint16
	Proto            uint8
	ICMPType         uint8
}

// Print tells frames of one flow apart, by what a router does not change. TCP segments with payload are told by what
// they carry, since a router on the way may join or split them; everything else is told by a hash.
type Print struct {
	Hash uint64
	Seq  uint32
	Len  uint32 // bytes of TCP payload; 0 means that Hash counts
}

// NoMark is the mark of a frame that was not noted.
const NoMark int32 = -1

// NewLedger reserves the journals of ports. It takes over the memory of an older ledger, which nobody uses any more.
func NewLedger(ports []frame.PortID, old *Ledger) *Ledger {
	l := &Ledger{seed: maphash.MakeSeed()}
	for _, id := range ports {
		for int(id) >= len(l.journals) {
			l.journals = append(l.journals, nil)
		}
		n := min(journalRecordsMax, max(journalRecordsMin, ledgerRecords/len(ports)))
		var records []Record
		if was := old.Journal(id); was != nil && cap(was.records) == n {
			records = was.records[:0]
		} else {
			records = make([]Record, 0, n)
		}
		l.journals[id] = &Journal{seed: l.seed, records: records}
	}
	return l
}

// Journal is a port's journal, or nil. It may be asked of nil.
func (l *Ledger) Journal(id frame.PortID) *Journal {
	if l == nil || int(id) >= len(l.journals) {
		return nil
	}
	return l.journals[id]
}

// The methods of a journal may be called on nil, which notes nothing.

// Entered notes a frame that was let in at from-guest, now and by the plan of an epoch, and returns its mark.
func (j *Journal) Entered(now int64, epoch uint64, f *frame.Frame, k *frame.Key) int32 {
	if j == nil || !observable(k) {
		return NoMark
	}
	return j.Add(now, Record{At: now, Epoch: epoch, Flow: FlowOf(k), Print: j.printOf(f, k)})
}

// Hop is where a frame goes on its way to a port.
type Hop struct {
	Now            int64
	Epoch          uint64
	FromApp, ToApp bool // from a port of the appliance, to one
}

// Leaving notes a frame that is on its way to a port, and returns the mark by which Delivered says that it got there.
// in is its mark when it entered.
func (j *Journal) Leaving(in int32, h Hop, f *frame.Frame, k *frame.Key) int32 {
	if j == nil || !observable(k) {
		return NoMark
	}
	if in >= 0 {
		j.records[in].Copies++
	}
	if h.ToApp {
		return NoMark
	}
	r := Record{Epoch: h.Epoch, Flow: FlowOf(k), Delivered: true, Appliance: h.FromApp}
	if in >= 0 {
		r.Print = j.records[in].Print
	} else {
		r.Print = j.printOf(f, k)
	}
	return j.Add(h.Now, r)
}

// Delivered notes that an output was sent.
func (j *Journal) Delivered(mark int32, now int64) {
	if j != nil && mark >= 0 {
		j.records[mark].At = now
	}
}

// Unmark takes back that a frame entered: the switch did not let it go on, which is no loss.
func (j *Journal) Unmark(mark int32) {
	if j != nil && mark >= 0 {
		j.records[mark].At = 0
	}
}

// Add notes a record, and returns its mark.
func (j *Journal) Add(now int64, r Record) int32 {
	if len(j.records) == cap(j.records) {
		if j.full == 0 {
			j.full = now
		}
		return NoMark
	}
	j.records = append(j.records, r)
	return int32(len(j.records) - 1)
}

// observable says whether a frame is an IP packet to one receiver, which arrives as it was sent or not at all. A UDP
// GSO frame may arrive in parts that have no sequence to join them by.
func observable(k *frame.Key) bool {
	return k.Flags&(frame.KeyIPv4|frame.KeyIPv6) != 0 && !k.Has(frame.KeyGroup) && !k.Dst.IsGroup() && !k.IsND() &&
		(!k.Has(frame.KeyGSO) || k.Proto == frame.ProtoTCP)
}

// FlowOf is the direction of a flow that a frame belongs to.
func FlowOf(k *frame.Key) Flow {
	return Flow{Src: k.Src, Dst: k.Dst, SrcPort: k.SrcPort, DstPort: k.DstPort, Proto: k.Proto, ICMPType: k.ICMPType}
}

// printOf reads what no router changes. The L4 checksum is left out: on one side it may not be filled in yet.
func (j *Journal) printOf(f *frame.Frame, k *frame.Key) Print {
	if k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) && k.PayloadLen > 0 && !k.Has(frame.KeyFragment) {
		return Print{Seq: k.Seq, Len: k.PayloadLen}
	}
	b := f.Eth()
	end := min(int(k.L3)+int(k.L3Len), f.Len)
	if !k.Has(frame.KeyL4) {
		return Print{Hash: maphash.Bytes(j.seed, b[min(int(k.L4), end):end])}
	}
	sum := int(k.L4) + 2 // of ICMP
	switch k.Proto {
	case frame.ProtoTCP:
		sum = int(k.L4) + 16
	case frame.ProtoUDP:
		sum = int(k.L4) + 6
	}
	head := maphash.Bytes(j.seed, b[k.L4:sum])
	return Print{Hash: head ^ maphash.Bytes(j.seed, b[sum+2:end])*3}
}
