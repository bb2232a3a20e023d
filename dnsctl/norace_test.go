//go:build !race

package dnsctl_test

// underRace says whether the race detector is on.
const underRace = false
