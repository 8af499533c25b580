package firewall

import _ "embed"

// Schema is the JSON schema of policies, for editors.
//
//go:embed policy.schema.json
var Schema []byte
