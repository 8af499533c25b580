package vswitch

import (
	"fmt"

	"sluice/firewall"
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
	LostMost     string             `json:"lost_most,omitempty" doc:"The flow that lost most, in words; absent where nothing was lost"`
	Duplicated   int                `json:"duplicated" doc:"Delivered more often than sent"`
	Reordered    int                `json:"reordered" doc:"Delivered after a frame of the same flow that was sent later"`
	Leaked       int                `json:"leaked" doc:"Delivered by an enforcing plan, but denied by the policy"`
	LeakedMost   string             `json:"leaked_most,omitempty" doc:"The flow that leaked most, in words; absent where nothing leaked"`
	Drained      int                `json:"drained" doc:"Frames that still came out of the appliance after the change"`
	Unasked      uint64             `json:"unasked" doc:"Frames of guests that passed the appliance by, which had failed: all since the receipt before"`
	FlowsCarried int                `json:"flows_carried"`
	FlowsAnew    int                `json:"flows_begun_anew" doc:"Not carried, since the side that takes over cannot be told of them: their next frame begins them anew"`
	FlowsCut     int                `json:"flows_cut" doc:"Related flows, which only a helper let pass, and which the rules deny"`
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
	if r.FlowsCut > 0 {
		said += fmt.Sprintf(", %d related flows are cut", r.FlowsCut)
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
