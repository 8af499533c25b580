package firewall

import "sluice/vnic/frame"

// judged is what the inspector has said of whole flows, by shard, under the shard's lock. Few flows have one, so that
// they are not in the flows' own entries, which are full.
type judged [shardCount]map[flowID]frame.Verdict

// Judge makes an inspector's verdict of a frame hold for the frame's flow: VerdictClean and VerdictQuarantine for as
// long as it lives, and VerdictReset ends it. It says whether there is such a flow.
func (f *Flows) Judge(k *frame.Key, w frame.Verdict) bool {
	id, _ := identify(k)
	at, e := f.hold(&id)
	defer f.release(at)
	if e == nil {
		return false
	}
	switch w {
	case frame.VerdictReset:
		f.remove(at.shard, e)
	case frame.VerdictClean, frame.VerdictQuarantine:
		said := &f.judged[shardOf(at.hash)]
		if *said == nil {
			*said = map[flowID]frame.Verdict{}
		}
		(*said)[id] = w
	}
	return true
}

// verdictOf is what the inspector has said of a flow at the point where its frames are steered. The caller has the
// shard's lock.
func (p *Program) verdictOf(f *Flows, pt Point, id *flowID, hash uint64) frame.Verdict {
	said := f.judged[shardOf(hash)]
	if len(said) == 0 || pt.Dir != FromGuest || p.placement != Inspect {
		return frame.VerdictNone
	}
	return said[*id]
}
