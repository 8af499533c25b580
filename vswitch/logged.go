package vswitch

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Logged is what a rule with log: true decided of a frame. All of it is of fixed types, or a name that the policy or
// the lab file gives: a guest can put no text of its own into it.
type Logged struct {
	Rule       string              `json:"rule"`
	Action     firewall.RuleAction `json:"action"`
	Point      string              `json:"point"` // as in client/from-guest
	Proto      uint8               `json:"proto"`
	Src        netip.Addr          `json:"src"`
	Dst        netip.AddrPort      `json:"dst"`                 // the port is 0 where the protocol has none
	ICMPType   *uint8              `json:"icmp_type,omitempty"` // ICMP and ICMPv6 only
	ICMPCode   *uint8              `json:"icmp_code,omitempty"`
	Suppressed uint64              `json:"suppressed"` // decisions of the rule that were not logged since its last line
}

// logRules writes down what logged rules decide, until the switch is closed: as events, and in the lab's log.
func (s *Switch) logRules() {
	s.rules.Run(s.life, s.tellLogged)
	s.rules.Drain(s.tellLogged) // what the last frames have left
}

func (s *Switch) tellLogged(n firewall.Note) {
	plan := s.plan.Load()
	port := "a port that has gone"
	if p := plan.Port(n.Point.Port); p != nil {
		port = p.Name
	}
	flow := n.Flow()
	l := &Logged{
		Rule: n.Rule, Action: n.Action, Point: port + "/" + n.Point.Dir.String(),
		Proto: flow.Proto, Src: flow.Src.Addr(), Dst: flow.Dst, Suppressed: n.Suppressed,
	}
	if flow.Proto == frame.ProtoICMP || flow.Proto == frame.ProtoICMPv6 {
		l.ICMPType, l.ICMPCode = &flow.ICMPType, &flow.ICMPCode
	}
	detail := fmt.Sprintf("%s: %s by rule %s at %s", flow, n.Action, n.Rule, l.Point)
	if n.Suppressed > 0 {
		detail += fmt.Sprintf("; %d more were not logged", n.Suppressed)
	}
	at := s.wall(n.At)
	s.events.send(Event{Time: at, Kind: "rule", Detail: detail, Logged: l})
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "rule", append(n.LogAttrs(port), slog.Time("at", at))...)
}

// wall is when a moment of the switch's clock was.
func (s *Switch) wall(at int64) time.Time { return time.Now().Add(time.Duration(at - s.clock())) }
