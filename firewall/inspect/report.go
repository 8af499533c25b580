package inspect

import (
	"net/netip"
	"time"

	"sluice/vnic/frame"
)

// Report is what an inspector has counted since it was configured.
type Report struct {
	Frames    uint64            `json:"frames"`
	Bytes     uint64            `json:"bytes" doc:"Of whole frames"`
	Verdicts  map[string]uint64 `json:"verdicts" doc:"Frames by what was said of them: pass, clean, drop, reset, quarantine"`
	NoMemory  uint64            `json:"no_memory" doc:"Of the dropped frames, those that could not be remembered"`
	Flows     int               `json:"flows" doc:"That are remembered now"`
	Memory    int               `json:"memory" doc:"Bytes that are remembered of them now, at most"`
	Matches   []Count           `json:"matches" doc:"By signature"`
	Anomalies []Count           `json:"anomalies" doc:"By name"`
	Sightings []Sighting        `json:"sightings" doc:"The latest that ended a flow or met a signature, oldest first"`
	Missed    uint64            `json:"missed" doc:"Earlier sightings that are not listed"`
	// What whoever carries the frames has counted.
	Sessions []uint8 `json:"sessions" doc:"Whose frames are looked at now"`
	Probes   uint64  `json:"probes" doc:"That were answered"`
	Refused  uint64  `json:"refused" doc:"Datagrams that belong to no session"`
	Unsent   uint64  `json:"unsent" doc:"Frames that could not be given back"`
	Overrun  uint64  `json:"overrun" doc:"Datagrams that found the inspector's queue full"`
}

// Count is how often something was met.
type Count struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// Sighting is a signature that was found, or an anomaly that ended a flow.
type Sighting struct {
	Time    time.Time      `json:"time"`
	What    string         `json:"what" doc:"The name of the signature or anomaly"`
	Verdict string         `json:"verdict"`
	Proto   uint8          `json:"proto"`
	Src     netip.AddrPort `json:"src"`
	Dst     netip.AddrPort `json:"dst"`
}

// MaxSightings is how many sightings are kept.
const MaxSightings = 128

type counts struct {
	frames, bytes, noMemory uint64
	verdicts                [frame.VerdictQuarantine + 1]uint64
	anomalies               [anomalies]uint64
	matches                 []uint64
}

// sightings is the latest of them, in a ring.
type sightings struct {
	ring  [MaxSightings]Sighting
	total uint64
}

func (l *sightings) add(now time.Time, k *frame.Key, what string, verdict frame.Verdict) {
	l.ring[l.total%MaxSightings] = Sighting{
		Time: now, What: what, Verdict: verdictName(verdict), Proto: k.Proto,
		Src: netip.AddrPortFrom(k.Src.IP(), k.SrcPort), Dst: netip.AddrPortFrom(k.Dst.IP(), k.DstPort),
	}
	l.total++
}

// verdictName is how a verdict is written in files and reports.
func verdictName(w frame.Verdict) string {
	if w == frame.VerdictClean {
		return "clean"
	}
	for name, known := range verdictNames {
		if known == w {
			return name
		}
	}
	return "none"
}

// Report is what was counted until now.
func (i *Inspector) Report() Report {
	c := &i.counts
	r := Report{
		Frames: c.frames, Bytes: c.bytes, NoMemory: c.noMemory, Flows: len(i.table.byKey), Memory: i.table.memory,
		Verdicts: map[string]uint64{}, Matches: []Count{}, Anomalies: []Count{}, Sightings: []Sighting{}, Sessions: []uint8{},
	}
	for w := frame.VerdictPass; w <= frame.VerdictQuarantine; w++ {
		r.Verdicts[verdictName(w)] = c.verdicts[w]
	}
	for n, s := range i.config.signatures {
		r.Matches = append(r.Matches, Count{s.name, c.matches[n]})
	}
	for a, k := range anomalyKinds {
		r.Anomalies = append(r.Anomalies, Count{k.name, c.anomalies[a]})
	}
	r.Missed = i.log.total - min(i.log.total, MaxSightings)
	for n := r.Missed; n < i.log.total; n++ {
		r.Sightings = append(r.Sightings, i.log.ring[n%MaxSightings])
	}
	return r
}
