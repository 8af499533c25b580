package control

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"sluice/firewall/fault"
)

// Problem is an error as the API sends it: problem details (RFC 9457) with the class of the failure, and where in a
// file it lies.
type Problem struct {
	Title  string      `json:"title"`
	Status int         `json:"status" doc:"The HTTP status"`
	Detail string      `json:"detail"`
	Class  fault.Class `json:"class" enum:"1,2,3" doc:"Exit code for the command: 1 failed, 2 bad input, 3 this machine lacks something"`
	Faults fault.List  `json:"faults,omitempty" doc:"What is wrong where, if it is about a file"`
}

// Error and GetStatus make a Problem what huma writes as it is.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problem details.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// err is the problem as the client's caller sees it.
func (p *Problem) err() error {
	if !p.Class.Known() {
		p.Class = fault.Failed
	}
	p.Faults = slices.DeleteFunc(p.Faults, func(f *fault.Fault) bool { return f == nil })
	return &fault.Error{Class: p.Class, Message: p.Detail, Faults: p.Faults}
}

var classStatus = map[fault.Class]int{
	fault.Failed:   http.StatusConflict,
	fault.BadInput: http.StatusUnprocessableEntity,
	fault.Lacks:    http.StatusNotImplemented,
}

// problemOf is how an error crosses the socket.
func problemOf(err error) *Problem {
	class := fault.ClassOf(err)
	p := &Problem{Status: classStatus[class], Detail: err.Error(), Class: class}
	if p.Faults = fault.In(err); len(p.Faults) > 0 {
		p.Detail = "" // the faults say it all
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// newProblem is how huma's own refusals (of a body, a parameter) cross the socket: all are bad input.
func newProblem(status int, msg string, errs ...error) huma.StatusError {
	p := &Problem{Title: http.StatusText(status), Status: status, Detail: msg, Class: fault.BadInput}
	if status >= http.StatusInternalServerError {
		p.Class = fault.Failed
	}
	for _, err := range errs {
		if err != nil {
			p.Detail += ": " + err.Error()
		}
	}
	return p
}

func writeProblem(w http.ResponseWriter, status int, err error) {
	p := problemOf(err)
	p.Status, p.Title = status, http.StatusText(status)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p)
}
