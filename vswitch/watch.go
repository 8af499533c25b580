package vswitch

import "sluice/vswitch/walk"

// Watch counts the frames that fit the sights, from now on and instead of those of an earlier watch; without any sights
// it counts none. It is for checks: a switch has one watch, whoever sets the next one replaces it.
func (s *Switch) Watch(sights []Sight) error {
	var w *walk.Watch
	if len(sights) > 0 {
		var err error
		if w, err = walk.NewWatch(s.plan.Load(), sights, s.wall); err != nil {
			return err
		}
	}
	s.watch.Store(w)
	s.engine.Watch(w)
	return nil
}

// Watched is what the watch has seen since it was set.
func (s *Switch) Watched() Watched { return s.watch.Load().Watched() }
