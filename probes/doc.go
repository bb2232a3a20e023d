// Package probes looks at the network from one agent: it asks every target one
// question per interval, folds the answers into windows, and says when the
// agent has to report.
//
//	Targets  → []Target              what this agent probes, from the declared network
//	Func     Target → Result         one question, one answer (one file per kind)
//	Window   []Result → Observation  hysteresis and monotonic durations (pure)
//	Prober   Step(ctx, now) → next   one target: probe and fold
//	Uplink, Health                   whether this observer may be counted at all
//	Reporter                         when a report is due, and what stands in it
//
// A probe is up only when the service itself has spoken. An accepted connection
// proves nothing: a port forward, a reverse proxy or a full accept queue takes
// connections for a service that is long dead.
//
// The package counts locally and on the monotonic clock. What it could not
// measure (it was stopped, it had no route of its own) is unknown, never
// silence: an observer that did not look must not accuse.
package probes
