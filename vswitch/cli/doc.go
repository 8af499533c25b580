// Package cli is the commands of a running switch: place, trace, policy, flows and their like, and what every command
// of sluice shares (output formats, colours, flags from the environment, exit codes). Each is a client of package
// control and can do nothing that another client could not.
package cli
