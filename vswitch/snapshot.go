package vswitch

// Snapshot is an engine's counters at one moment.
type Snapshot struct{}
