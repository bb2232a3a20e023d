package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namedAt is where ip-netns(8) keeps the namespaces that have a name.
const namedAt = "/run/netns"

// within calls do on a thread that has entered a namespace. What do opens there stays
// in that namespace; goroutines that do starts are outside.
func within(namespace string, do func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes the foreign
		// namespace along.
		runtime.LockOSThread()
		result <- func() error {
			f, err := os.Open(filepath.Join(namedAt, namespace))
			if err != nil {
				return fmt.Errorf("enter namespace: %w", err)
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter namespace %s: %w", namespace, err)
			}
			return do()
		}()
	}()
	return <-result
}

// DialInternet connects from the middle of the internet, where no site is: what
// answers there is public. network is "tcp" or "udp".
func (w *World) DialInternet(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	return dialWithin(ctx, w.internet(), network, to)
}

// DialAt connects from within a site, whatever is cut outside.
func (w *World) DialAt(ctx context.Context, site, network string, to netip.AddrPort) (net.Conn, error) {
	if err := w.known(site); err != nil {
		return nil, err
	}
	return dialWithin(ctx, w.site(site), network, to)
}

func dialWithin(ctx context.Context, namespace, network string, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := within(namespace, func() error {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, network, to.String()) // a literal address is dialled on the caller's thread
		return err
	})
	return conn, err
}

// setSysctl writes a value below /proc/sys/net of a namespace.
func setSysctl(namespace, name, value string) error {
	return within(namespace, func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
			return fmt.Errorf("set %s in %s: %w", name, namespace, err)
		}
		return nil
	})
}
