package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile holds the process id of the supervisor, which keeps it locked.
const lockFile = "wwwlab.pid"

// lock claims a directory for this process; the kernel releases it with the process,
// however that ends.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := os.ReadFile(path) // only for the message
		return nil, errors.Join(
			fmt.Errorf("a network is already running in %s (process %s): wwwlab down --dir %s ends it, another --dir begins a second one", dir, strings.TrimSpace(string(pid)), dir),
			f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("claim %s: %w", dir, err), f.Close())
	}
	return f, nil
}
