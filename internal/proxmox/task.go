package proxmox

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// UPID is the id of a task. The zero value is no task; others come from ParseUPID or a call that started a task.
type UPID struct {
	Node   string
	PID    uint64
	PStart uint64    // start of the process in ticks since boot
	TaskID uint64    // PBS only
	Start  time.Time // UTC, whole seconds, of the node's clock
	Type   string    // "qmrestore", "vzrestore", "qmstart", ...
	ID     string    // of the object: "100", or "" for none
	Auth   string    // who started it: "user@realm" or "user@realm!token"
	raw    string
}

// String gives the UPID as the server wrote it.
func (u UPID) String() string { return u.raw }

// MarshalText encodes the UPID as the server wrote it.
func (u UPID) MarshalText() ([]byte, error) { return []byte(u.raw), nil }

// IsZero says that there is no task.
func (u UPID) IsZero() bool { return u.raw == "" }

var (
	nodeText   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
	upidTyText = regexp.MustCompile(`^[!-.0-9;-~]+$`) // printable, no colon, no slash
	upidIDText = regexp.MustCompile(`^[!-9;-~]*$`)
)

// ParseUPID reads a task id of PVE: UPID:node:pid:pstart:starttime:type:id:user@realm[!token]: (numbers in hex).
func ParseUPID(s string) (UPID, error) { return parseUPID(s, 8) }

// ParsePBSUPID reads a task id of PBS, which has a task number before the start time.
func ParsePBSUPID(s string) (UPID, error) { return parseUPID(s, 9) }

func parseUPID(s string, fields int) (UPID, error) {
	shown := clip(s, 200)
	f := strings.Split(s, ":")
	if len(f) != fields+1 || f[0] != "UPID" || f[fields] != "" || len(s) > 500 {
		return UPID{}, fmt.Errorf("parse task id %q: not UPID and %d more fields", shown, fields-1)
	}
	u := UPID{Node: f[1], Type: f[fields-3], ID: f[fields-2], Auth: f[fields-1], raw: s}
	numbers := []*uint64{&u.PID, &u.PStart, &u.TaskID}[:fields-6]
	for i, n := range numbers {
		v, err := strconv.ParseUint(f[2+i], 16, 64)
		if err != nil {
			return UPID{}, fmt.Errorf("parse task id %q: %q is not a hexadecimal number", shown, f[2+i])
		}
		*n = v
	}
	start, err := strconv.ParseUint(f[fields-4], 16, 33)
	if err != nil {
		return UPID{}, fmt.Errorf("parse task id %q: %q is not a start time", shown, f[fields-4])
	}
	u.Start = time.Unix(int64(start), 0).UTC()
	if !nodeText.MatchString(u.Node) || !upidTyText.MatchString(u.Type) || !upidIDText.MatchString(u.ID) || !upidTyText.MatchString(u.Auth) {
		return UPID{}, fmt.Errorf("parse task id %q: node, type, id or user is not valid", shown)
	}
	return u, nil
}

// TaskStatus is the state of a task.
type TaskStatus struct {
	UPID    UPID
	Running bool
	Exit    string    // of an ended task: "OK", "WARNINGS: 2" or what went wrong
	End     time.Time // zero when not told
}

var warningsText = regexp.MustCompile(`^WARNINGS: (\d+)$`)

// OK says that the task ended well, perhaps with warnings. That a restore ended well does not say that a guest runs.
func (t TaskStatus) OK() bool { return !t.Running && (t.Exit == "OK" || t.Warnings() > 0) }

// Warnings gives the number of warnings of a task that ended with some.
func (t TaskStatus) Warnings() int {
	m := warningsText.FindStringSubmatch(t.Exit)
	if t.Running || m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 1 // more than an int holds
	}
	return max(n, 1)
}

// Interrupted says that the task was stopped, or died with its host ("unexpected status": nobody wrote its end). What
// it had made may still be there, with its lock.
func (t TaskStatus) Interrupted() bool { return !t.Running && Classify(t.Exit) == Interrupted }

