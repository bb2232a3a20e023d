package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
)

// need skips what cannot run here; in CI that is a failure.
func need(t *testing.T) {
	t.Helper()
	switch missing := netns.Missing(); {
	case missing == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// TestNothingIsLeftOfAnInterruptedRun stops a run with Ctrl-C when all runs, and looks
// for processes, namespaces, disks and sockets that it made.
func TestNothingIsLeftOfAnInterruptedRun(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("starts a network: set WWW_E2E=1")
	}
	need(t)
	bin := os.Getenv("WWW_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "..", "bin")
	}
	dir, err := os.MkdirTemp("", "chaos-") // short: sockets stand in it
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "wwwlab"), "chaos", "--dir", dir, "--seed", "1", "--round", "1m")
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, lines, interrupted := cmd.Process.Pid, bufio.NewScanner(progress), false
	for lines.Scan() {
		if !interrupted && strings.Contains(lines.Text(), "everything runs") {
			interrupted = true
			if left := leftovers(t, dir, pid); len(left) < 10 {
				t.Errorf("while it runs only %v is found: this test looks in the wrong place", left)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || !interrupted {
		t.Errorf("interrupted %t, it ends with %v; want an error", interrupted, err)
	}
	if !strings.HasPrefix(out.String(), "chaos: ") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("it prints %q, want its one line", out.String())
	}
	if left := leftovers(t, dir, pid); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, name := range []string{PlanFile, TimelineFile} {
		if info, err := os.Stat(filepath.Join(dir, "SEED-1", name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is not kept: %v", name, err)
		}
	}
}

// leftovers lists what a run in a directory, by a process, has made.
func leftovers(t *testing.T, dir string, pid int) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{fmt.Sprintf("/run/netns/wwwlab-%d-*", pid), fmt.Sprintf("/var/run/wireguard/ww%ds*", pid)} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir+"/") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		b, err := os.ReadFile(p)
		if line := string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})); err == nil &&
			(strings.Contains(line, dir+"/") || strings.Contains(line, fmt.Sprintf("ww%ds", pid))) {
			out = append(out, line)
		}
	}
	return out
}

// TestDisksFillAndDrain: a full disk takes nothing, and takes it again.
func TestDisksFillAndDrain(t *testing.T) {
	need(t)
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte("me"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &disks{mounted: map[string]string{}}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.mount("moulin", dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "id")); err != nil || string(b) != "me" {
		t.Errorf("what was there is %q, %v", b, err)
	}
	write := func() error { return os.WriteFile(filepath.Join(dir, "log"), bytes.Repeat([]byte{'x'}, 8192), 0o600) }
	if err := d.fill("moulin"); err != nil {
		t.Fatal(err)
	}
	if err := write(); err == nil {
		t.Error("a full disk takes a write")
	}
	if err := d.drain("moulin"); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("a disk with room again: %v", err)
	}
	// One that was left by a process that is gone.
	d.mounted = map[string]string{}
	if err := sweepDisks(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
		t.Error("the disk is still there")
	}
}
