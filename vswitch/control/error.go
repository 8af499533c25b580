package control

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

// Fault is one thing that is wrong in a file. Line and Col count from 1; 0 means unknown.
type Fault struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty" doc:"Column in characters, from 1"`
	Message string `json:"message"`
	Source  string `json:"source,omitempty" doc:"The line of the file, with a mark under the column"`
}

// String is FILE:LINE:COL: MESSAGE, as compilers write it.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Col > 0 {
				fmt.Fprintf(&b, ":%d", f.Col)
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	if f.Source != "" {
		b.WriteString("\n" + f.Source)
	}
	return b.String()
}

// Error is a failure with its class, as it crosses the socket and as a command ends with it.
type Error struct {
	Class   Class
	Message string
	Faults  []Fault // what is wrong where, if the failure is about a file
	Err     error   // the cause, on the side where it happened
}

func (e *Error) Error() string {
	lines := make([]string, 0, 1+len(e.Faults))
	if e.Message != "" {
		lines = append(lines, e.Message)
	}
	for _, f := range e.Faults {
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

// ClassOf is the class of an error. An error that does not say counts as Failed.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) && e.Class >= Failed && e.Class <= Lacks {
		return e.Class
	}
	return Failed
}
