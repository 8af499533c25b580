package vswitch

import (
	"fmt"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Receipt is what one change of placement cost. It is measured: the engine logs each IP frame that enters and leaves
// while the change runs, and the logs are joined afterwards. The JSON names are what scripts rely on.
type Receipt struct {
	From         firewall.Placement `json:"from" doc:"What was chosen before"`
	Bypassed     bool               `json:"bypassed" doc:"Its appliance had failed, and frames passed it by until this change"`
	To           firewall.Placement `json:"to"`
	Handover     Handover           `json:"handover"`
	Epoch        uint64             `json:"epoch" doc:"Of the plan that stays"`
	DurationMS   float64            `json:"duration_ms" doc:"From the request until the old way was empty"`
	GapMS        float64            `json:"gap_ms" doc:"Longest time that a flow with frames waiting went without a delivery"`
	Observed     int                `json:"observed" doc:"Frames that entered while the change was watched"`
	Delivered    int                `json:"delivered" doc:"Frames handed to guests while the change was watched"`
	Lost         int                `json:"lost" doc:"Accepted, allowed by the policy, and never delivered"`
	Duplicated   int                `json:"duplicated" doc:"Delivered more often than sent"`
	Reordered    int                `json:"reordered" doc:"Delivered after a frame of the same flow that was sent later"`
	Leaked       int                `json:"leaked" doc:"Delivered by an enforcing plan, but denied by the policy"`
	Drained      int                `json:"drained" doc:"Frames that still came out of the appliance after the change"`
	Unasked      uint64             `json:"unasked" doc:"Frames of guests that passed the appliance by, which had failed: all since the receipt before"`
	FlowsCarried int                `json:"flows_carried"`
	FlowsAnew    int                `json:"flows_begun_anew" doc:"Not carried, since the side that takes over cannot be told of them: their next frame begins them anew"`
	FlowsKept    int                `json:"flows_kept" doc:"Flows that stay on the way on which they began"`
	Dropped      map[string]uint64  `json:"dropped" doc:"Frames by reason, in the whole switch, while the change ran"`
	Overflow     bool               `json:"overflow" doc:"More frames than the logs hold: only the first ones are counted"`
}

// summary is a receipt in one line.
func (r *Receipt) summary() string {
	said := fmt.Sprintf("%s to %s: gap %.1f ms, %d lost", chosen(r.From, r.Bypassed), r.To, r.GapMS, r.Lost)
	if r.Unasked > 0 {
		said += fmt.Sprintf(", %d passed unasked", r.Unasked)
	}
	if r.FlowsAnew > 0 {
		said += fmt.Sprintf(", %d flows begin anew", r.FlowsAnew)
	}
	return said
}

// chosen names a placement, and says where its appliance is passed by.
func chosen(p firewall.Placement, bypassed bool) string {
	if bypassed {
		return p.String() + " (passed by)"
	}
	return p.String()
}

// Handover says what becomes of the flows that run while the placement changes.
type Handover string

// The handovers.
const (
	Carry Handover = "carry" // flow state is moved, and the flows live on
	Keep  Handover = "keep"  // old flows stay on the old side until they end
	Cut   Handover = "cut"   // every flow is forgotten, on both sides
)

// PlaceOptions says how a placement is changed. The zero value is the default.
type PlaceOptions struct {
	Handover Handover // the switch's own where empty (see Config)
	Fail     Fail     // what becomes of frames while the appliance fails; as the policy says where empty
	First    bool     // the lab comes up: nobody has changed anything, and History does not tell of it
}

// Fail says what becomes of frames that the appliance cannot look at.
type Fail string

// The ways to fail.
const (
	FailClosed Fail = "closed" // they go nowhere
	FailOpen   Fail = "open"   // they pass it by
)

// PolicyResult is what applying a policy did.
type PolicyResult struct {
	Generation uint64             `json:"generation" doc:"Of the policy now in force; counts from 1"`
	Epoch      uint64             `json:"epoch"`
	Placement  firewall.Placement `json:"placement"`
	Rules      int                `json:"rules"`
	FlowsCut   int                `json:"flows_cut" doc:"Flows that were known and that the policy does not allow: connections, and where the appliance enforces also attempts"`
	DurationMS float64            `json:"duration_ms"`
}

// TraceRequest describes the frame whose way is asked for: the first of a flow, or one of a flow that is known; or it is the frame.
type TraceRequest struct {
	Proto string `json:"proto,omitempty"` // tcp, udp, icmp; or another one of IP, by its name in policies or its number
	From  string `json:"from,omitempty"`  // a guest, one of its vNICs (R1/1, R1/eth1), or one of its addresses
	To    string `json:"to,omitempty"`    // a guest, one of its vNICs, or any address
	Flags string `json:"flags,omitempty"` // TCP's, as syn,ack or none; empty is syn
	ICMP  string `json:"icmp,omitempty"`  // type or code, as policies have it: host-unreachable, 3/1; empty is echo
	// SrcPort and DstPort are TCP's or UDP's, 0 to 65535. A source port of 0 is one that no flow uses.
	SrcPort uint16 `json:"src_port,omitempty"`
	DstPort uint16 `json:"dst_port,omitempty"`
	IPv6    bool   `json:"ipv6,omitempty"` // between guests with addresses of both kinds
	// Frame is a whole Ethernet frame, in place of all of the above, and At the insertion point where it is: client/from-guest, or
	// client for short, is a frame that the guest sends; client/to-guest one that is about to be delivered.
	Frame []byte `json:"frame,omitempty"`
	At    string `json:"at,omitempty"`
}

// TraceResult is the way of one frame through the switch, which nobody sent.
type TraceResult struct {
	Verdict string      `json:"verdict"` // pass, drop, reject, or answered: the gateway itself does
	Rule    string      `json:"rule"`    // the rule that decided; empty where none did
	Reason  string      `json:"reason"`  // a frame.Reason's name where the frame goes to no guest, else empty
	Crosses bool        `json:"crosses"` // it meets the appliance on its way
	Reaches []string    `json:"reaches"` // the vNICs that it is delivered to: several where it is flooded
	Steps   []TraceStep `json:"steps"`
}

// TraceStep is one step on the way.
type TraceStep struct {
	firewall.Step
	Point string `json:"point,omitempty"` // the insertion point, as in client/from-guest; empty between two of them
}

// PortStats are a port's counters since it was added. Frames in and out are counted as the guest sees them.
type PortStats struct {
	Name    string       `json:"name"`
	ID      frame.PortID `json:"id"`
	Segment string       `json:"segment"`
	Up      bool         `json:"up"`
	// Generation is that of the policy that is realized at the vNIC; for a port of the appliance, of the one that the appliance has
	// taken. 0 is none.
	Generation uint64 `json:"generation"`
	InFrames   uint64 `json:"in_frames"` // from the guest
	InBytes    uint64 `json:"in_bytes"`
	OutFrames  uint64 `json:"out_frames"` // to the guest
	OutBytes   uint64 `json:"out_bytes"`
	Copies     uint64 `json:"copies"` // frames made of this port's frames beyond the first: floods
	// Batches are how often the port's goroutine has taken what was there, and Wakes how often it had to be woken for it: before the
	// other batches more frames were waiting already.
	Batches  uint64            `json:"batches"`
	Wakes    uint64            `json:"wake_ups"`
	Dropped  map[string]uint64 `json:"dropped"`
	NICDrops uint64            `json:"nic_drops"` // lost in the NIC's own queue before the switch saw them: not in the books
	MACs     int               `json:"macs"`      // FDB entries
}

// MACEntry says behind which port a MAC of a segment lives.
type MACEntry struct {
	Segment string  `json:"segment"`
	MAC     string  `json:"mac"`
	Port    string  `json:"port"`                                                             // "switch" is the switch itself; empty where whoever served a gateway is gone
	Age     float64 `json:"age_s" doc:"For how long it has been silent: noted once a second"` // 0 where it is static
	Static  bool    `json:"static" doc:"It is a gateway's: not learnt, and never forgotten"`
}

// RuleStats are a rule's counters since the policy was applied.
type RuleStats struct {
	Rule string `json:"rule"` // "default" is what no rule matched
	Hits uint64 `json:"hits"` // how often an insertion point asked the rules and got this one: for a flow's first frame, mostly
	// Frames and Bytes (of IP) are those of the flows that the rule let in, over their whole life; and of what hit it and was no flow.
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	// LastHit is when the last hit was; left out where there was none.
	LastHit time.Time `json:"last_hit,omitzero"`
	// Unlogged is how many decisions of a logged rule were not logged since its last line.
	Unlogged uint64 `json:"unlogged"`
}

// Stats are the switch's counters. The books balance: in + copies == out + the sum of dropped. Frames that the switch
// itself makes (answers, questions for a neighbour) come in at the port "switch".
type Stats struct {
	Placement firewall.Placement `json:"placement"`
	Epoch     uint64             `json:"epoch"`
	// Generation is the policy's; each port tells the one that is realized there.
	Generation uint64            `json:"generation"`
	In         uint64            `json:"in"`
	Copies     uint64            `json:"copies"`
	Out        uint64            `json:"out"`
	Dropped    map[string]uint64 `json:"dropped"`
	// FastShare is the share of the guests' frames that the engine alone has handled: 1 where none met the appliance.
	FastShare float64     `json:"fast_share"`
	Share     Share       `json:"share"`
	Flows     int         `json:"flows"`
	Ports     []PortStats `json:"ports"`
	Rules     []RuleStats `json:"rules"`
	// RulesAsked says whether the engine asks the rules in this placement. Where the appliance does, hits stand still.
	RulesAsked bool `json:"rules_asked"`
}

// Status is how the switch is now.
type Status struct {
	Name       string             `json:"name"`
	Placement  firewall.Placement `json:"placement"`
	Epoch      uint64             `json:"epoch"`
	Generation uint64             `json:"generation"` // of the policy; 0 is none yet
	Appliance  bool               `json:"appliance"`  // whether there is one
	Ports      int                `json:"ports"`
	Flows      int                `json:"flows"`
	Changing   bool               `json:"changing"` // a change of placement is running
	// ApplianceState is how the appliance is, as probes show it: ok, absent, hung, backlogged or table-full; empty where the placement needs none.
	ApplianceState string `json:"appliance_state"`
	Bypassed       bool   `json:"bypassed"` // it has failed, and frames pass it by
	// Unrecovered says why an appliance that answers again has not been given its place; empty where nothing keeps it from that.
	Unrecovered string `json:"unrecovered,omitempty"`
	// Kept says how many flows are on the way of another placement, because the last change has kept them; nil where none are.
	Kept *KeptStatus `json:"kept,omitempty"`
}

// KeptStatus is what a change with handover keep has left behind.
type KeptStatus struct {
	Placement firewall.Placement `json:"placement" doc:"On whose way the flows are"`
	Flows     int                `json:"flows"`
}
