package firewall

// Edition is a policy as it is in force: its text, and its generation.
type Edition struct {
	File       string `json:"file"` // for messages
	Source     []byte `json:"source"`
	Generation uint64 `json:"generation"`
}
