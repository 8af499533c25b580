package guest

import "errors"

// NSName is the name under /run/netns of a lab's namespace (guest is empty) or of a namespace guest's. The dot cannot be in
// a lab's name, so that no lab's guest can be taken for another lab.
func NSName(lab, guest string) string {
	if guest == "" {
		return "sluice-" + lab
	}
	return "sluice-" + lab + "." + guest
}

// Reap ends every process that lives in a network namespace of the lab, but never itself, and removes the namespaces. It
// needs no memory of what was started, and may be called again. An error means that something is still there.
func Reap(lab string) error { return errors.New("not built yet") }
