// Package control is the API of a running lab on a unix socket, and its client. One lab process serves one socket; only
// its owner and root may speak to it. How the lab came to be, how a guest is reached and what a command prints are not
// its business: the lab process answers for the first two through Lab, package cli for the last.
package control
