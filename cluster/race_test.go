//go:build race

package cluster_test

// raced says that the race detector runs, which makes everything several times
// slower.
const raced = true
