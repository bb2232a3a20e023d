package roothelper_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

func TestExec(t *testing.T) {
	t.Setenv("SECRET", "of the parent")
	run := roothelper.Exec{}.Run
	out, err := run(t.Context(), "/usr/bin/env")
	got := strings.Fields(string(out))
	slices.Sort(got)
	if want := []string{"HOME=/", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("environment %q, %v, want %q", got, err, want)
	}
	// Arguments are passed as they are; no shell reads them.
	if out, err := run(t.Context(), "/bin/echo", "$(id) ; *", "`x`"); err != nil || string(out) != "$(id) ; * `x`\n" {
		t.Errorf("echo: %q, %v", out, err)
	}
	if out, err := run(t.Context(), "/bin/cat"); err != nil || len(out) > 0 {
		t.Errorf("cat: %q, %v, want nothing to read", out, err)
	}
	if _, err := run(t.Context(), "echo"); err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Errorf("relative path: %v, want it refused", err)
	}
	_, err = run(t.Context(), "/bin/sh", "-c", "echo first >&2; echo last words >&2; exit 3")
	failed, ok := errors.AsType[*roothelper.CommandError](err)
	if !ok || failed.Stderr != "first\nlast words\n" || !strings.HasSuffix(err.Error(), "exit status 3: last words") {
		t.Errorf("exit 3: %v, want *CommandError with its last words", err)
	}
	if _, err := run(t.Context(), "/no/such/command"); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no command: %v, want os.ErrNotExist", err)
	}
	if _, err := run(t.Context(), "/bin/sh", "-c", "head -c 2000000 /dev/zero"); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("2 MB: %v, want them refused", err)
	}
}

// TestExecEndsWithItsChildren: the end of the context ends what the command
// started, too. The child holds a pipe open, whose end shows its own.
func TestExecEndsWithItsChildren(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := roothelper.Exec{}.Run(ctx, "/bin/sh", "-c", `exec 3>"$0"; sleep 600 & echo up >&3; wait`, path)
		result <- err
	}()
	r, err := os.Open(path) // waits for the writer
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	end := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 1))
		end <- err
	}()
	select {
	case err := <-end:
		if err != io.EOF {
			t.Errorf("read from the child: %v, want EOF", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the child lives on")
	}
}

const childVariable = "WWW_TEST_ACTIVATED_CHILD"

// TestActivation starts this test again the way systemd starts a service: with
// a listening socket as descriptor 3.
func TestActivation(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		activatedChild(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "h.sock")
	ln, err := roothelper.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -test.run='^TestActivation$'`, self)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.ExtraFiles = []*os.File{f}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, path, "unlock 90001\n"); !strings.HasPrefix(got, "refused rules child") {
		t.Errorf("got %q, want the child's answer", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v\n%s", err, out.String())
	}
	// systemd keeps the socket for the next start.
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the child removed the socket: %v", err)
	}
	_ = ln.Close()
}

func activatedChild(t *testing.T) {
	ln, err := roothelper.Activated(os.Getenv, os.Getpid())
	if err != nil || ln == nil {
		t.Fatalf("got %v, %v, want the passed socket", ln, err)
	}
	s := &roothelper.Server{
		Rules: func() (roothelper.Rules, error) { return roothelper.Rules{}, errors.New("child") },
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)), ReadTimeout: time.Second, Timeout: time.Second, Idle: 100 * time.Millisecond,
	}
	if err := s.Serve(t.Context(), ln); err != nil {
		t.Error(err)
	}
}

func TestActivationOfOthersIsIgnored(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"none":            {},
		"another process": {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
	} {
		if ln, err := roothelper.Activated(func(k string) string { return env[k] }, 42); ln != nil || err != nil {
			t.Errorf("%s: got %v, %v, want neither", name, ln, err)
		}
	}
	env := map[string]string{"LISTEN_PID": "42", "LISTEN_FDS": "2"}
	if _, err := roothelper.Activated(func(k string) string { return env[k] }, 42); err == nil || !strings.Contains(err.Error(), "want 1") {
		t.Errorf("two sockets: %v, want them refused", err)
	}
}

func TestListenIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.sock")
	ln, err := roothelper.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v, want 0660", info.Mode().Perm(), err)
	}
	if _, err := roothelper.Listen(path); err == nil {
		t.Error("a second helper on the same socket: want an error")
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path); err != nil {
		t.Errorf("dial: %v", err)
	}
}
