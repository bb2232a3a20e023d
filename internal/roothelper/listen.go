package roothelper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// firstPassedFD is where systemd puts the sockets that it passes,
// sd_listen_fds(3).
const firstPassedFD = 3

// Activated returns the socket that systemd passed to this process, or nil
// when it passed none. getenv is os.Getenv and pid this process's.
func Activated(getenv func(string) string, pid int) (*net.UnixListener, error) {
	// The variables of another process may have been inherited.
	if getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	if n := getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("take passed socket: got LISTEN_FDS=%q, want 1", n)
	}
	syscall.CloseOnExec(firstPassedFD) // the commands must not inherit it
	f := os.NewFile(firstPassedFD, "socket")
	defer func() { _ = f.Close() }() // FileListener has its own copy
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take passed socket: %w", err)
	}
	unix, ok := ln.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("take passed socket: got one of %s, want a unix socket", ln.Addr().Network()), ln.Close())
	}
	return unix, nil
}

// Listen makes the socket itself, for a helper without systemd: owner and group
// may connect, and SO_PEERCRED decides in any case.
func Listen(path string) (*net.UnixListener, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), ln.Close())
	}
	return ln, nil
}
