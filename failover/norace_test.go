//go:build !race

package failover_test

const slow = 1
