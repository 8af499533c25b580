package firewall

import "sluice/firewall/document"

// Error is one thing wrong in a file that a user wrote: where, what, and what to do.
type Error = document.Error

// ErrorList is everything wrong in one file, in the order of its lines.
type ErrorList = document.Errors

// Suggest gives the one of the known words that was probably meant; empty where none is near.
func Suggest(written string, known []string) string { return document.Suggest(written, known) }
