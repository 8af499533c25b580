package agent

// Main is the agent as the init process of a guest. It does not return while the guest lives.
func Main() {}
