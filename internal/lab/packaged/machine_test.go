package packaged_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// machine is a container with systemd in a network namespace.
type machine struct {
	name, address, root, namespace string
	leader                         int // its first process, seen from here
}

// run runs a program here and returns what it printed.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// types has root of the machine type a command in its home.
func (m machine) types(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(m.leader), "-a", "-r", "-w",
		"env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "/bin/sh", "-ec", "cd; "+command)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s# %s: %w: %s", m.name, command, err, strings.TrimSpace(string(out)+complaints.String()))
	}
	return string(out), err
}

// bare makes the file system that all machines begin with.
func bare(t *testing.T) string {
	t.Helper()
	if ready := os.Getenv("WWW_DEBIAN"); ready != "" { // made before, for repeated runs
		return ready
	}
	root := filepath.Join(t.TempDir(), "debian")
	must(t, "debootstrap", "--variant=minbase", "--include=adduser,systemd,systemd-sysv", "bookworm", root)
	return root
}

// network makes the namespaces of machines and of who watches them, on one bridge: what
// WireGuard joins in earnest.
func network(t *testing.T, machines []*machine, watch string) {
	t.Helper()
	hub := fmt.Sprintf("wwwpkg-%d-hub", os.Getpid())
	add := func(ns string) {
		must(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { _, _ = run(context.Background(), "ip", "netns", "delete", ns) })
		must(t, "ip", "-n", ns, "link", "set", "dev", "lo", "up")
	}
	add(hub)
	must(t, "ip", "-n", hub, "link", "add", "name", "br", "type", "bridge")
	must(t, "ip", "-n", hub, "link", "set", "dev", "br", "up")
	join := func(i int, ns, address string) {
		add(ns)
		port := "p" + strconv.Itoa(i)
		must(t, "ip", "-n", hub, "link", "add", "name", port, "type", "veth", "peer", "name", "host0", "netns", ns)
		must(t, "ip", "-n", hub, "link", "set", "dev", port, "master", "br", "up")
		must(t, "ip", "-n", ns, "addr", "add", address+"/16", "dev", "host0")
		must(t, "ip", "-n", ns, "link", "set", "dev", "host0", "up")
	}
	for i, m := range machines {
		m.namespace = fmt.Sprintf("wwwpkg-%d-%s", os.Getpid(), m.name)
		join(i, m.namespace, m.address)
	}
	join(len(machines), watch, "10.77.99.1")
}

// boot starts a machine and waits until its systemd is up.
func (m *machine) boot(t *testing.T, base, work string) {
	t.Helper()
	m.root = filepath.Join(work, m.name)
	upper, scratch := filepath.Join(work, m.name+".upper"), filepath.Join(work, m.name+".work")
	for _, dir := range []string{m.root, upper, scratch} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "mount", "-t", "overlay", "overlay", "-o", "lowerdir="+base+",upperdir="+upper+",workdir="+scratch, m.root)
	t.Cleanup(func() { _, _ = run(context.Background(), "umount", m.root) })
	out, err := os.Create(filepath.Join(work, m.name+".console"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "systemd-nspawn", "-q", "-D", m.root, "--boot", "--register=no", "--keep-unit", "--machine="+m.name,
		"--network-namespace-path=/run/netns/"+m.namespace)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = m.types(context.Background(), "systemctl poweroff --force --force")
		stop()
		_ = cmd.Wait() // how it ended tells nothing
		_ = out.Close()
	})
	until(t, 60*time.Second, m.name+" is up", func() error {
		if m.leader == 0 {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
			if pids := strings.Fields(string(children)); err == nil && len(pids) > 0 {
				m.leader, _ = strconv.Atoi(pids[0])
			}
		}
		if m.leader == 0 {
			return errors.New("no first process")
		}
		// degraded is up, too: a container lacks this and that.
		state, err := m.types(t.Context(), "systemctl is-system-running || true")
		if s := strings.TrimSpace(state); err == nil && s != "running" && s != "degraded" {
			err = errors.New(s)
		}
		return err
	})
}

// until waits until a condition holds: the machines are real and keep their own time.
func until(t *testing.T, limit time.Duration, what string, holds func() error) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-late:
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		case <-tick.C:
		}
	}
}
