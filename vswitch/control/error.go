package control

import (
	"errors"
	"fmt"
	"strings"

	"sluice/firewall"
)

// Class says what kind of failure an error is. Its number is the exit code of the command that meets it.
type Class int

// The classes of failure.
const (
	Failed   Class = 1 // it was tried and did not work, or a check did not pass
	BadInput Class = 2 // wrong use, or input that cannot be right
	Lacks    Class = 3 // this machine lacks something
)

// Fault is one thing that is wrong in a file that a user wrote, as it crosses the socket (see firewall.Error).
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line" doc:"From 1"`
	Col     int    `json:"col" doc:"From 1"`
	Source  string `json:"source,omitempty" doc:"The line of the file"`
	Message string `json:"message" doc:"What is wrong"`
	Do      string `json:"do,omitempty" doc:"What to do"`
}

// String is FILE:LINE:COL: MESSAGE, as compilers write it, with the source line and what to do.
func (f Fault) String() string {
	e := firewall.Error{File: f.File, Line: f.Line, Col: f.Col, Source: f.Source, Msg: f.Message, Do: f.Do}
	return e.Error()
}

// faultsIn are the faults that an error tells of.
func faultsIn(err error) []Fault {
	var known *Error
	if errors.As(err, &known) && len(known.Faults) > 0 {
		return known.Faults
	}
	var list firewall.ErrorList
	var one *firewall.Error
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = firewall.ErrorList{one}
	}
	var faults []Fault
	for _, e := range list {
		faults = append(faults, Fault{File: e.File, Line: e.Line, Col: e.Col, Source: e.Source, Message: e.Msg, Do: e.Do})
	}
	return faults
}

// Error is a failure with its class, as it crosses the socket and as a command ends with it.
type Error struct {
	Class   Class
	Message string
	Faults  []Fault // what is wrong where, if the failure is about a file
	Err     error   // the cause, on the side where it happened
}

// shownFaults is how many faults an error's text tells of: more would hide the first ones, and often follow from them.
const shownFaults = 5

func (e *Error) Error() string {
	var lines []string
	if e.Message != "" {
		lines = append(lines, e.Message)
	}
	for i, f := range e.Faults {
		if i == shownFaults {
			lines = append(lines, fmt.Sprintf("and %d more like these", len(e.Faults)-i))
			break
		}
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a class; %w keeps the cause, and the faults that it names.
func Errorf(class Class, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Class: class, Message: err.Error(), Err: errors.Unwrap(err)}
}

// ClassOf is the class of an error. What is wrong in a user's file, or asks for what is not built, is bad input; an error
// that does not say is Failed.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) && e.Class >= Failed && e.Class <= Lacks {
		return e.Class
	}
	if len(faultsIn(err)) > 0 || errors.Is(err, errors.ErrUnsupported) {
		return BadInput
	}
	return Failed
}
