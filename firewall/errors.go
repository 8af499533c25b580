package firewall

import "sluice/firewall/document"

// Error is one thing wrong in a file that a user wrote: where, what, and what to do.
type Error = document.Error

// ErrorList is everything wrong in one file, in the order of its lines.
type ErrorList = document.Errors
