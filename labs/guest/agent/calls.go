package agent

// The calls, by the name they have on the line.
const (
	callInfo        = "info"
	callConfigure   = "configure"
	callExec        = "exec"
	callNeighbours  = "neighbours"
	callNFT         = "nft"
	callFlows       = "flows"
	callPutFlows    = "put-flows"
	callDeleteFlows = "delete-flows"
	callFlushFlows  = "flush-flows"
	callStats       = "stats"
	callDesk        = "desk"
	callSteer       = "steer"
	callEndSteer    = "end-steer"
	callInspect     = "inspect-config"
	callInspections = "inspections"
)
