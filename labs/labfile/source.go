package labfile

import (
	"sluice/firewall/fault"
)

// badFile gives what is wrong in a file its class.
func badFile(err error) error {
	return &fault.Error{Class: fault.BadInput, Message: err.Error(), Err: err}
}
