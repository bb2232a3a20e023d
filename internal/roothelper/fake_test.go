package roothelper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// host is a Proxmox host with one guest, as far as the helper's commands go.
type host struct {
	mu       sync.Mutex
	kind     string // qemu, lxc, or "" for no guest
	id       int
	config   map[string]any
	status   string
	tasks    string           // answer of the task list
	fail     map[string]error // by the beginning of the command
	sticky   bool             // commands that act do nothing
	mounts   string           // file with the mounts
	commands []string
	inside   int
	most     int           // commands that ran at the same time
	started  chan struct{} // not nil: told of each command's start, which then waits for go ahead
	goAhead  chan struct{}
}

// stub is a guest in the state that the helper is for.
func stub(t *testing.T, kind string) *host {
	t.Helper()
	h := &host{
		kind: kind, id: 90001, status: "stopped", tasks: "[]", fail: map[string]error{},
		config: map[string]any{"lock": "create", "memory": "128", "digest": "da39a3ee"},
		mounts: filepath.Join(t.TempDir(), "mountinfo"),
	}
	h.mount(t, "/", "/var/lib/lxcfs", "/var/lib/lxc/9000/rootfs", "/var/lib/lxc/90001/rootfs2")
	return h
}

// mount writes the table of mounts, in the form of proc_pid_mountinfo(5).
func (h *host) mount(t *testing.T, points ...string) {
	t.Helper()
	if err := os.WriteFile(h.mounts, mountinfo(points), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mountinfo(points []string) []byte {
	var b []byte
	for i, p := range points {
		b = fmt.Appendf(b, "%d 22 7:%d / %s rw,relatime shared:1 - ext4 /dev/loop%d rw\n", 100+i, i, p, i)
	}
	return b
}

func (h *host) Run(ctx context.Context, path string, args ...string) ([]byte, error) {
	command := strings.Join(append([]string{path}, args...), " ")
	h.mu.Lock()
	h.commands = append(h.commands, command)
	h.inside++
	h.most = max(h.most, h.inside)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.inside--
		h.mu.Unlock()
	}()
	if h.started != nil {
		select {
		case h.started <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case <-h.goAhead:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for prefix, err := range h.fail {
		if strings.HasPrefix(command, prefix) {
			return nil, err
		}
	}
	return h.answer(command)
}

func (h *host) answer(command string) ([]byte, error) {
	for _, kind := range []string{"qemu", "lxc"} {
		base := fmt.Sprintf("/usr/bin/pvesh get /nodes/localhost/%s/%d", kind, h.id)
		if strings.HasPrefix(command, base) && kind != h.kind {
			return nil, absent(kind, h.id)
		}
	}
	switch command {
	case fmt.Sprintf("/usr/bin/pvesh get /nodes/localhost/%s/%d/config --output-format json --current 1", h.kind, h.id):
		return json.Marshal(h.config)
	case fmt.Sprintf("/usr/bin/pvesh get /nodes/localhost/%s/%d/status/current --output-format json", h.kind, h.id):
		return json.Marshal(map[string]any{"status": h.status, "vmid": h.id, "lock": "create"})
	case fmt.Sprintf("/usr/bin/pvesh get /nodes/localhost/tasks --output-format json --source active --vmid %d", h.id):
		return []byte(h.tasks), nil
	case fmt.Sprintf("/usr/sbin/%s unlock %d", map[string]string{"qemu": "qm", "lxc": "pct"}[h.kind], h.id):
		if !h.sticky {
			delete(h.config, "lock")
		}
		return nil, nil
	case fmt.Sprintf("/usr/bin/umount --recursive --detach-loop /var/lib/lxc/%d/rootfs", h.id):
		if h.sticky {
			return nil, nil
		}
		return nil, os.WriteFile(h.mounts, mountinfo([]string{"/"}), 0o600)
	}
	return nil, fmt.Errorf("the helper ran %q, which it must not", command)
}

// acts are the commands that change something.
func (h *host) acts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []string{}
	for _, c := range h.commands {
		if !strings.HasPrefix(c, "/usr/bin/pvesh get ") {
			out = append(out, c)
		}
	}
	return out
}

func absent(kind string, id int) error {
	dir := map[string]string{"qemu": "qemu-server", "lxc": "lxc"}[kind]
	return &roothelper.CommandError{
		Command: "pvesh", Err: errors.New("exit status 2"),
		Stderr: fmt.Sprintf("Configuration file 'nodes/pve1/%s/%d.conf' does not exist\n", dir, id),
	}
}
