//go:build race

package dnsctl_test

// underRace: the race detector slows everything, so that limits of time say nothing.
const underRace = true
