package labfile

import "sluice/labs/guest/agent"

func knownServices() []string { return agent.ServiceNames }
