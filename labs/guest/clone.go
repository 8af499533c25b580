package guest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// Boot is how a QEMU guest comes up.
type Boot string

// The ways in which a guest comes up.
const (
	BootAuto  Boot = "auto"  // cloned where that works, else booted
	BootClone Boot = "clone" // cloned, or not at all
	BootCold  Boot = "cold"  // booted
)

// ParseBoot reads a word of a user's; none is BootAuto.
func ParseBoot(word string) (Boot, error) {
	switch b := Boot(word); b {
	case "":
		return BootAuto, nil
	case BootAuto, BootClone, BootCold:
		return b, nil
	}
	return "", fmt.Errorf("%q is none of auto, clone and cold", word)
}

// cloneTimeout is how long a clone may take to answer; it is counted as for a boot, which would take its place.
const cloneTimeout = 3 * time.Second

// clone makes the guest from its template.
func (v *virtual) clone(ctx context.Context) error {
	from, err := v.spec.Template.origin()
	if err != nil {
		return err
	}
	defer from.state.Close()
	return v.bootOnce(ctx, cloneTimeout, from)
}

// notCloned says that the guest boots instead.
func (v *virtual) notCloned(err error) {
	first, _, _ := strings.Cut(err.Error(), "; its last words:")
	v.tell(EventBoots, fmt.Sprintf("%s was not cloned, and boots: %s", v.spec.Name, first))
}

// wake loads a clone's state, plugs its vNICs in, and lets it go on from where its template was stopped.
func (v *virtual) wake(ctx context.Context, state *os.File) error {
	q, err := dialQMP(ctx, v.spec.Dir)
	if err != nil {
		return err
	}
	defer q.close()
	if err := q.migrate("migrate-incoming", state); err != nil {
		return err
	}
	if err := q.until(ctx, "query-status", "paused", "inmigrate"); err != nil {
		return err
	}
	for i := range v.spec.NICs {
		if err := q.call("device_add", v.spec.nicDevice(i, true), nil); err != nil {
			return fmt.Errorf("plug vNIC %s in: %w", v.spec.NICs[i].Name, err)
		}
	}
	return q.call("cont", nil, nil)
}
