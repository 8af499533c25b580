package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Bounds of a watch: every frame is compared with every sight.
const (
	maxSights = 256
	maxEnds   = 64 // addresses of one end of a sight
)

// Sight says which frames are counted, and where. What is empty fits everything.
type Sight struct {
	At    string       `json:"at" doc:"client/from-guest; client stands for all its vNICs, both/1 for one; the appliance's ports count too"`
	Proto string       `json:"proto,omitempty" enum:"tcp,udp,icmp" doc:"icmp is an echo request, in ICMP or ICMPv6"`
	Port  uint16       `json:"port,omitempty" doc:"Destination, of tcp and udp"`
	From  []netip.Addr `json:"from,omitempty" maxItems:"64"`
	To    []netip.Addr `json:"to,omitempty" maxItems:"64"`
}

// Seen is what one sight has counted.
type Seen struct {
	Frames uint64 `json:"frames" doc:"That came to the point"`
	Passed uint64 `json:"passed" doc:"Of these, those that the point let through"`
}

// Watched is what a watch has seen so far.
type Watched struct {
	Seen   []Seen      `json:"seen" doc:"In the order of the sights"`
	Frames []SeenFrame `json:"frames" doc:"The first ones of each point"`
	Missed []Missed    `json:"missed" doc:"Points to which more frames came than are kept"`
}

// Missed says how many of a point's frames a watch has counted, but not kept.
type Missed struct {
	Point  string `json:"point"`
	Frames uint64 `json:"frames"`
}

// Watch counts frames at insertion points. Walkers that meet one that fits take its mutex; others only compare.
type Watch struct {
	sights []sight
	wall   func(int64) time.Time

	mu     sync.Mutex
	seen   []Seen
	frames seenFrames
}

// sight is a Sight as a walker compares it.
type sight struct {
	port     string // the vNIC's name, or the guest's
	dir      firewall.Dir
	proto    string
	dst      uint16
	from, to []frame.Addr
	point    int // its place among the points of the watch
}

// NewWatch makes a watch for sights, of which there is one at least. wall says when a moment of the switch's clock was.
func NewWatch(p *Plan, sights []Sight, wall func(int64) time.Time) (*Watch, error) {
	if len(sights) > maxSights {
		return nil, fmt.Errorf("watch: %d sights; at most %d are taken", len(sights), maxSights)
	}
	w := &Watch{wall: wall, seen: make([]Seen, len(sights))}
	for _, x := range sights {
		y, err := x.parse(p)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", x.At, err)
		}
		w.sights = append(w.sights, y)
	}
	w.frames.reserve(w.sights)
	return w, nil
}

// Watched is what the watch has seen since it was made. It may be asked of nil.
func (w *Watch) Watched() Watched {
	out := Watched{Seen: []Seen{}, Frames: []SeenFrame{}, Missed: []Missed{}}
	if w == nil {
		return out
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out.Seen = append(out.Seen, w.seen...)
	for i := range w.frames.kept {
		out.Frames = append(out.Frames, w.frames.tell(i, w.wall))
	}
	for _, p := range w.frames.points {
		if p.missed > 0 {
			out.Missed = append(out.Missed, Missed{p.at, p.missed})
		}
	}
	return out
}

func (x Sight) parse(p *Plan) (y sight, err error) {
	port, dir, _ := strings.Cut(x.At, "/to-guest")
	y.dir = firewall.ToGuest
	if port == x.At {
		port, dir, _ = strings.Cut(x.At, "/from-guest")
		y.dir = firewall.FromGuest
	}
	known := slices.ContainsFunc(p.Ports, func(q Port) bool { return q.ID != 0 && isPort(q.Name, port) })
	switch {
	case port == x.At || dir != "":
		return y, fmt.Errorf("an insertion point is client/from-guest or client/to-guest")
	case !known:
		return y, fmt.Errorf("no port %q", port)
	case len(x.From) > maxEnds || len(x.To) > maxEnds:
		return y, fmt.Errorf("more than %d addresses", maxEnds)
	}
	y.port, y.proto, y.dst = port, x.Proto, x.Port
	for _, a := range x.From {
		y.from = append(y.from, frame.AddrFrom(a))
	}
	for _, a := range x.To {
		y.to = append(y.to, frame.AddrFrom(a))
	}
	return y, nil
}

// isPort says whether a port is the one meant: by its name, or by its guest's.
func isPort(name, meant string) bool {
	guest, _, _ := strings.Cut(name, "/")
	return name == meant || guest == meant
}

// fits says whether a frame at a point is to be counted.
func (y *sight) fits(port string, d firewall.Dir, k *frame.Key) bool {
	switch y.proto {
	case "tcp":
		if k.Proto != frame.ProtoTCP {
			return false
		}
	case "udp":
		if k.Proto != frame.ProtoUDP {
			return false
		}
	case "icmp":
		if !k.IsEchoRequest() {
			return false
		}
	}
	return y.dir == d && (y.dst == 0 || y.dst == k.DstPort) && isPort(port, y.port) &&
		(len(y.from) == 0 || slices.Contains(y.from, k.Src)) && (len(y.to) == 0 || slices.Contains(y.to, k.Dst))
}

// watched counts a frame at a point, with the point's verdict.
func (w *Walker) watched(f *frame.Frame, k *frame.Key, p *Port, d firewall.Dir, v firewall.Verdict) {
	if w.watch == nil || k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 {
		return
	}
	first := -1
	for i := range w.watch.sights {
		if w.watch.sights[i].fits(p.Name, d, k) {
			w.watch.count(i, v.Action != firewall.Drop)
			if first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return
	}
	s := seenFrame{sight: first, at: w.cx.Now, port: p.Name, dir: d, key: *k, bytes: int(f.Len), verdict: v}
	if v.Rule != 0 {
		s.rule = w.plan.Program.RuleName(v.Rule)
	}
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	w.watch.frames.keep(w.watch.sights[first].point, &s, f.Eth())
}

func (w *Watch) count(i int, passed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[i].Frames++
	if passed {
		w.seen[i].Passed++
	}
}
