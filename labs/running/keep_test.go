package running_test

import (
	"testing"
	"time"

	"sluice/vswitch"
	"sluice/vswitch/control"
)

// testKeep keeps a conversation on its old way, from each placement to the next of a ring. New frames of it and a new
// connection both arrive; what meets the appliance is told by the shares of the frames; and once the conversation ends,
// nothing is left of the old way.
func testKeep(t *testing.T, lab, kind string) {
	ring := append([]string{"off"}, enforcing(t, lab, kind)...)
	for i, from := range ring {
		to := ring[(i+1)%len(ring)]
		t.Run(from+" to "+to, func(t *testing.T) {
			must(t, "--lab", lab, "place", from)
			talk := startTalk(t, lab)
			talk.says(t, 10)
			r := answerOf[vswitch.Receipt](t, "--lab", lab, "place", to, "--handover", "keep")
			if r.FlowsKept == 0 || r.Lost+r.Leaked+r.Duplicated != 0 {
				t.Errorf("%+v", r)
			}
			slow := slowFrames(t, lab)
			for range 20 {
				talk.says(t, 10)
			}
			meets := slowFrames(t, lab)-slow >= 20
			if want := from == "slow" || from == "tunnel" || from == "inspect"; meets != want {
				t.Errorf("the conversation meets the appliance: %v, want %v", meets, want)
			}
			must(t, "--lab", lab, "exec", "client", "--", "wget", "-qO", "/dev/null", "http://10.10.2.10/")
			if kept(t, lab) == nil {
				t.Error("place does not say that flows are kept")
			}
			talk.stop(t)
			for late := time.Now().Add(deadline); kept(t, lab) != nil; time.Sleep(100 * time.Millisecond) { // a poll with a deadline
				if time.Now().After(late) {
					t.Fatalf("still kept: %s", must(t, "--lab", lab, "flows"))
				}
			}
		})
	}
}

// slowFrames is how many of the guests' frames have gone to the appliance since the placement was changed.
func slowFrames(t *testing.T, lab string) uint64 {
	t.Helper()
	return statsOf(t, lab).Share.Slow
}

// kept is what `sluice place` says of flows that are kept.
func kept(t *testing.T, lab string) *vswitch.KeptStatus {
	t.Helper()
	return answerOf[control.PlacementInfo](t, "--lab", lab, "place").Kept
}
