package labfile

import "sluice/vswitch/control"

// badFile gives what is wrong in a file its class.
func badFile(err error) error {
	return &control.Error{Class: control.BadInput, Message: err.Error(), Err: err}
}
