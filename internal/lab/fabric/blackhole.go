package fabric

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fullBacklog is what a forwarding listener asks for; the kernel caps it at
	// net.core.somaxconn.
	fullBacklog = 4096
	// fillTimeout bounds the wait for the connection that fills the queue, which
	// takes microseconds on loopback.
	fillTimeout = time.Second
)

// blackHole is a listener whose accept queue is full, so that the kernel drops
// every further SYN without an answer (Linux: a queue of backlog 0 takes one
// connection). The listening socket itself stays: closing it, even for a moment,
// would answer with a reset, which tells a prober that the address is alive.
type blackHole struct {
	filler int // our end of the connection that fills the queue; -1: none was needed
}

// openBlackHole makes ln drop SYNs. Nobody may accept from ln until close.
func openBlackHole(ln *net.TCPListener) (*blackHole, error) {
	b := &blackHole{filler: -1}
	err := control(ln, func(fd int) error {
		// listen(2) on a listening socket changes its backlog and nothing else.
		if err := unix.Listen(fd, 0); err != nil {
			return fmt.Errorf("shrink backlog: %w", err)
		}
		if full, err := readable(fd, 0); full || err != nil {
			return err // a caller that was not accepted in time already fills it
		}
		return b.fill(fd)
	})
	if err != nil {
		b.drop()
		return nil, fmt.Errorf("make %s a black hole: %w", ln.Addr(), err)
	}
	return b, nil
}

// fill dials the listener once and waits until the connection stands in its queue.
func (b *blackHole) fill(fd int) error {
	to, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("read own address: %w", err)
	}
	b.filler, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.filler = -1
		return fmt.Errorf("open filler: %w", err)
	}
	if err := unix.Connect(b.filler, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect filler: %w", err)
	}
	full, err := readable(fd, fillTimeout)
	if err == nil && !full {
		err = fmt.Errorf("fill accept queue: nothing arrived within %s", fillTimeout)
	}
	return err
}

// close lets ln answer again. What waits in its queue is of the dead era: reset.
func (b *blackHole) close(ln *net.TCPListener) error {
	err := control(ln, func(fd int) error {
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch {
			case err == nil:
				err = unix.SetsockoptLinger(conn, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				if err = errors.Join(err, unix.Close(conn)); err != nil {
					return fmt.Errorf("reset waiting connection: %w", err)
				}
			case errors.Is(err, unix.EAGAIN):
				return unix.Listen(fd, fullBacklog)
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			default:
				return fmt.Errorf("empty accept queue: %w", err)
			}
		}
	})
	b.drop()
	if err != nil {
		return fmt.Errorf("make %s listen again: %w", ln.Addr(), err)
	}
	return nil
}

func (b *blackHole) drop() {
	if b.filler >= 0 {
		_ = unix.Close(b.filler) // a socket without data: nothing can be lost
	}
	b.filler = -1
}

// control runs do with the listener's file descriptor, which stays valid meanwhile.
func control(ln *net.TCPListener, do func(fd int) error) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// readable waits until fd has something to read (a listener: to accept).
func readable(fd int, within time.Duration) (bool, error) {
	deadline := time.Now().Add(within)
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		return n > 0, nil
	}
}
