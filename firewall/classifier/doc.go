// Package classifier finds the first rule that a packet matches, at a cost that does not grow with the number of rules;
// and has the sets that rules are made of: addresses, services, conditions. It knows no YAML and no names, no actions
// (what a rule that was found means is its user's business), no flows and no counters. What New has built does not
// change; any number of goroutines may ask it at once, and asking allocates nothing.
package classifier
