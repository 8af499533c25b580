package vswitch

import (
	"hash/maphash"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// ledgerRecords is how many records all logs of a ledger hold together, and logRecords how many one of them holds at
// least and at most. A record is a frame that entered, or one that was delivered.
const (
	ledgerRecords = 1 << 20
	logRecordsMin = 1 << 10
	logRecordsMax = 1 << 16
)

// Ledger is what a change of placement is measured by: while an engine has one, each walker notes the IP frames
// that its port's guest sends, and those that it delivers. Nothing is analysed before the walkers have left it.
type Ledger struct {
	seed maphash.Seed
	logs []*log // by PortID; nil where the plan has no port
}

// log is one walker's part of the ledger. Only that walker writes.
type log struct {
	seed    maphash.Seed
	records []record // of fixed capacity
	full    int64    // monotonic ns: when the first record found no room; 0 is never
}

// record is one frame at an insertion point.
type record struct {
	at        int64 // monotonic ns; 0 where an output was not sent in the end
	epoch     uint64
	flow      flowKey
	print     print
	delivered bool // at to-guest; else it entered at from-guest
	appliance bool // it came out of the appliance
	copies    uint16
}

// flowKey is one direction of a flow.
type flowKey struct {
	src, dst     frame.Addr
	sport, dport uint16
	proto        uint8
	icmp         uint8 // type
}

// print tells frames of one flow apart, by what a router does not change. TCP segments with payload are told by what
// they carry, since a router on the way may join or split them; everything else is told by a hash.
type print struct {
	hash uint64
	seq  uint32
	len  uint32 // bytes of TCP payload; 0 means that hash counts
}

const noMark int32 = -1

// NewLedger reserves the logs of ports. It takes over the memory of an older ledger, which nobody uses any more.
func NewLedger(ports []frame.PortID, old *Ledger) *Ledger {
	l := &Ledger{seed: maphash.MakeSeed()}
	for _, id := range ports {
		for int(id) >= len(l.logs) {
			l.logs = append(l.logs, nil)
		}
		n := min(logRecordsMax, max(logRecordsMin, ledgerRecords/len(ports)))
		var records []record
		if was := old.logOf(id); was != nil && cap(was.records) == n {
			records = was.records[:0]
		} else {
			records = make([]record, 0, n)
		}
		l.logs[id] = &log{seed: l.seed, records: records}
	}
	return l
}

// logOf is a port's log, or nil.
func (l *Ledger) logOf(id frame.PortID) *log {
	if l == nil || int(id) >= len(l.logs) {
		return nil
	}
	return l.logs[id]
}

// entered notes a frame that was let in at from-guest, and returns its mark.
func (l *log) entered(cx *firewall.Context, p *Plan, f *frame.Frame, k *frame.Key) int32 {
	if l == nil || !observable(k) {
		return noMark
	}
	return l.add(cx.Now, record{at: cx.Now, epoch: p.Epoch, flow: flowOf(k), print: l.printOf(f, k)})
}

// leaving notes a frame that is on its way to a port, and returns the mark by which delivered says that it got there.
func (l *log) leaving(
	in int32, cx *firewall.Context, p *Plan, from frame.PortID, to *Port, f *frame.Frame, k *frame.Key,
) int32 {
	if l == nil || !observable(k) {
		return noMark
	}
	if in >= 0 {
		l.records[in].copies++
	}
	if to.Service {
		return noMark
	}
	r := record{epoch: p.Epoch, flow: flowOf(k), delivered: true, appliance: p.Ports[from].Service}
	if in >= 0 {
		r.print = l.records[in].print
	} else {
		r.print = l.printOf(f, k)
	}
	return l.add(cx.Now, r)
}

// delivered notes that outputs were sent.
func (l *log) delivered(outputs []Output, now int64) {
	for i := range outputs {
		if m := outputs[i].mark; m >= 0 {
			l.records[m].at = now
		}
	}
}

// unmark takes back that a frame entered: the switch did not let it go on, which is no loss.
func (l *log) unmark(m int32) {
	if l != nil && m >= 0 {
		l.records[m].at = 0
	}
}

func (l *log) add(now int64, r record) int32 {
	if len(l.records) == cap(l.records) {
		if l.full == 0 {
			l.full = now
		}
		return noMark
	}
	l.records = append(l.records, r)
	return int32(len(l.records) - 1)
}

// observable says whether a frame is an IP packet to one receiver, which arrives as it was sent or not at all. A UDP GSO
// frame may arrive in parts that have no sequence to join them by.
func observable(k *frame.Key) bool {
	return k.Flags&(frame.KeyIPv4|frame.KeyIPv6) != 0 && !k.Has(frame.KeyGroup) && !isGroup(k.Dst) && !neighbourTalk(k) &&
		(!k.Has(frame.KeyGSO) || k.Proto == frame.ProtoTCP)
}

func flowOf(k *frame.Key) flowKey {
	return flowKey{src: k.Src, dst: k.Dst, sport: k.SrcPort, dport: k.DstPort, proto: k.Proto, icmp: k.ICMPType}
}

// printOf reads what no router changes. The L4 checksum is left out: on one side it may not be filled in yet.
func (l *log) printOf(f *frame.Frame, k *frame.Key) print {
	if k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) && k.PayloadLen > 0 && !k.Has(frame.KeyFragment) {
		return print{seq: k.Seq, len: k.PayloadLen}
	}
	b := f.Eth()
	end := min(int(k.L3)+int(k.L3Len), f.Len)
	if !k.Has(frame.KeyL4) {
		return print{hash: maphash.Bytes(l.seed, b[min(int(k.L4), end):end])}
	}
	sum := int(k.L4) + 2 // of ICMP
	switch k.Proto {
	case frame.ProtoTCP:
		sum = int(k.L4) + 16
	case frame.ProtoUDP:
		sum = int(k.L4) + 6
	}
	head := maphash.Bytes(l.seed, b[k.L4:sum])
	return print{hash: head ^ maphash.Bytes(l.seed, b[sum+2:end])*3}
}