// StartRefused says that the task was to start a guest, and that nothing of it ever ran: QEMU or the container did
// not come up, or what it needs was not there. What ended in a timeout, was interrupted or failed otherwise may have
// left it running. (qemu-server, vm_start_nolock; pve-container, vm_start: the texts are those of docs/proxmox.md.)
func (t TaskStatus) StartRefused() bool {
	if t.UPID.Type != "qmstart" && t.UPID.Type != "vzstart" || t.Running || t.OK() || strings.Contains(t.Exit, "timeout") {
		return false
	}
	return slices.ContainsFunc(refusedStarts, func(re *regexp.Regexp) bool { return re.MatchString(t.Exit) })
}

var refusedStarts = []*regexp.Regexp{
	regexp.MustCompile(`^start failed: QEMU exited with code [1-9][0-9]*$`),
	regexp.MustCompile(`^startup for container '[0-9]+' failed$`),
	regexp.MustCompile(`^command 'systemctl start pve-container@[0-9]+' failed: exit code [1-9][0-9]*$`),
	regexp.MustCompile(`^(storage|bridge) '[^']+' (is not online|does not exist)$`),
	regexp.MustCompile(`^volume '[^']+' does not exist$`),
}

// Err is nil for a task that runs or ended well, else an *Error. Where the exit status only names a command that
// failed, the kind comes from tail, the last lines of the log.
func (t TaskStatus) Err(tail []LogLine) error {
	if t.Running || t.OK() {
		return nil
	}
	return newTextError(strings.TrimSpace("task "+t.UPID.Type+" "+t.UPID.ID), clip(t.Exit, maxMessage), tail)
}

type wireTask struct {
	UPID    wireString
	Status  wireString
	Exit    wireString `json:"exitstatus"`
	EndTime wireInt
}

// state reads the answer of a task's own status.
func (w wireTask) state(c call, u UPID) (TaskStatus, error) {
	t := TaskStatus{UPID: u, Exit: strings.TrimSpace(w.Exit.V), End: unix(w.EndTime)}
	switch w.Status.V {
	case "running":
		t.Running, t.Exit = true, ""
		return t, nil
	case "stopped":
		return t, need(c, 0, "exitstatus", t.Exit != "")
	}
	return TaskStatus{}, c.bad("status is %q", clip(w.Status.V, maxExcerpt))
}

func taskPath(u UPID, rest string) string {
	return "/nodes/" + url.PathEscape(u.Node) + "/tasks/" + url.PathEscape(u.raw) + rest
}

// Task asks for the state of a task. Tasks of others need Sys.Audit on the node. Task files outlive a reboot.
func (p *PVE) Task(ctx context.Context, upid UPID) (TaskStatus, error) {
	op := "read task " + upid.Type + " " + upid.ID
	if upid.IsZero() {
		return TaskStatus{}, requestError("read task", "no task id")
	}
	var w wireTask
	c, err := p.get(ctx, op, taskPath(upid, "/status"), &w)
	if err != nil {
		return TaskStatus{}, err
	}
	return w.state(c, upid)
}

// LogLine is one line of a task's log, counted from 1.
type LogLine struct {
	N    int
	Text string
}

// TaskLog asks for at most limit (0 = 500) lines of a task's log after the first start lines. A start at or past the
// end gives none; an empty log gives one line "no content".
func (p *PVE) TaskLog(ctx context.Context, upid UPID, start, limit int) ([]LogLine, error) {
	op := "read log of task " + upid.Type + " " + upid.ID
	if upid.IsZero() || start < 0 || limit < 0 {
		return nil, requestError("read log of task", "no task id, or a negative range")
	}
	if limit == 0 {
		limit = 500 // PVE's own default is 50
	}
	query := url.Values{"start": {strconv.Itoa(start)}, "limit": {strconv.Itoa(limit)}}
	var rows []struct {
		N wireInt
		T wireString
	}
	c, err := p.get(ctx, op, taskPath(upid, "/log?"+query.Encode()), &rows)
	if err != nil {
		return nil, err
	}
	lines := make([]LogLine, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "n", w.N.Set, "t", w.T.Set); err != nil {
			return nil, err
		}
		lines = append(lines, LogLine{N: int(w.N.V), Text: w.T.V})
	}
	return lines, nil
}

