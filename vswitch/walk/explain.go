package walk

import (
	"fmt"
	"net"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// say records a step, if somebody listens. The text is only made then.
func (w *Walker) say(what string, detail func() string) {
	if w.record != nil {
		w.record(TraceStep{Step: firewall.Step{What: what, Detail: detail()}})
	}
}

// because records that a frame ends here, and returns the reason.
func (w *Walker) because(what string, r frame.Reason) frame.Reason {
	w.say(what, func() string {
		text := "the frame ends here: " + r.String()
		if r == frame.ReasonFailed {
			text += ", as the appliance does not work and fails closed"
		}
		return text
	})
	return r
}

// sayVerdict records what a check point said.
func (w *Walker) sayVerdict(p *Port, d firewall.Dir, v firewall.Verdict) {
	if w.record == nil {
		return
	}
	w.last = v
	s := firewall.Step{What: "verdict", Detail: v.Action.String()}
	if v.Action == firewall.Drop {
		s.Detail = "drop: " + dropReason(v).String()
		if v.Flags&firewall.VerdictReject != 0 {
			s.Detail = "reject: answered"
		}
	}
	if v.Rule != 0 {
		s.Rule = w.plan.Program.RuleName(v.Rule)
	}
	w.record(TraceStep{Step: s, Point: p.Name + "/" + d.String()})
}

// describe puts a frame in one line.
func describe(k *frame.Key) string {
	switch {
	case k.Has(frame.KeyARP):
		return fmt.Sprintf("ARP from %s about %s", k.Src.IP(), k.Dst.IP())
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0:
		return fmt.Sprintf("EtherType %#04x from %s to %s", k.EtherType, macString(k.SrcMAC), macString(k.DstMAC))
	}
	src, dst := k.Src.IP().String(), k.Dst.IP().String()
	switch k.Proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		name := "TCP"
		if k.Proto == frame.ProtoUDP {
			name = "UDP"
		}
		return fmt.Sprintf("%s from %s port %d to %s port %d", name, src, k.SrcPort, dst, k.DstPort)
	case frame.ProtoICMP, frame.ProtoICMPv6:
		return fmt.Sprintf("ICMP type %d from %s to %s", k.ICMPType, src, dst)
	}
	return fmt.Sprintf("IP protocol %d from %s to %s", k.Proto, src, dst)
}

func macString(m frame.MAC) string { return net.HardwareAddr(m[:]).String() }

func (w *Walker) nameOf(id frame.PortID) string {
	if p := w.plan.Port(id); p != nil {
		return p.Name
	}
	return "a port that has gone"
}
