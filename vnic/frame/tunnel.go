package frame

import "net/netip"

// The addresses of the tunnel to an appliance: link-local (RFC 3927), so that no lab has them on a segment.
var (
	TunnelNet       = netip.MustParsePrefix("169.254.83.0/29")
	TunnelSwitch    = netip.MustParseAddr("169.254.83.1") // the switch's end
	TunnelAppliance = netip.MustParseAddr("169.254.83.2") // the appliance's end
	// TunnelProbe is whom probes come from: UDP to GENEVE's port at the switch's end. They pass whatever the policy
	// says.
	TunnelProbe = netip.MustParseAddr("169.254.83.5")
)

// ProbeUntracked is the source port of a probe that conntrack does not look at. One from any other port, from
// ProbeTracked on, is a new flow, so that it does not come back where the flow table is full.
const (
	ProbeUntracked = 1
	ProbeTracked   = 2
)
