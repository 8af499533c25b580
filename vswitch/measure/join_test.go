package measure

import (
	"net/netip"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// parseJournal reads a hand-made journal of one Flow: words of time, > (entered) or < (delivered), and what: a letter
// for a frame told by its hash, or FROM-TO for the bytes of a TCP segment. A * after it means delivered out of the
// appliance, a + that the frame was copied to two ports.
func parseJournal(t *testing.T, s string) (l []Record) {
	t.Helper()
	for _, word := range strings.Fields(s) {
		var r Record
		for word[0] >= '0' && word[0] <= '9' {
			r.At, word = r.At*10+int64(word[0]-'0'), word[1:]
		}
		r.Delivered, word = word[0] == '<', word[1:]
		r.Epoch, r.Copies = 1, 1
		if strings.HasSuffix(word, "*") {
			r.Appliance, word = true, word[:len(word)-1]
		}
		if strings.HasSuffix(word, "+") {
			r.Copies, word = 2, word[:len(word)-1]
		}
		if from, to, tcp := strings.Cut(word, "-"); tcp {
			r.Print = Print{Seq: 0xffffff00 + number32(from), Len: number32(to) - number32(from)}
		} else {
			r.Print = Print{Hash: uint64(word[0])}
		}
		l = append(l, r)
	}
	return l
}

func number32(s string) (n uint32) {
	for _, c := range s {
		n = n*10 + uint32(c-'0')
	}
	return n
}

// TestJoin reads receipts from hand-made journals of one flow. The sequence numbers wrap within each.
func TestJoin(t *testing.T) {
	w := Interval{Start: 1, End: 1000, Grace: 100, Placements: map[uint64]firewall.Placement{1: firewall.Fast}}
	for _, c := range []struct {
		name, journal string
		want          Findings
	}{
		{"nothing", "", Findings{}},
		{"all there", "10>a 11<a 20>b 21<b", Findings{Observed: 2, Delivered: 2, Gap: 1}},
		{"lost", "10>a 20>b 21<b", Findings{Observed: 2, Delivered: 1, Lost: 1, Gap: 11}},
		{"lost for ever", "10>a", Findings{Observed: 1, Lost: 1, Gap: 990}},
		{"on its way at the end", "10>a 11<a 950>b", Findings{Observed: 2, Delivered: 1, Gap: 1}},
		{"on its way at the start", "10<z 20>a 21<a", Findings{Observed: 1, Delivered: 2, Gap: 1}},
		{"twice", "10>a 11<a 12<a", Findings{Observed: 1, Delivered: 2, Duplicated: 1, Gap: 1}},
		{"sent twice", "10>a 11<a 20>a 22<a", Findings{Observed: 2, Delivered: 2, Gap: 2}},
		{"flooded", "10>a+ 11<a 11<a", Findings{Observed: 1, Delivered: 2, Gap: 1}},
		{"overtaken", "10>a 11>b 12<b 13<a", Findings{Observed: 2, Delivered: 2, Reordered: 1, Gap: 2}},
		{"gap", "10>a 11<a 20>b 30>c 90<b 91<c", Findings{Observed: 3, Delivered: 3, Gap: 70}},
		{"idle is no gap", "10>a 11<a 800>b 801<b", Findings{Observed: 2, Delivered: 2, Gap: 1}},
		{"segments", "10>0-100 11<0-100 12>100-400 13<100-400", Findings{Observed: 2, Delivered: 2, Gap: 1}},
		{"split", "10>0-400 11<0-100 11<100-400", Findings{Observed: 1, Delivered: 2, Gap: 1}},
		{"joined", "10>0-100 11>100-400 14<0-400", Findings{Observed: 2, Delivered: 1, Gap: 4}},
		{"a piece is lost", "10>0-400 11<0-100 12<200-400", Findings{Observed: 1, Delivered: 2, Lost: 1, Gap: 1}},
		{"retransmitted", "10>0-100 20>100-200 21<100-200 50>0-100 51<0-100", Findings{Observed: 3, Delivered: 2, Lost: 1, Gap: 11}},
		{"needlessly retransmitted", "10>0-100 11<0-100 50>0-100 51<0-100", Findings{Observed: 2, Delivered: 2, Gap: 1}},
		{"segment twice", "10>0-100 11<0-100 12<0-100", Findings{Observed: 1, Delivered: 2, Duplicated: 1, Gap: 1}},
		{"segment overtaken", "10>0-100 11>100-200 12<100-200 13<0-100", Findings{Observed: 2, Delivered: 2, Reordered: 1, Gap: 2}},
		{"segment from before", "10<500-600 20>0-100 21<0-100", Findings{Observed: 1, Delivered: 2, Gap: 1}},
	} {
		l := Ledger{journals: []*Journal{nil, {records: parseJournal(t, c.journal)}}}
		if got := figures(l.Join(w)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// figures are findings without the flows that they name.
func figures(f Findings) Findings {
	f.LostMost, f.LeakedMost = Most{}, Most{}
	return f
}

// TestJoinNames says which flow lost most, and which leaked most; of two alike always the same.
func TestJoinNames(t *testing.T) {
	const text = "default: drop\nservices:\n  low: {udp: 1-3}\nrules:\n  - {name: low, service: low, action: allow}\n"
	policy, err := firewall.Load("policy.yaml", []byte(text), &firewall.Inventory{})
	if err != nil {
		t.Fatal(err)
	}
	w := Interval{Start: 1, End: 1000, Grace: 100, Policy: policy, Placements: map[uint64]firewall.Placement{1: firewall.Fast}}
	var records []Record
	flow := func(proto uint8, port uint16, journal string) Flow {
		k := Flow{Src: frame.Addr{15: 1}, Dst: frame.Addr{15: 2}, Proto: proto, SrcPort: 1000, DstPort: port}
		for _, r := range parseJournal(t, journal) {
			r.Flow = k
			records = append(records, r)
		}
		return k
	}
	flow(frame.ProtoUDP, 3, "10>a 20>b 21<b")
	flow(frame.ProtoUDP, 2, "10>a 20>b 30>c 31<c")
	most := flow(frame.ProtoUDP, 1, "10>a 20>b")
	leaked := flow(frame.ProtoTCP, 23, "10>a 11<a")
	for range 20 { // maps have an order of their own each time
		l := Ledger{journals: []*Journal{{records: records}}}
		got := l.Join(w)
		if got.Lost != 5 || got.LostMost != (Most{most, 2}) || got.LeakedMost != (Most{leaked, 1}) {
			t.Fatalf("%+v", got)
		}
		if s := got.LostMost.String(); s != "udp/1 from ::1 port 1000 to ::2" {
			t.Fatalf("in words: %s", s)
		}
	}
}

// TestMostInWords: a reply is called a reply, though its flow began with a request; and nothing is not called at all.
func TestMostInWords(t *testing.T) {
	k := Flow{Src: frame.Addr{15: 1}, Dst: frame.Addr{15: 2}, Proto: frame.ProtoICMPv6, ICMPType: frame.ICMP6EchoReply}
	for want, m := range map[string]Most{"icmpv6 type 129 from ::1 to ::2": {k, 1}, "": {k, 0}} {
		if got := m.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestJoinOrphans says that segments of a connection that nobody knows any more are denied, and not lost: a closed
// socket may repeat its FIN for minutes. Where one of them arrives, the others count.
func TestJoinOrphans(t *testing.T) {
	const lost, arrives = "10>a 20>b", "10>a 20>b 21<b"
	for _, c := range []struct {
		name    string
		proto   uint8
		known   bool
		journal string
		want    Findings
	}{
		{"orphan", frame.ProtoTCP, false, lost, Findings{Observed: 2, Denied: 2}},
		{"known", frame.ProtoTCP, true, lost, Findings{Observed: 2, Lost: 2, Gap: 990}},
		{"one arrives", frame.ProtoTCP, false, arrives, Findings{Observed: 2, Delivered: 1, Lost: 1, Gap: 11}},
		{"UDP needs no beginning", frame.ProtoUDP, false, lost, Findings{Observed: 2, Lost: 2, Gap: 990}},
	} {
		l := Ledger{journals: []*Journal{{records: parseJournal(t, c.journal)}}}
		for i := range l.journals[0].records {
			l.journals[0].records[i].Flow = Flow{Src: frame.Addr{15: 1}, Dst: frame.Addr{15: 2}, SrcPort: 1, DstPort: 2, Proto: c.proto}
		}
		w := Interval{Start: 1, End: 1000, Grace: 100, Placements: map[uint64]firewall.Placement{1: firewall.Slow}}
		w.Known = func(firewall.Tuple) bool { return c.known }
		if got := figures(l.Join(w)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// TestJoinDenied tells a leak from a frame that the appliance kept, and both from slow's blind spot.
func TestJoinDenied(t *testing.T) {
	inv := &firewall.Inventory{}
	policy, err := firewall.Load("policy.yaml", []byte("default: drop\nrules: []\n"), inv)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, journal string
		in            firewall.Placement
		want          Findings
	}{
		{"leak", "10>a 11<a", firewall.Fast, Findings{Observed: 1, Delivered: 1, Leaked: 1}},
		{"nobody enforces", "10>a 11<a", firewall.Off, Findings{Observed: 1, Delivered: 1}},
		{"leak of the appliance", "10>a 11<a*", firewall.Slow, Findings{Observed: 1, Delivered: 1, Leaked: 1}},
		{"within a segment", "10>a 11<a", firewall.Slow, Findings{Observed: 1, Delivered: 1}},
		{"kept by the appliance", "10>a", firewall.Slow, Findings{Observed: 1, Denied: 1}},
		{"drained", "10>a 11<a*", firewall.Off, Findings{Observed: 1, Delivered: 1, Drained: 1}},
	} {
		l := Ledger{journals: []*Journal{{records: parseJournal(t, c.journal)}}}
		for i := range l.journals[0].records {
			l.journals[0].records[i].Flow = Flow{Src: frame.Addr{15: 1}, Dst: frame.Addr{15: 2}, Proto: frame.ProtoUDP}
		}
		w := Interval{Start: 1, End: 1000, Grace: 100, Policy: policy, Placements: map[uint64]firewall.Placement{1: c.in}}
		if got := figures(l.Join(w)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// TestJoinRelated says that what a helper of the appliance may have let pass is no leak where its conntrack decides,
// and is one where the engine does.
func TestJoinRelated(t *testing.T) {
	const text = "default: drop\nhelpers: [ftp]\nservices:\n  ftp: {tcp: 21}\nrules:\n  - {name: ftp, service: ftp, action: allow}\n"
	policy, err := firewall.Load("policy.yaml", []byte(text), &firewall.Inventory{})
	if err != nil {
		t.Fatal(err)
	}
	for in, leaked := range map[firewall.Placement]int{firewall.Slow: 0, firewall.Fast: 1} {
		records := parseJournal(t, "10>a 11<a*")
		for i := range records {
			records[i].Flow = Flow{Src: frame.Addr{15: 2}, Dst: frame.Addr{15: 1}, SrcPort: 20, DstPort: 40000, Proto: frame.ProtoTCP}
		}
		l := Ledger{journals: []*Journal{{records: records}}}
		w := Interval{Start: 1, End: 1000, Grace: 100, Policy: policy, Placements: map[uint64]firewall.Placement{1: in}}
		if got := l.Join(w); got.Leaked != leaked {
			t.Errorf("%s: %+v", in, got)
		}
	}
}

// TestJoinAttempts: what the policy lets only the other end begin is an answer, whose loss counts, or an attempt, which
// is denied.
func TestJoinAttempts(t *testing.T) {
	inv := &firewall.Inventory{}
	const text = "default: allow\nrules:\n  - {name: back, from: 10.0.2.0/24, to: 10.0.1.0/24, action: drop}\n"
	policy, err := firewall.Load("policy.yaml", []byte(text), inv)
	if err != nil {
		t.Fatal(err)
	}
	client, server := frame.AddrFrom(netip.MustParseAddr("10.0.1.1")), frame.AddrFrom(netip.MustParseAddr("10.0.2.1"))
	key := func(proto, icmp uint8) Flow { return Flow{Src: server, Dst: client, Proto: proto, ICMPType: icmp} }
	for _, c := range []struct {
		name        string
		flow        Flow   // from the server
		forth, back string // the client's journal, and the server's
		in          firewall.Placement
		want        Findings
	}{
		{"an attempt", key(47, 0), "", "10>a 20>b", firewall.Slow, Findings{Observed: 2, Denied: 2}},
		{"answers, by what came before", key(47, 0), "", "10>a 20>b 21<b*", firewall.Slow, Findings{Observed: 2, Delivered: 1, Lost: 1, Gap: 11}},
		{"let pass by nobody", key(47, 0), "", "10>a 20>b 21<b", firewall.Off, Findings{Observed: 2, Delivered: 1, Denied: 1}},
		{"answers", key(47, 0), "5>c 6<c*", "10>a 20>b", firewall.Slow, Findings{Observed: 3, Delivered: 1, Lost: 2, Gap: 990}},
		{"a ping", key(frame.ProtoICMP, 8), "", "10>a 20>b", firewall.Slow, Findings{Observed: 2, Denied: 2}},
		{"a ping that leaked", key(frame.ProtoICMP, 8), "", "10>a 11<a*", firewall.Slow, Findings{Observed: 1, Delivered: 1, Leaked: 1}},
		{"a ping's answer", key(frame.ProtoICMP, 0), "5>c 6<c*", "10>a", firewall.Slow, Findings{Observed: 2, Delivered: 1, Lost: 1, Gap: 990}},
		{"a ping's answer, asked for before", key(frame.ProtoICMP, 0), "", "10>a 11<a*", firewall.Slow, Findings{Observed: 1, Delivered: 1, Gap: 1}},
	} {
		forth, back := parseJournal(t, c.forth), parseJournal(t, c.back)
		for i := range forth {
			forth[i].Flow = c.flow.reverse()
		}
		for i := range back {
			back[i].Flow = c.flow
		}
		l := Ledger{journals: []*Journal{{records: forth}, {records: back}}}
		w := Interval{Start: 1, End: 1000, Grace: 100, Policy: policy, Placements: map[uint64]firewall.Placement{1: c.in}}
		if got := figures(l.Join(w)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}
