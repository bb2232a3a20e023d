// Package lab holds passive stand-ins for Proxmox VE and Proxmox Backup Server.
//
// A stand-in is a plain http.Handler. Its state moves only when Advance is called and when a request
// comes in: it starts no goroutine, reads no clock, never sleeps and opens no socket. Real processes put
// it behind a TLS listener and a ticker; the deterministic simulator calls it through InProcess on its
// own goroutine. The same calls in the same order give the same bytes: everything that is listed is
// sorted and every random value comes from the injected source.
//
// Because a passive handler cannot wait, what a real server does with time (three seconds before a 401,
// a hang, a lost answer) is handed to the driver as a Hint in the answer's headers; see TakeHint and
// Waiting.
//
// Answers, task texts, locks and error texts follow reference/proxmox.md; the vendors' schema files are
// read by Schema at run time and are never part of the binary.
package lab

import "time"

// Clock tells the time of a driver: the wall clock of a real process or the virtual one of a simulator.
type Clock func() time.Time
