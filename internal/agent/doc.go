// Package agent is a site's hands: the leader's loop, the executor of the
// steps that are this site's, and the reader of what this site could restore.
//
// Everything here is a Stepper: Step makes at most one outside call (a request
// or a proposal) under its own deadline and says when to be called again. All
// that must survive a crash is in the log; what a stepper remembers between
// calls only saves it from looking twice. So the simulator drives the very
// code that production runs, on one goroutine and a virtual clock.
package agent
