package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// fakeLab is a lab in memory in which a test says what each port does. Nothing of it is the switch: it only tells a
// consistent story.
type fakeLab struct {
	ports     map[string]probe.Outcome // by target: tcp/10.0.2.1/80; others are silent
	delivered map[string]bool          // by target: it reached the other guest
	mute      bool                     // guests send nothing at all
	placement firewall.Placement
	refuses   firewall.Placement // a placement that the switch does not take; Off is none
	history   []vswitch.Receipt
	epoch     uint64
	flows     []firewall.FlowRecord
	policy    *firewall.Policy
	walk      vswitch.TraceResult
	stats     vswitch.Stats
	perTry    uint64 // frames that the port fw is handed in each attempt
	exit      int
	stdout    string
	sick      error
	speeds    map[firewall.Placement][]int64 // of downloads, one after the other

	sights []vswitch.Sight
	sent   []string
	tries  int
	onTry  func(*fakeLab) // before each attempt
	moves  []firewall.Placement
	execs  []string
	traced []vswitch.TraceRequest
}

var errSick = errors.New("the lab is sick")

func (l *fakeLab) Probe(_ context.Context, guest string, targets []probe.Target, _ time.Duration) (out []probe.Result, err error) {
	for _, t := range targets {
		o, known := l.ports[t.String()]
		if !known {
			o = probe.Silent
		}
		out = append(out, probe.Result{Target: t.String(), Outcome: o})
		if !l.mute {
			l.sent = append(l.sent, t.String())
		}
	}
	return out, l.sick
}

func (l *fakeLab) Download(_ context.Context, guest string, _ probe.Target, during time.Duration) (d probe.Download, err error) {
	speeds := l.speeds[l.placement]
	if len(speeds) == 0 {
		return d, l.sick
	}
	l.speeds[l.placement] = append(speeds[1:], speeds[0])
	return probe.Download{Bytes: speeds[0], MS: 1000}, l.sick
}

func (l *fakeLab) Exec(ctx context.Context, guest string, argv []string) (Output, error) {
	l.execs = append(l.execs, guest+": "+strings.Join(argv, " "))
	if argv[0] == "sleep" {
		<-ctx.Done()
	}
	return Output{Code: l.exit, Stdout: l.stdout, Stderr: "said on stderr\n"}, l.sick
}

func (l *fakeLab) Script(ctx context.Context, file string) (Output, error) {
	return l.Exec(ctx, "here", []string{file})
}

func (l *fakeLab) Watch(_ context.Context, sights []vswitch.Sight) error {
	l.sights, l.sent = sights, nil
	l.tries++
	if l.onTry != nil {
		l.onTry(l)
	}
	return nil
}

// Watched says that everything that was sent left its guest, and that what was delivered arrived.
func (l *fakeLab) Watched(context.Context) (out vswitch.Watched, err error) {
	for _, s := range l.sights {
		var n vswitch.Seen
		for _, text := range l.sent {
			t, err := probe.ParseTarget(text)
			if err != nil {
				return out, err
			}
			fits := s.Proto == t.Proto && s.Port == t.Port && (len(s.To) == 0 || s.To[0] == t.Addr)
			if fits && (strings.HasSuffix(s.At, "/from-guest") || l.delivered[text]) {
				n.Frames, n.Passed = n.Frames+1, n.Passed+1
			}
		}
		out.Seen = append(out.Seen, n)
	}
	return out, nil
}

func (l *fakeLab) Stats(context.Context) (vswitch.Stats, error) {
	st := l.stats
	st.Ports = append([]vswitch.PortStats{}, st.Ports...)
	for i := range st.Ports {
		if strings.HasPrefix(st.Ports[i].Name, "fw/") {
			st.Ports[i].OutFrames += l.perTry
		}
	}
	l.stats = st
	return st, nil
}

func (l *fakeLab) Flows(context.Context) ([]firewall.FlowRecord, error) { return l.flows, nil }

func (l *fakeLab) InForce(context.Context) (*firewall.Policy, error) { return l.policy, l.sick }

func (l *fakeLab) Trace(_ context.Context, r vswitch.TraceRequest) (vswitch.TraceResult, error) {
	l.traced = append(l.traced, r)
	return l.walk, l.sick
}

func (l *fakeLab) Placement(context.Context) (firewall.Placement, []vswitch.Receipt, error) {
	return l.placement, l.history, nil
}

func (l *fakeLab) Place(_ context.Context, to firewall.Placement, o vswitch.PlaceOptions) (vswitch.Receipt, error) {
	if to == l.refuses && to != firewall.Off {
		return vswitch.Receipt{}, fmt.Errorf("this placement is not built yet")
	}
	l.epoch++
	r := vswitch.Receipt{From: l.placement, To: to, Handover: o.Handover, Epoch: l.epoch}
	l.placement, l.history, l.moves = to, append(l.history, r), append(l.moves, to)
	return r, nil
}

var (
	client = End{"client", true, []netip.Addr{netip.MustParseAddr("10.0.1.1")}}
	server = End{"server", true, []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("fd00::2")}}
)

func tcp(port uint16) Flow { return Flow{Proto: "tcp", Port: port, From: client, To: server} }

func fromPort(port uint16, f Flow) Flow {
	f.SrcPort = port
	return f
}

func flowRecord(port uint16, state string) firewall.FlowRecord {
	return firewall.FlowRecord{
		Proto: frame.ProtoTCP, State: state, Rule: "web",
		Src: netip.AddrPortFrom(client.Addrs[0], 40000), Dst: netip.AddrPortFrom(server.Addrs[0], port),
	}
}
