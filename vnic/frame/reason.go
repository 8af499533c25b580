package frame

// Reason is why a frame was dropped, or how the switch used it up. It is counted, never returned as an error. The zero
// Reason means that the frame went on.
type Reason uint8

// The reasons. Their names (String) are what counters, traces and receipts print, and what scripts may rely on.
const (
	ReasonNone Reason = iota

	// What is wrong with the frame itself.
	ReasonShort      // shorter than its headers say
	ReasonBadOffset  // a header length or an offset points outside the frame
	ReasonBadVnet    // the virtio_net_hdr contradicts the frame
	ReasonBadAddress // an address that nobody can have: a source that is multicast or unspecified, loopback, the gateway's as a source
	ReasonFragment   // a fragment that is not taken
	ReasonChecksum   // bad-checksum: of the IPv4 header; or of TCP, UDP or ICMP, where it would begin a flow
	ReasonVLAN       // vlan: a tag before the EtherType, of whatever VLAN: vNICs have none
	ReasonOptions    // ip-options: a source route, malformed options, or such as forbid that they be passed over

	// What the switch says.
	ReasonNoPort      // no such port, or it has gone
	ReasonNotService  // from a service port that the plan does not steer to
	ReasonNotSteered  // from the steer port, but no frame that may come back now
	ReasonProbe       // the switch's own question, which has come back from the appliance
	ReasonReplayed    // it has come back from the appliance already
	ReasonSamePort    // the way out is the way in
	ReasonNoOutput    // a flood with nobody else on the segment
	ReasonOwnGateway  // addressed to the gateway, and answered or used up there
	ReasonTTL         // TTL or hop limit ran out; answered with ICMP time exceeded
	ReasonNoRoute     // no segment has the destination; answered with ICMP unreachable
	ReasonNoNeighbour // destination's MAC not known yet; it is being asked for
	ReasonLearnLimit  // the port has as many MACs as it may
	ReasonReserved    // a link-local group that switches do not forward (IEEE 802.1D 7.12.6)

	// What the firewall says.
	ReasonRule      // a rule said drop
	ReasonReject    // a rule said reject; answered
	ReasonDefault   // no rule matched, and the default is drop
	ReasonState     // state-mismatch: fits no flow and may not begin one
	ReasonWindow    // window: outside the TCP windows of its flow
	ReasonFlows     // state-limit: the flow table, or the vNIC's share of it, is full
	ReasonSpoof     // the vNIC may not send from this address
	ReasonRevoked   // the flow was allowed by an older policy and is cut
	ReasonInspected // the appliance looked into it, and says no
	ReasonFailed    // the appliance failed and the policy fails closed

	// What the way out says.
	ReasonTooBig  // longer than the output takes, and not to be segmented
	ReasonFull    // the output's queue is full
	ReasonIO      // the output's NIC failed
	ReasonClosing // the port or the switch is being closed

	reasonCount
)

// Reasons is how many reasons there are, for arrays of counters.
const Reasons = int(reasonCount)

var reasonNames = [Reasons]string{
	"none",
	"short", "bad-offset", "bad-vnet", "bad-address", "fragment", "bad-checksum", "vlan", "ip-options",
	"no-port", "not-service", "not-steered", "probe", "replayed", "same-port", "no-output", "own-gateway", "ttl", "no-route", "no-neighbour",
	"learn-limit", "reserved",
	"rule", "reject", "default", "state-mismatch", "window", "state-limit", "spoofguard", "revoked", "inspected", "failed",
	"too-big", "full", "io", "closing",
}

func (r Reason) String() string {
	if int(r) < Reasons {
		return reasonNames[r]
	}
	return "unknown"
}
