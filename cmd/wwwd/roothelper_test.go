package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

func TestRootHelperRefusesItsArguments(t *testing.T) {
	for _, args := range [][]string{{"root-helper", "unlock"}, {"root-helper", "--config", "x"}} {
		var stderr bytes.Buffer
		if got := run(t.Context(), args, &stderr, &stderr); got != exitUsage {
			t.Errorf("%q: exit %d, want %d\n%s", args, got, exitUsage, &stderr)
		}
	}
	var stderr bytes.Buffer
	if got := run(t.Context(), []string{"root-helper", "--socket", filepath.Join(t.TempDir(), "no", "h.sock")}, &stderr, &stderr); got != exitFailed {
		t.Errorf("no directory for the socket: exit %d, want %d\n%s", got, exitFailed, &stderr)
	}
}

// TestRootHelperServes runs the verb as systemd would, but on its own socket
// and as the test's own user.
func TestRootHelperServes(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rules, socket := filepath.Join(dir, "helper.yaml"), filepath.Join(dir, "h.sock")
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	exit := make(chan int, 1)
	go func() {
		exit <- run(ctx, []string{"root-helper", "--rules", rules, "--socket", socket}, &stderr, &stderr)
	}()
	client := roothelper.Client{Path: socket}
	ask := func() roothelper.Code {
		for {
			err := client.Unlock(t.Context(), 89999)
			if refusal, ok := errors.AsType[*roothelper.Refusal](err); ok {
				return refusal.Code
			}
			if !errors.Is(err, roothelper.ErrNoHelper) || t.Context().Err() != nil {
				t.Fatalf("unlock: %v, want a refusal", err)
			}
			runtime.Gosched() // it does not listen yet
		}
	}
	if got := ask(); got != roothelper.BadRules {
		t.Errorf("no rules: code %q, want %q", got, roothelper.BadRules)
	}
	if err := os.WriteFile(rules, fmt.Appendf(nil, "user: %s\nids: [90000-90999]\n", me.Username), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != roothelper.OutOfRange {
		t.Errorf("with rules: code %q, want %q", got, roothelper.OutOfRange)
	}
	cancel()
	if got := <-exit; got != exitOK {
		t.Errorf("exit %d, want %d\n%s", got, exitOK, &stderr)
	}
	if !strings.Contains(stderr.String(), "component=root-helper") || !strings.Contains(stderr.String(), "code=range") {
		t.Errorf("want the refusals in the log:\n%s", &stderr)
	}
}
