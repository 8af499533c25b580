package demo

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"sluice/firewall/fault"
)

// Try is one thing that the client tried for real.
type Try struct {
	What    string `json:"what"`    // "web", ...
	Address string `json:"address"` // of the server
	Open    bool   `json:"open"`    // it was answered
}

// tryFor is how long an answer is waited for, in seconds: the word of a denial is silence.
const tryFor = "2"

// tries are the commands whose exit code says whether an answer came; %s is the server's address.
var tries = []struct {
	what    string
	command []string
}{
	{"ping", []string{"ping", "-c", "1", "-W", tryFor, "%s"}},
	{"web, tcp 80", []string{"nc", "-w", tryFor, "%s", "80", "-e", "/bin/true"}},
	{"echo, tcp 7777", []string{"nc", "-w", tryFor, "%s", "7777", "-e", "/bin/true"}},
	{"telnet, tcp 23", []string{"nc", "-w", tryFor, "%s", "23", "-e", "/bin/true"}},
}

// tryAll runs all of them at once, for each of the server's addresses.
func (d *demo) tryAll(ctx context.Context) ([]Try, error) {
	var wg sync.WaitGroup
	found := make([]Try, 0, len(tries)*len(d.server))
	failed := make([]error, cap(found))
	for _, t := range tries {
		for _, address := range d.server {
			i := len(found)
			found = append(found, Try{What: t.what, Address: address})
			wg.Go(func() {
				argv := make([]string, len(t.command))
				for k, word := range t.command {
					if argv[k] = word; word == "%s" {
						argv[k] = address
					}
				}
				_, code, err := d.exec(ctx, "client", argv...)
				found[i].Open, failed[i] = code == 0, err
			})
		}
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// findServer asks the lab for the server's addresses.
func (d *demo) findServer(ctx context.Context) error {
	info, err := d.lab.Inspect(ctx)
	if err != nil {
		return err
	}
	for _, g := range info.Guests {
		if g.Name != "server" {
			continue
		}
		for _, a := range g.Addresses {
			p, err := netip.ParsePrefix(a)
			if err != nil {
				return fmt.Errorf("read the server's address: %w", err)
			}
			d.server = append(d.server, p.Addr().String())
		}
	}
	if len(d.server) == 0 {
		return fault.Errorf(fault.Failed, "lab %s has no guest called server", info.Name)
	}
	return nil
}
