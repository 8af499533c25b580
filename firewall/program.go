package firewall

// Program is a policy compiled: flat, immutable data that an engine walks.
type Program struct{}