// TaskSource says which tasks Tasks lists.
type TaskSource string

// The sources.
const (
	ActiveTasks  TaskSource = "active"  // running ones and those that ended a moment ago
	ArchiveTasks TaskSource = "archive" // ended ones
	AllTasks     TaskSource = "all"
)

// TaskFilter chooses tasks. Zero fields do not filter.
type TaskFilter struct {
	Source TaskSource // "" = AllTasks
	VMID   int
	Type   string    // "qmrestore", ...
	Since  time.Time // started then or later, of the node's clock
	Limit  int       // 0 = 500
}

// Tasks lists tasks of this node. A token sees only its own unless it has Sys.Audit on the node.
func (p *PVE) Tasks(ctx context.Context, f TaskFilter) ([]TaskStatus, error) {
	if f.Source == "" {
		f.Source = AllTasks
	}
	if f.Limit <= 0 {
		f.Limit = 500
	}
	query := url.Values{"source": {string(f.Source)}, "limit": {strconv.Itoa(f.Limit)}}
	if f.VMID != 0 {
		query.Set("vmid", strconv.Itoa(f.VMID))
	}
	if f.Type != "" {
		query.Set("typefilter", f.Type)
	}
	if !f.Since.IsZero() {
		query.Set("since", strconv.FormatInt(f.Since.Unix(), 10))
	}
	var rows []wireTask
	c, err := p.get(ctx, "list tasks of node "+p.node, p.nodePath("/tasks?"+query.Encode()), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]TaskStatus, 0, len(rows))
	for i, w := range rows {
		u, err := ParseUPID(w.UPID.V)
		if err != nil {
			return nil, c.bad("row %d: %s", i, clip(err.Error(), maxMessage))
		}
		t := TaskStatus{UPID: u, End: unix(w.EndTime)}
		// Here, unlike in the task's own status, a running task has status RUNNING or none, an ended one its exit text.
		t.Running = w.Status.V == "RUNNING" || (!w.EndTime.Set && w.Status.V == "")
		if !t.Running {
			t.Exit = strings.TrimSpace(w.Status.V)
		}
		all = append(all, t)
	}
	return all, nil
}

// FindTask gives the newest of tasks that has this type and guest id, was started with the token auth
// ("user@realm!name") and not before since: the task of a write whose answer was lost. since should allow for the
// distance between the caller's clock and the node's.
func FindTask(tasks []TaskStatus, typ string, id int, auth string, since time.Time) (TaskStatus, bool) {
	var found TaskStatus
	for _, t := range tasks {
		u := t.UPID
		if u.Type == typ && u.ID == strconv.Itoa(id) && u.Auth == auth && !u.Start.Before(since) && (found.UPID.IsZero() || u.Start.After(found.UPID.Start)) {
			found = t
		}
	}
	return found, !found.UPID.IsZero()
}

// CancelTask asks for a task's end (SIGTERM, after 5 s SIGKILL). It also succeeds for a task that has ended; whether
// and how it ended Task tells. Tasks of others need Sys.Modify on the node.
func (p *PVE) CancelTask(ctx context.Context, upid UPID) error {
	if upid.IsZero() {
		return requestError("cancel task", "no task id")
	}
	c := call{op: "cancel task " + upid.Type + " " + upid.ID, method: http.MethodDelete, path: taskPath(upid, ""), write: true}
	_, err := p.do(ctx, c, nil)
	return err // the answer of a success is null
}
