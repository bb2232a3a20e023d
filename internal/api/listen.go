package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Limits of a connection. The body limit holds a network.yaml of thousands of
// guests; the times cut slow clients off.
const (
	MaxBody       = 4 << 20
	maxSmallBody  = 64 << 10 // of everything but a network
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// NewSocketServer returns the server of the local unix socket: callers are
// named by the kernel. Who may connect at all is decided by the file's group.
func NewSocketServer(h http.Handler, log *slog.Logger) *http.Server {
	s := newServer(h, log)
	s.ConnContext = connActor
	return s
}

// NewMeshServer returns the server for a TLS listener that has verified the
// client's certificate: callers are named by it. refused says why a certificate
// is not accepted any more, at each request: the connection may be older than
// its revocation.
func NewMeshServer(h http.Handler, refused func(*x509.Certificate) error, log *slog.Logger) *http.Server {
	return newServer(tlsActor(h, refused), log)
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// ListenSocket listens on a unix socket with mode 0660. A file that a dead
// agent left is replaced; one that answers, and anything that is not a
// socket, is an error.
func ListenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	// The umask of the service (0077) keeps everybody out until here.
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket to its group: %w", err), l.Close())
	}
	return l, nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("listen on %s: there is a file that is not a socket", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("listen on %s: another agent answers there", path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("look at socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}
