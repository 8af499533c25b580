package walk

import (
	"net/netip"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Bounds of what a watch keeps of the frames that it counts: so many in all, shared evenly by the points that are
// watched.
const (
	maxSeen      = 1024
	maxSeenPoint = 256
)

// MaxSeenBytes is after how many bytes a frame that a watch keeps is cut.
const MaxSeenBytes = 256

// SeenFrame is one frame that a sight has counted.
type SeenFrame struct {
	Sight   int            `json:"sight" doc:"Place of the first sight that it fits"`
	Time    time.Time      `json:"time"`
	Point   string         `json:"point"`
	Proto   uint8          `json:"proto"`
	Src     netip.AddrPort `json:"src"`
	Dst     netip.AddrPort `json:"dst"`
	Flags   uint8          `json:"tcp_flags,omitempty"`
	Bytes   int            `json:"bytes"`
	Verdict string         `json:"verdict" doc:"pass, drop, reject or steer"`
	Reason  string         `json:"reason,omitempty"`
	Rule    string         `json:"rule,omitempty"`
	Data    []byte         `json:"data,omitempty" doc:"Its first bytes, as it came to the point; checksums that the guest leaves to its vNIC are not filled in"`
}

// seenFrames are the first frames that came to each point of a watch. The memory is there before.
type seenFrames struct {
	kept   []seenFrame // never longer than its capacity
	bytes  []byte      // MaxSeenBytes for each
	points []seenPoint
	each   int // how many a point may keep
}

// seenPoint is an insertion point as sights name it.
type seenPoint struct {
	at     string
	kept   int
	missed uint64
}

// seenFrame is a SeenFrame before it is told.
type seenFrame struct {
	sight   int
	at      int64
	port    string
	dir     firewall.Dir
	key     frame.Key
	bytes   int
	snap    int // how many of them are kept
	verdict firewall.Verdict
	rule    string
}

// reserve makes room for the frames of sights, and tells each of them which point is its own.
func (s *seenFrames) reserve(sights []sight) {
	for i := range sights {
		at := sights[i].port + "/" + sights[i].dir.String()
		p := 0
		for p < len(s.points) && s.points[p].at != at {
			p++
		}
		if p == len(s.points) {
			s.points = append(s.points, seenPoint{at: at})
		}
		sights[i].point = p
	}
	s.each = min(maxSeenPoint, maxSeen/len(s.points))
	s.kept = make([]seenFrame, 0, s.each*len(s.points))
	s.bytes = make([]byte, cap(s.kept)*MaxSeenBytes)
}

// keep remembers a frame that came to a point while there is room; it allocates nothing.
func (s *seenFrames) keep(point int, x *seenFrame, eth []byte) {
	p := &s.points[point]
	if p.kept == s.each {
		p.missed++
		return
	}
	p.kept++
	n := len(s.kept)
	s.kept = s.kept[:n+1]
	s.kept[n] = *x
	s.kept[n].snap = copy(s.room(n), eth)
}

// room is where the bytes of a kept frame are.
func (s *seenFrames) room(n int) []byte { return s.bytes[n*MaxSeenBytes:][:MaxSeenBytes] }

// tell is a kept frame for people.
func (s *seenFrames) tell(n int, wall func(int64) time.Time) SeenFrame {
	x := &s.kept[n]
	out := SeenFrame{
		Sight: x.sight, Time: wall(x.at), Point: x.port + "/" + x.dir.String(), Proto: x.key.Proto, Flags: x.key.TCPFlags,
		Src: netip.AddrPortFrom(x.key.Src.IP(), x.key.SrcPort), Dst: netip.AddrPortFrom(x.key.Dst.IP(), x.key.DstPort),
		Bytes: x.bytes, Verdict: x.verdict.Action.String(), Rule: x.rule, Data: append([]byte(nil), s.room(n)[:x.snap]...),
	}
	if x.verdict.Action == firewall.Drop {
		out.Reason = x.verdict.Reason.String()
		if x.verdict.Flags&firewall.VerdictReject != 0 {
			out.Verdict = "reject"
		}
	}
	return out
}
