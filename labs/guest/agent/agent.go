// Package agent is what runs inside a guest, as PID 1, and the host's way to talk to it. The guest's half brings the
// guest up (mounts, modules, addresses, services) and does what it is asked: exec, nft, flows, the desk where a policy
// is administered. The host's half (Client) takes nothing on trust: whatever a guest sends is bounded in size, count
// and time.
//
// It is not this package's business how a guest is made or how its byte stream reaches the host (package guest), nor
// what a policy means (package firewall).
package agent

// Version is the protocol's version; both halves must have the same.
const Version = 4

// Services that an agent can run, for Config.Services.
const (
	ServiceHTTP   = "http"   // TCP 80: an index page, /bytes/N, /slow, /count
	ServiceEcho   = "echo"   // TCP 23 and 7777: a line echo; UDP 7777
	ServiceIperf3 = "iperf3" // TCP and UDP 5201: the real iperf3 -s
)

// ServiceNames is every service, in order.
var ServiceNames = []string{ServiceEcho, ServiceHTTP, ServiceIperf3}
