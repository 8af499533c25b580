package appliance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"sluice/firewall"
)

// A helper of conntrack reads what is said in a connection. The ruleset has it read each connection that begins; what
// is here does the same to those that were carried, and ends it where the next ruleset has no such helper.

// declared are the helpers of a script.
func declared(script string) []firewall.Helper {
	return slices.DeleteFunc(slices.Clone(firewall.Helpers), func(h firewall.Helper) bool {
		return !strings.Contains(script, h.NFT())
	})
}

// lacks says which of a script's helpers this kernel does not have, with its module: nftables says "no such file".
func (a *Appliance) lacks(script string) error {
	for _, h := range declared(script) {
		if !a.takes("inet", h.NFT()) {
			const lacking = "the appliance's kernel has no module %s, which helpers: [%s] needs: %w"
			return fmt.Errorf(lacking, h.Module, h.Name, errors.ErrUnsupported)
		}
	}
	return nil
}

// unread ends that helpers read connections which the ruleset before had them read, and the next one does not.
// Conntrack forgets with that what was announced in them. a.mu is held.
func (a *Appliance) unread(keep []firewall.Helper) error {
	if !slices.ContainsFunc(a.helpers, func(h firewall.Helper) bool { return !slices.Contains(keep, h) }) {
		return nil
	}
	c, err := a.conn()
	if err != nil {
		return err
	}
	entries, err := c.Dump(nil)
	if err != nil {
		return fmt.Errorf("read conntrack: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(f conntrack.Flow) bool {
		return f.Helper.Name == "" || slices.ContainsFunc(keep, func(h firewall.Helper) bool { return h.Name == f.Helper.Name })
	})
	said, err := a.writeEntries(unreadEntry, entries)
	for _, e := range said {
		if e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("take a helper away: %w", err)
	}
	return nil
}
