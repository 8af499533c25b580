// Package measure says what a change cost: engines note each IP frame that enters and that is delivered, and what was
// noted is joined, flow by flow, once nobody writes any more.
package measure

import (
	"hash/maphash"

	"sluice/vnic/frame"
)

// ledgerRecords is how many records all logs of a ledger hold together, and logRecords how many one of them holds at
// least and at most. A record is a frame that entered, or one that was delivered.
const (
	ledgerRecords = 1 << 20
	logRecordsMin = 1 << 10
	logRecordsMax = 1 << 16
)

// Ledger is what a change of placement is measured by: while an engine has one, each walker notes the IP frames that
// its port's guest sends, and those that it delivers. Nothing is analysed before the walkers have left it.
type Ledger struct {
	seed maphash.Seed
	logs []*Log // by PortID; nil where there is no port
}

// Log is one walker's part of the ledger. Only that walker writes.
type Log struct {
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

// NewLedger reserves the logs of ports. It takes over the memory of an older ledger, which nobody uses any more.
func NewLedger(ports []frame.PortID, old *Ledger) *Ledger {
	l := &Ledger{seed: maphash.MakeSeed()}
	for _, id := range ports {
		for int(id) >= len(l.logs) {
			l.logs = append(l.logs, nil)
		}
		n := min(logRecordsMax, max(logRecordsMin, ledgerRecords/len(ports)))
		var records []Record
		if was := old.Log(id); was != nil && cap(was.records) == n {
			records = was.records[:0]
		} else {
			records = make([]Record, 0, n)
		}
		l.logs[id] = &Log{seed: l.seed, records: records}
	}
	return l
}

// Log is a port's log, or nil. It may be asked of nil.
func (l *Ledger) Log(id frame.PortID) *Log {
	if l == nil || int(id) >= len(l.logs) {
		return nil
	}
	return l.logs[id]
}

// The methods of a log may be called on nil, which notes nothing.

// Entered notes a frame that was let in at from-guest, now and by the plan of an epoch, and returns its mark.
func (l *Log) Entered(now int64, epoch uint64, f *frame.Frame, k *frame.Key) int32 {
	if l == nil || !observable(k) {
		return NoMark
	}
	return l.Add(now, Record{At: now, Epoch: epoch, Flow: FlowOf(k), Print: l.printOf(f, k)})
}

// Hop is where a frame goes on its way to a port.
type Hop struct {
	Now            int64
	Epoch          uint64
	FromApp, ToApp bool // from a port of the appliance, to one
}

// Leaving notes a frame that is on its way to a port, and returns the mark by which Delivered says that it got there.
// in is its mark when it entered.
func (l *Log) Leaving(in int32, h Hop, f *frame.Frame, k *frame.Key) int32 {
	if l == nil || !observable(k) {
		return NoMark
	}
	if in >= 0 {
		l.records[in].Copies++
	}
	if h.ToApp {
		return NoMark
	}
	r := Record{Epoch: h.Epoch, Flow: FlowOf(k), Delivered: true, Appliance: h.FromApp}
	if in >= 0 {
		r.Print = l.records[in].Print
	} else {
		r.Print = l.printOf(f, k)
	}
	return l.Add(h.Now, r)
}

// Delivered notes that an output was sent.
func (l *Log) Delivered(mark int32, now int64) {
	if l != nil && mark >= 0 {
		l.records[mark].At = now
	}
}

// Unmark takes back that a frame entered: the switch did not let it go on, which is no loss.
func (l *Log) Unmark(mark int32) {
	if l != nil && mark >= 0 {
		l.records[mark].At = 0
	}
}

// Add notes a record, and returns its mark.
func (l *Log) Add(now int64, r Record) int32 {
	if len(l.records) == cap(l.records) {
		if l.full == 0 {
			l.full = now
		}
		return NoMark
	}
	l.records = append(l.records, r)
	return int32(len(l.records) - 1)
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
func (l *Log) printOf(f *frame.Frame, k *frame.Key) Print {
	if k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) && k.PayloadLen > 0 && !k.Has(frame.KeyFragment) {
		return Print{Seq: k.Seq, Len: k.PayloadLen}
	}
	b := f.Eth()
	end := min(int(k.L3)+int(k.L3Len), f.Len)
	if !k.Has(frame.KeyL4) {
		return Print{Hash: maphash.Bytes(l.seed, b[min(int(k.L4), end):end])}
	}
	sum := int(k.L4) + 2 // of ICMP
	switch k.Proto {
	case frame.ProtoTCP:
		sum = int(k.L4) + 16
	case frame.ProtoUDP:
		sum = int(k.L4) + 6
	}
	head := maphash.Bytes(l.seed, b[k.L4:sum])
	return Print{Hash: head ^ maphash.Bytes(l.seed, b[sum+2:end])*3}
}
