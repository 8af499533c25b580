package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Class says what kind of failure an error is. Its number is the exit code of the command that meets it.
type Class int

// The classes of failure.
const (
	Failed   Class = 1 // it was tried and did not work, or a check did not pass
	BadInput Class = 2 // wrong use, or input that cannot be right
	Lacks    Class = 3 // this machine lacks something
)

// Known says whether a class is one of these three: what comes over a socket may be any number.
func (c Class) Known() bool { return c >= Failed && c <= Lacks }

// Error is a failure with its class, as it crosses a socket and as a command ends with it.
type Error struct {
	Class   Class
	Message string
	Faults  List  // what is wrong where, if the failure is about a file
	Err     error // the cause, on the side where it happened
}

func (e *Error) Error() string {
	var parts []string
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	if len(e.Faults) > 0 {
		parts = append(parts, e.Faults.Error())
	}
	return strings.Join(parts, "\n")
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a class; %w keeps the cause, and the faults that it names.
func Errorf(class Class, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Class: class, Message: err.Error(), Err: errors.Unwrap(err)}
}

// ClassOf is the class of an error. What is wrong in a user's file, or asks for what is not built, is bad input; an
// error that does not say is Failed.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) && e.Class.Known() {
		return e.Class
	}
	if len(In(err)) > 0 || errors.Is(err, errors.ErrUnsupported) {
		return BadInput
	}
	return Failed
}
