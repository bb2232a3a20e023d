//go:build race

package failover_test

// slow is how much less the long tests do under the race detector, which this
// package without goroutines only needs for its readers.
const slow = 32
