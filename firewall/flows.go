package firewall

// Flows is the flow table: bounded, shared by every port of a switch, and outliving programs and plans.
type Flows struct{}
