package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// Root is what local root can do on a fake host, as far as the root helper goes
// there: its Runner and its table of mounts.
type Root struct{ p *PVE }

var _ roothelper.Runner = Root{}

// Root returns the host's root.
func (p *PVE) Root() Root { return Root{p: p} }

// Run runs one of the helper's commands: `pvesh get`, which calls the API's own
// handlers as root@pam, `qm unlock`, `pct unlock`, `umount`. A host without
// power runs nothing.
func (r Root) Run(_ context.Context, path string, args ...string) ([]byte, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.cfg.Clock != nil {
		r.p.advance(r.p.cfg.Clock())
	}
	var out []byte
	err := errors.New("the host has no power")
	if !r.p.st.Off {
		out, err = r.run(path, args)
	}
	if err != nil {
		return nil, &roothelper.CommandError{
			Command: strings.Join(append([]string{path}, args...), " "), Stderr: err.Error() + "\n", Err: errors.New("exit status 255"),
		}
	}
	return out, nil
}

func (r Root) run(path string, args []string) ([]byte, error) {
	command := path + " " + strings.Join(args[:min(1, len(args))], "")
	switch {
	case command == "/usr/bin/pvesh get" && len(args) > 1:
		return r.get(args[1], args[2:])
	case command == "/usr/sbin/qm unlock" && len(args) == 2:
		return nil, r.unlock(qemu, args[1])
	case command == "/usr/sbin/pct unlock" && len(args) == 2:
		return nil, r.unlock(lxc, args[1])
	case path == "/usr/bin/umount" && len(args) > 0:
		return nil, r.umount(args[len(args)-1])
	}
	return nil, fmt.Errorf("%s: the lab's root does not know this command", path)
}

// get serves "pvesh get PATH --KEY VALUE …"; "localhost" is the own node.
func (r Root) get(path string, options []string) ([]byte, error) {
	c := &call{args: url.Values{}, token: "root@pam"}
	for i := 0; i+1 < len(options); i += 2 {
		if key := strings.TrimPrefix(options[i], "--"); key != "output-format" {
			c.args.Set(key, options[i+1])
		}
	}
	path = strings.Replace(path, "/nodes/localhost", "/nodes/"+r.p.cfg.Node, 1)
	var rt *route[*PVE]
	if rt, c.vars = find(r.p.routes, "GET", path); rt == nil {
		return nil, vendorText("No 'get' handler defined for '%s'", path)
	}
	if bad := rt.check(c.args, c.vars); len(bad) > 0 {
		return nil, fmt.Errorf("400 Parameter verification failed. %v", bad)
	}
	data, err := rt.handle(r.p, c)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.NewEncoder(&out).Encode(data)
	return out.Bytes(), err
}

// unlock waits, as the vendor's tools do, on whoever holds the guest's lock file.
func (r Root) unlock(kind, id string) error {
	n, err := strconv.Atoi(id)
	g := r.p.st.Guests[n]
	switch {
	case err != nil || g == nil || g.Kind != kind:
		return vendorText("Configuration file 'nodes/%s/%s' does not exist", r.p.cfg.Node, confFile(kind, n))
	case r.p.restoring(n) != nil:
		return vendorText("%s", r.p.lockTimeout(g).text)
	}
	delete(g.Conf, "lock")
	r.p.dirty = true
	return nil
}

func (r Root) umount(point string) error {
	for id := range r.p.st.Mounted {
		if point == rootfs(id) {
			delete(r.p.st.Mounted, id)
			r.p.dirty = true
			return nil
		}
	}
	return vendorText("umount: %s: not mounted.", point)
}

func rootfs(id int) string { return fmt.Sprintf("/var/lib/lxc/%d/rootfs", id) }

// MountInfo is /proc/self/mountinfo of the host, proc_pid_mountinfo(5).
func (r Root) MountInfo() ([]byte, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	out := []byte("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	for _, id := range r.p.guestIDs() {
		if r.p.st.Mounted[id] {
			out = fmt.Appendf(out, "%d 22 7:%d / %s rw,relatime shared:2 - ext4 /dev/loop%d rw\n", 100+id, id, rootfs(id), id)
		}
	}
	return out, nil
}

// KillTasks kills the processes of every running task, as the kernel does when
// memory is short or a person with kill -9: nobody writes their ends, locks
// stay, and the image of a container that was being restored stays mounted
// (reference/proxmox.md, fact 3).
func (p *PVE) KillTasks(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	p.dirty = true
	p.killRestores()
	p.endTasks()
}
