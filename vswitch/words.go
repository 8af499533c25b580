package vswitch

import "sluice/vswitch/walk"

// What is said to a switch and by it of single frames is the walk's. Users of a switch need to know this room only.
type (
	Port         = walk.Port
	Segment      = walk.Segment
	TraceRequest = walk.TraceRequest
	TraceResult  = walk.TraceResult
	TraceStep    = walk.TraceStep
	Sight        = walk.Sight
	Seen         = walk.Seen
	SeenFrame    = walk.SeenFrame
	Watched      = walk.Watched
	Missed       = walk.Missed
)

// MaxSeenBytes is after how many bytes a frame that a watch keeps is cut.
const MaxSeenBytes = walk.MaxSeenBytes

// ParseTrace and ParseFlows read descriptions of a frame and of flows, and TraceNext is for a shell that completes
// them.
func ParseTrace(s string) (TraceRequest, error) { return walk.ParseTrace(s) }
func ParseFlows(s string) (TraceRequest, error) { return walk.ParseFlows(s) }
func TraceNext(words, guests []string) []string { return walk.TraceNext(words, guests) }
