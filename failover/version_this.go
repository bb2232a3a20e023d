//go:build !wwwnext

package failover

// CommandVersion is the version of entries and state that this build reads and, once all
// members do, writes. It is raised by a change of the log's contents that an older version
// could not read rightly; the rows of the codec that come with it say so (since).
const CommandVersion = 1
