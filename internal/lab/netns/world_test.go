package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// routedLab is the smallest one.
func routedLab(t *testing.T) *site.Lab {
	t.Helper()
	l, err := site.Layout(site.MinSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	l.Routed = true
	return l
}

// namespaces lists those that a process has made.
func namespaces(t *testing.T, pid int) []string {
	t.Helper()
	found, err := filepath.Glob(fmt.Sprintf("/run/netns/wwwlab-%d-*", pid))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestWorldLeavesNothingBehind: a world removes its namespaces, and those of a process
// that was killed before it could.
func TestWorldLeavesNothingBehind(t *testing.T) {
	need(t)
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	pid := dead.Process.Pid
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", fmt.Sprintf("wwwlab-%d-1-moulin", pid)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const control = "/var/run/wireguard"
	socket := filepath.Join(control, fmt.Sprintf("ww%ds1x0.sock", pid))
	if err := errors.Join(os.MkdirAll(control, 0o755), os.WriteFile(socket, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w, err := netns.NewWorld(t.Context(), routedLab(t), 9)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if left := namespaces(t, pid); len(left) != 0 {
		t.Errorf("of a dead process there are still %v", left)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a dead process there is still %s (%v)", socket, err)
	}
	if got, want := len(namespaces(t, os.Getpid())), 1+2*site.MinSites; got != want {
		t.Errorf("%d namespaces for %d sites, want %d", got, site.MinSites, want)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := namespaces(t, os.Getpid()); len(left) != 0 {
		t.Errorf("after Close there are still %v", left)
	}
}

// TestCutsRefuseWhatIsNotThere: a cut that hits nothing would make a test pass for no
// reason.
func TestCutsRefuseWhatIsNotThere(t *testing.T) {
	need(t)
	w, err := netns.NewWorld(t.Context(), routedLab(t), 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	for name, cut := range map[string]func() error{
		"line":             func() error { return w.CutLine(ctx, "nowhere") },
		"mesh":             func() error { return w.CutMesh(ctx, "nowhere") },
		"sending":          func() error { return w.CutSending(ctx, "moulin", "nowhere") },
		"sending to none":  func() error { return w.CutSending(ctx, "moulin") },
		"host":             func() error { return w.CutHost(ctx, "moulin", "pve-nowhere") },
		"host of no site":  func() error { return w.CutHost(ctx, "nowhere", "pve-moulin") },
		"heal of no site":  func() error { return w.Heal(ctx, "nowhere") },
		"router of nobody": func() error { return w.CutRouter(ctx, "") },
	} {
		if err := cut(); err == nil {
			t.Errorf("%s: no error, want one", name)
		}
	}
	for range 2 { // what was never cut, or is healed already, heals too
		if err := w.Heal(ctx, "moulin"); err != nil {
			t.Errorf("heal: %v", err)
		}
	}
}

func TestWorldNeedsARoutedLab(t *testing.T) {
	l := routedLab(t)
	l.Routed = false
	if _, err := netns.NewWorld(t.Context(), l, 1); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("NewWorld of a lab on loopback: %v, want a refusal that says so", err)
	}
}
