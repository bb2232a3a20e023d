package roothelper

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The commands that the helper may run, by absolute path. pvesh run by root
// calls the API's own handlers in-process, without token, and prints JSON
// (reference/proxmox.md section 1).
const (
	pveshPath  = "/usr/bin/pvesh"
	qmPath     = "/usr/sbin/qm"
	pctPath    = "/usr/sbin/pct"
	umountPath = "/usr/bin/umount"
)

// Runner runs one command as root and returns its standard output. A command
// that ran and failed gives an error with a *CommandError in it.
type Runner interface {
	Run(ctx context.Context, path string, args ...string) ([]byte, error)
}

// kind is the segment of the API's paths.
type kind string

const (
	vm kind = "qemu"
	ct kind = "lxc"
)

// guest is what decides whether the helper acts.
type guest struct {
	kind      kind
	status    string // stopped, running, …
	lock      string
	protected bool
	template  bool
	task      string // UPID of a running task on this guest
}

// flag is a boolean of Proxmox: 0 or 1 as number or text, or JSON's own. What
// it cannot be sure of is an error, never "unprotected".
type flag bool

// UnmarshalJSON reads the spellings of section 1.
func (f *flag) UnmarshalJSON(b []byte) error {
	switch strings.Trim(string(b), `"`) {
	case "1", "true":
		*f = true
	case "0", "false":
		*f = false
	default:
		return fmt.Errorf("%s is not a boolean", b)
	}
	return nil
}

// absentText is the answer for a guest that is not on this node; its kind is
// that of the path asked for (section 1, row 500).
var absentText = regexp.MustCompile(`Configuration file 'nodes/[^/']+/(?:qemu-server|lxc)/\d+\.conf' does not exist`)

// get reads one API path. "localhost" stands for the own node.
func (s *Server) get(ctx context.Context, path string, into any, options ...string) error {
	args := append([]string{"get", "/nodes/localhost" + path, "--output-format", "json"}, options...)
	out, err := s.Runner.Run(ctx, pveshPath, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read answer of pvesh get %s: %w", path, err)
	}
	return nil
}

// config is the part of a guest's configuration that the helper reads.
type config struct {
	Lock       string `json:"lock"`
	Protection flag   `json:"protection"`
	Template   flag   `json:"template"`
}

func (s *Server) config(ctx context.Context, k kind, id int) (config, error) {
	var c config
	err := s.get(ctx, fmt.Sprintf("/%s/%d/config", k, id), &c, "--current", "1")
	return c, err
}

// look reads the guest. The configuration is read last, closest to the act:
// what starts in between takes the guest's lock file, on which qm and pct wait.
func (s *Server) look(ctx context.Context, id int) (guest, error) {
	g := guest{kind: vm}
	_, err := s.config(ctx, vm, id)
	if isAbsent(err) {
		g.kind = ct
		_, err = s.config(ctx, ct, id)
	}
	switch {
	case isAbsent(err):
		return g, refuse(Absent, "no VM or container %d on this host", id)
	case err != nil:
		return g, err
	}
	var current struct {
		Status string `json:"status"`
	}
	if err := s.get(ctx, fmt.Sprintf("/%s/%d/status/current", g.kind, id), &current); err != nil {
		return g, err
	}
	g.status = current.Status
	if g.task, err = s.runningTask(ctx, id); err != nil {
		return g, err
	}
	c, err := s.config(ctx, g.kind, id)
	g.lock, g.protected, g.template = c.Lock, bool(c.Protection), bool(c.Template)
	return g, err
}

func isAbsent(err error) bool {
	failed, ok := errors.AsType[*CommandError](err)
	return ok && absentText.MatchString(failed.Stderr)
}

// runningTask returns the UPID of a task on the guest that has not ended, or
// "". A restore that still runs looks like a dead one in the configuration.
func (s *Server) runningTask(ctx context.Context, id int) (string, error) {
	var tasks []struct {
		UPID   string `json:"upid"`
		Status string `json:"status"` // RUNNING, or the exit text (section 5)
	}
	if err := s.get(ctx, "/tasks", &tasks, "--source", "active", "--vmid", strconv.Itoa(id)); err != nil {
		return "", err
	}
	for _, t := range tasks {
		if t.Status == "" || t.Status == "RUNNING" {
			return t.UPID, nil
		}
	}
	return "", nil
}

// judge says why the helper must not act, or nil.
func judge(r Request, g guest) *Refusal {
	switch {
	case r.Verb == Umount && g.kind != ct:
		return refuse(WrongKind, "guest %d is a VM; only containers are mounted", r.ID)
	case g.status != "stopped":
		return refuse(Running, "guest %d is %q, not stopped", r.ID, g.status)
	case g.template:
		return refuse(Template, "guest %d is a template", r.ID)
	case g.protected:
		return refuse(Protected, "guest %d is protected", r.ID)
	case g.lock == "":
		return refuse(NotLocked, "guest %d has no lock", r.ID)
	case g.lock != "create":
		return refuse(OtherLock, "guest %d has lock %q, not \"create\"", r.ID, g.lock)
	case g.task != "":
		return refuse(Busy, "task %s on guest %d runs", g.task, r.ID)
	}
	return nil
}

// unlock clears the lock and looks whether it is gone.
func (s *Server) unlock(ctx context.Context, k kind, id int) error {
	tool := qmPath
	if k == ct {
		tool = pctPath
	}
	if _, err := s.Runner.Run(ctx, tool, "unlock", strconv.Itoa(id)); err != nil {
		return err
	}
	switch c, err := s.config(ctx, k, id); {
	case err != nil:
		return fmt.Errorf("check the unlocked guest %d: %w", id, err)
	case c.Lock == "create":
		return fmt.Errorf("guest %d still has lock \"create\" after %s unlock", id, tool)
	}
	return nil
}

// umount takes the container's file systems off, innermost first, and frees
// their loop devices. It is not "pct unmount": that one reads what to unmount
// from the configuration, which is bare during a restore (section 1), and then
// fails because the lock is not "mounted" (pve-container CLI/pct.pm, LXC.pm
// umount_all, from which "umount -d" is taken). Nothing mounted is success.
func (s *Server) umount(ctx context.Context, id int) error {
	root := fmt.Sprintf("/var/lib/lxc/%d/rootfs", id)
	n, err := s.mounts(root)
	if err != nil || n == 0 {
		return err
	}
	if _, err := s.Runner.Run(ctx, umountPath, "--recursive", "--detach-loop", root); err != nil {
		return err
	}
	switch n, err := s.mounts(root); {
	case err != nil:
		return err
	case n > 0:
		return fmt.Errorf("%d file systems are still mounted at %s", n, root)
	}
	return nil
}

// mounts counts the file systems that are mounted at or below root.
func (s *Server) mounts(root string) (int, error) {
	b, err := s.MountInfo()
	if err != nil {
		return 0, fmt.Errorf("read mounts: %w", err)
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		// proc_pid_mountinfo(5): the mount point is the fifth field.
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && (fields[4] == root || strings.HasPrefix(fields[4], root+"/")) {
			n++
		}
	}
	return n, nil
}
