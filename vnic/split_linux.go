package vnic

import (
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// splitter sends a GSO frame to a far end that does not take it whole: a guest whose driver has not asked for such
// frames, or not yet. Behind a qdisc the kernel would do it. Without one (dev_direct_xmit in net/core/dev.c) it refuses
// the frame, in the same words as a full queue does; so it is asked only once a frame was refused.
type splitter struct {
	key frame.Key
	seg frame.Segmenter
}

// send says whether the frame had to be split, and all its pieces were taken.
func (s *splitter) send(fd int, device string, f *frame.Frame) bool {
	kind := f.Vnet().GSOType()
	if kind == frame.GSONone || takesWhole(fd, device, kind) || frame.Parse(f, &s.key) != frame.ReasonNone {
		return false
	}
	for piece := range s.seg.Split(f, &s.key) {
		piece.Vnet().Clear()
		if _, err := unix.Write(fd, piece.Wire()); err != nil {
			return false
		}
	}
	return true
}
