package control

import (
	"context"
	"io"

	"sluice/firewall"
	"sluice/firewall/inspect"
)

// Lab is what the server needs from the lab process beyond the switch. Its methods may be called at once from many
// goroutines. An error's class (see Error) decides the exit code of the command that asked.
type Lab interface {
	// Inspect describes the lab now.
	Inspect() LabInfo
	// Inventory is what a policy's nouns may refer to in the lab. Nobody changes it.
	Inventory() *firewall.Inventory
	// LoadPolicy reads a policy with the lab's inventory (firewall.Load). It changes nothing: the server gives the
	// policy to the switch. file is a name for messages, never opened.
	LoadPolicy(file string, src []byte) (*firewall.Policy, error)
	// Exec runs a command in a guest and returns its exit code (128 + signal where a signal ended it). An error means
	// that the command could not be started or watched. It returns when the command has ended and its output is
	// written, or when ctx is done, and then the command is killed.
	Exec(ctx context.Context, guest string, req ExecRequest, s Streams) (code int, err error)
	// Console runs an interactive shell in a guest, on a terminal of its own there, as Exec would.
	Console(ctx context.Context, guest string, req ExecRequest, s Streams) (code int, err error)
	// Appliance does something to the appliance's machine, for a drill. One drill runs at a time; while one runs,
	// another is an error.
	Appliance(ctx context.Context, d Drill) error
	// Inspections is what the appliance has found in the frames that it looked into.
	Inspections(ctx context.Context) (inspect.Report, error)
	// Stop asks the lab process to end, with its guests. It returns at once.
	Stop()
}

// Drill is what can be done to the appliance's machine.
type Drill string

// The drills.
const (
	Kill    Drill = "kill"    // it ends at once, as by a crash
	Stall   Drill = "stall"   // its processor stands still; it stays attached
	Resume  Drill = "resume"  // and goes on
	Restart Drill = "restart" // it is ended if it runs, and boots anew
)

// LabInfo describes a running lab.
type LabInfo struct {
	Name      string      `json:"name"`
	PID       int         `json:"pid" doc:"Of the lab process"`
	Engine    string      `json:"engine"`
	Placement string      `json:"placement"`
	Epoch     uint64      `json:"epoch"`
	CPU       float64     `json:"cpu_s" doc:"Seconds of CPU that the lab process, the switch, has used"`
	Guests    []GuestInfo `json:"guests"`
}

// GuestInfo describes one guest of a lab, the appliance included.
type GuestInfo struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind" doc:"qemu, netns, host or embedded"`
	Appliance bool     `json:"appliance" doc:"It is the firewall VM"`
	State     string   `json:"state" doc:"booting, ready, silent (it runs, and its agent does not answer), stalled, failed or stopped"`
	Addresses []string `json:"addresses" doc:"Of all its vNICs, with prefix length"`
	CPU       float64  `json:"cpu_s" doc:"Seconds of CPU that the guest's processes on this machine have used"`
	Boot      string   `json:"boot,omitempty" enum:"clone,cold" doc:"How a QEMU guest came up: cloned from one that had booted, or booted"`
	BootTime  float64  `json:"boot_s,omitempty" doc:"Seconds that this took, until its agent answered"`
}

// PolicyText is a policy as the user wrote it.
type PolicyText struct {
	File   string `json:"file" maxLength:"4096" doc:"What messages call it; never opened by the server"`
	Source string `json:"source" doc:"YAML"`
}

// ExecRequest is a command to run in a guest. For a console Argv may be empty: the guest's shell.
type ExecRequest struct {
	Argv []string          `json:"argv" maxItems:"65536" doc:"The command and its arguments; no shell is put in between"`
	Env  map[string]string `json:"env,omitempty" doc:"Added to the guest's own"`
	TTY  bool              `json:"tty,omitempty" doc:"On a terminal in the guest; stderr then comes with stdout"`
	Size WindowSize        `json:"size,omitzero" doc:"Of that terminal"`
}

// WindowSize is a terminal's size in characters. The zero WindowSize is unknown.
type WindowSize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Streams are what a command in a guest is joined to. Stdin ends with io.EOF. Signals and Resizes are closed, or just
// silent, once the user has gone.
type Streams struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan string     // "INT", "TERM", "HUP", "QUIT": for the command
	Resizes <-chan WindowSize // the user's terminal has changed
}
