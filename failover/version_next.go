//go:build wwwnext

package failover

// CommandVersion of the build that plays the next release in the upgrade test.
const CommandVersion = 2
