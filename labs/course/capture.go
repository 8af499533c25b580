package course

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"sluice/vswitch"
)

// maxFrames bounds the frames that are kept of one task. Of many attempts the last ones are.
const maxFrames = 4096

// capture is what was seen in the attempts at one task.
type capture struct {
	frames []capturedFrame
	missed map[string]uint64 // by point: frames that came there, and are not among them
}

// capturedFrame is a frame of a capture, and what was decided about it, which a capture file has no place for.
type capturedFrame struct {
	Task    string `json:"task"`
	Attempt int    `json:"attempt"`
	Packet  int    `json:"packet"` // its number in the task's capture file, from 1
	vswitch.SeenFrame
}

// capture keeps what a watch has seen in an attempt.
func (e *evidence) capture(w vswitch.Watched) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.captures == nil {
		e.captures = map[string]*capture{}
	}
	c := e.captures[e.task]
	if c == nil {
		c = &capture{missed: map[string]uint64{}}
		e.captures[e.task] = c
	}
	for _, f := range w.Frames {
		c.frames = append(c.frames, capturedFrame{Task: e.task, Attempt: e.attempt, SeenFrame: f})
	}
	for _, m := range w.Missed {
		c.missed[m.Point] += m.Frames
	}
	if over := len(c.frames) - maxFrames; over > 0 {
		for _, f := range c.frames[:over] {
			c.missed[f.Point]++
		}
		c.frames = slices.Delete(c.frames, 0, over)
	}
}

// number puts the frames in the order of time, and gives them their places in the file.
func (c *capture) number() {
	slices.SortStableFunc(c.frames, func(a, b capturedFrame) int { return a.Time.Compare(b.Time) })
	for i := range c.frames {
		c.frames[i].Packet = i + 1
	}
}

// missing says which points have seen more than is kept.
func (c *capture) missing(task string) (out []string) {
	for _, point := range slices.Sorted(maps.Keys(c.missed)) {
		out = append(out, fmt.Sprintf("%s.pcapng: %d more frames at %s", task, c.missed[point], point))
	}
	return out
}

// write writes a pcapng file in which each insertion point is an interface. Frames are cut after what a watch keeps of
// each.
func (c *capture) write(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var points []string
	for _, x := range c.frames {
		if !slices.Contains(points, x.Point) {
			points = append(points, x.Point)
		}
	}
	if len(points) == 0 {
		points = []string{"nothing was seen"} // a file has an interface
	}
	w, err := pcapgo.NewNgWriterInterface(f, c.face(points[0]), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		return err
	}
	for _, p := range points[1:] {
		if _, err := w.AddInterface(c.face(p)); err != nil {
			return err
		}
	}
	for _, x := range c.frames {
		info := gopacket.CaptureInfo{
			Timestamp: x.Time, CaptureLength: len(x.Data), Length: max(x.Bytes, len(x.Data)), InterfaceIndex: slices.Index(points, x.Point),
		}
		if err := w.WritePacket(info, x.Data); err != nil {
			return err
		}
	}
	return w.Flush()
}

// face is a point as an interface.
func (c *capture) face(point string) pcapgo.NgInterface {
	i := pcapgo.NgInterface{
		Name: point, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, // 10^-9 s
		Comment: fmt.Sprintf("each frame is cut after %d bytes", vswitch.MaxSeenBytes),
	}
	if n := c.missed[point]; n > 0 {
		i.Comment += fmt.Sprintf("; %d more came here and are not in the file", n)
	}
	return i
}
