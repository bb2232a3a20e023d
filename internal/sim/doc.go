// Package sim is the deterministic simulator: a whole network of sites on one
// goroutine, on virtual time, from one seed.
//
// What runs in it is the code that production runs: failover, the steppers of
// internal/agent, internal/proxmox, the probes' windows, probers and reporters,
// dnsctl's records, server and publisher. What it replaces stands below them:
// the replicated log is a model that is as nasty as Raft may be (log.go), the
// network a table of cuts (net.go), Proxmox the passive fakes of internal/lab.
//
// The same seed gives the same run, byte for byte. Nothing in here, nor in what
// it runs, reads a clock, starts a goroutine, sleeps, or depends on the order
// of a map. Every component draws from its own stream, so that a fault that is
// added in one place does not reshuffle the others.
//
// After every event the invariants of design section 5 are checked; the first
// violation ends the run with the seed, the time and the last events.
package sim

import "github.com/raoull/worldwidewelsh/failover"

// SiteID names a site.
type SiteID = failover.SiteID
