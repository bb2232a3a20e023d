// Package network is the declared network: what an admin writes in
// network.yaml, with every default expanded, as plain values.
//
// The package is pure: standard library values only, no file, no clock, no
// socket. internal/network/netyaml reads the file and adds line and column to
// what Validate finds. A Spec enters the replicated log with its defaults
// expanded, so that two versions of the program cannot differ on them.
//
// A Spec is immutable once it has been applied: State shares the pointer.
package network
