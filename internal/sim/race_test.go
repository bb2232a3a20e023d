//go:build race

package sim_test

// raced says that the race detector runs, which makes everything several times
// slower and finds little in code that runs on one goroutine.
const raced = true
