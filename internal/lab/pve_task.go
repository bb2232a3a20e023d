package lab

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// died is the exit text of a task whose process went away with the host.
const died = "unexpected status"

// task is a task of a PVE or PBS. A running one does not survive the process, as it does not survive the
// power of a real host, so what it still has to do is not part of the saved state.
type task struct {
	UPID   string   `json:"upid"`
	Type   string   `json:"type"`
	ID     string   `json:"id"`
	User   string   `json:"user"` // user@realm[!token]
	PID    int      `json:"pid"`
	PStart int      `json:"pstart"`
	Start  int64    `json:"start"`
	End    int64    `json:"end,omitempty"`
	Exit   string   `json:"exit,omitempty"` // "" = running
	Log    []string `json:"log"`
	Warned int      `json:"warned,omitempty"`

	step  func(dt time.Duration)
	job   *restoreJob
	began time.Time
}

func (t *task) running() bool { return t.Exit == "" }

func (t *task) logf(format string, args ...any) { t.Log = append(t.Log, fmt.Sprintf(format, args...)) }

// finish ends the task and writes its last line.
func (t *task) finish(now time.Time, err error) {
	switch {
	case err != nil:
		// Newlines of an error text are folded in the exit status.
		t.Exit = strings.ReplaceAll(err.Error(), "\n", " ")
		t.logf("TASK ERROR: %s", t.Exit)
	case t.Warned > 0:
		t.Exit = fmt.Sprintf("WARNINGS: %d", t.Warned)
		t.logf("TASK %s", t.Exit)
	default:
		t.Exit = "OK"
		t.logf("TASK OK")
	}
	t.End = now.Unix()
	t.unlock()
	t.step, t.job = nil, nil
}

// unlock gives up the read lock of the snapshot being restored.
func (t *task) unlock() {
	if t.job != nil && t.job.release != nil {
		t.job.release()
		t.job.release = nil
	}
}

// die ends the task as a crash does: no last line.
func (t *task) die(now time.Time) {
	t.Exit = died
	t.End = now.Unix()
	t.unlock()
}

func (t *task) realmUser() (user, tokenID string) {
	user, tokenID, _ = strings.Cut(t.User, "!")
	return user, tokenID
}

// begin starts a task of the given type on behalf of user.
func (p *PVE) begin(kind, id, user string) *task {
	p.st.Seq++
	p.dirty = true
	t := &task{
		Type: kind, ID: id, User: user, Start: p.wall().Unix(), began: p.st.Now,
		PID: 1000 + p.st.Seq, PStart: 100_000 + 7*p.st.Seq,
	}
	t.UPID = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", p.cfg.Node, t.PID, t.PStart, t.Start, kind, id, user)
	p.st.Tasks = append(p.st.Tasks, t)
	if n := len(p.st.Tasks) - keptTasks; n > 0 && !p.st.Tasks[0].running() {
		p.st.Tasks = slices.Delete(p.st.Tasks, 0, 1)
	}
	return t
}

// beginFor starts a task that does its work after d.
func (p *PVE) beginFor(kind, id, user string, d time.Duration, work func(*task) error) *task {
	t := p.begin(kind, id, user)
	due := p.st.Now.Add(d)
	t.step = func(time.Duration) {
		switch wait := p.lockHeld(id) > 0; {
		case wait && p.st.Now.Before(due.Add(lockTimeout)):
			return // trying to acquire the guest's lock file
		case !p.st.Now.Before(due):
			t.finish(p.wall(), work(t))
		}
	}
	return t
}

func (p *PVE) anyRunning() bool { return slices.ContainsFunc(p.st.Tasks, (*task).running) }

func (p *PVE) stepTasks(dt time.Duration) {
	for _, t := range slices.Clone(p.st.Tasks) {
		if t.running() && t.step != nil {
			t.step(dt)
		}
	}
}

// guestTask returns the running task of the given types on a guest; it holds the guest's lock file.
func (p *PVE) guestTask(id int, types ...string) *task {
	for _, t := range p.st.Tasks {
		if t.running() && t.ID == strconv.Itoa(id) && slices.Contains(types, t.Type) {
			return t
		}
	}
	return nil
}

func (p *PVE) restoring(id int) *task { return p.guestTask(id, "qmrestore", "vzrestore") }

func taskRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("GET", "/nodes/{node}/tasks", "#unprotected errors:boolean limit:integer since:integer source:string=archive|active|all start:integer "+
			"statusfilter:string typefilter:string until:integer userfilter:string vmid:integer", (*PVE).listTasks),
		newRoute("GET", "/nodes/{node}/tasks/{upid}/status", "", (*PVE).taskStatus),
		newRoute("GET", "/nodes/{node}/tasks/{upid}/log", "limit:integer start:integer", (*PVE).taskLog),
		newRoute("DELETE", "/nodes/{node}/tasks/{upid}", "", (*PVE).stopTask),
	}
}

func (p *PVE) listTasks(c *call) (any, error) {
	rows := []map[string]any{}
	sees := p.allowed(c.token, "/nodes/"+p.cfg.Node, "Sys.Audit")
	for _, t := range slices.Backward(p.st.Tasks) {
		if (sees || t.User == c.token) && matchTask(t, c) {
			rows = append(rows, taskRow(p.cfg.Node, t))
		}
	}
	if len(rows) > 0 {
		c.extra = map[string]any{"total": len(rows)}
	}
	from, to := page(c, len(rows))
	return rows[from:to], nil
}

// page returns the part of n rows that start (default 0) and limit (default 50) ask for.
func page(c *call, n int) (from, to int) {
	from = min(max(0, c.num("start", 0)), n)
	limit := c.num("limit", 50)
	if limit <= 0 || limit > n-from {
		return from, n
	}
	return from, from + limit
}

func matchTask(t *task, c *call) bool {
	switch source := c.str("source"); {
	case t.running() && source != "active" && source != "all",
		!t.running() && source == "active",
		c.has("vmid") && t.ID != c.str("vmid"),
		c.has("typefilter") && t.Type != c.str("typefilter"),
		c.has("since") && t.Start < int64(c.num("since", 0)),
		c.has("until") && t.Start > int64(c.num("until", 0)),
		c.has("userfilter") && !strings.Contains(t.User, c.str("userfilter")),
		c.yes("errors") && (t.running() || t.Exit == "OK"):
		return false
	}
	return !c.has("statusfilter") || slices.Contains(strings.Split(c.str("statusfilter"), ","), t.state())
}

// state is how the status filter calls a task's end.
func (t *task) state() string {
	switch {
	case t.Exit == "OK":
		return "ok"
	case strings.HasPrefix(t.Exit, "WARNINGS"):
		return "warning"
	case t.Exit == died:
		return "unknown"
	default:
		return "error"
	}
}

// taskRow is a row of the task list: the user of an active task comes with its token in one, that of an
// ended one is split (seen on PVE 9.2).
func taskRow(node string, t *task) map[string]any {
	row := map[string]any{
		"upid": t.UPID, "node": node, "pid": t.PID, "pstart": t.PStart, "starttime": t.Start,
		"type": t.Type, "id": t.ID, "user": t.User,
	}
	if t.running() {
		row["status"] = "RUNNING"
		return row
	}
	user, token := t.realmUser()
	row["user"], row["endtime"], row["status"] = user, t.End, t.Exit
	if token != "" {
		row["tokenid"] = token
	}
	return row
}

func (p *PVE) findTask(c *call) (*task, error) {
	upid, err := url.PathUnescape(c.vars["upid"])
	if err != nil || !strings.HasPrefix(upid, "UPID:") || strings.Count(upid, ":") != 8 {
		return nil, badParam("upid", "unable to parse worker upid")
	}
	for _, t := range p.st.Tasks {
		if t.UPID == upid {
			if t.User != c.token && !p.allowed(c.token, "/nodes/"+p.cfg.Node, "Sys.Audit") {
				return nil, forbidden("/nodes/"+p.cfg.Node, "Sys.Audit")
			}
			return t, nil
		}
	}
	return nil, badParam("upid", "no such task")
}

func (p *PVE) taskStatus(c *call) (any, error) {
	t, err := p.findTask(c)
	if err != nil {
		return nil, err
	}
	user, token := t.realmUser()
	out := map[string]any{
		"upid": t.UPID, "node": p.cfg.Node, "id": t.ID, "type": t.Type, "user": user,
		"pid": t.PID, "pstart": t.PStart, "starttime": t.Start, "status": "running",
	}
	if token != "" {
		out["tokenid"] = token
	}
	if !t.running() {
		out["status"], out["exitstatus"] = "stopped", t.Exit
	}
	return out, nil
}

func (p *PVE) taskLog(c *call) (any, error) {
	t, err := p.findTask(c)
	if err != nil {
		return nil, err
	}
	c.extra = map[string]any{"total": max(1, len(t.Log))}
	return logRows(t.Log, c), nil
}

// logRows cuts the page out of a log that start and limit (default 50) ask for.
func logRows(log []string, c *call) []map[string]any {
	rows := []map[string]any{}
	if len(log) == 0 {
		log = []string{"no content"}
	}
	from, to := page(c, len(log))
	for i := from; i < to; i++ {
		rows = append(rows, map[string]any{"n": i + 1, "t": log[i]})
	}
	return rows
}

// stopTask stops a task; a finished one is left as it is. A VM restore frees its disks and leaves the
// unlocked stub, a CT restore removes itself.
func (p *PVE) stopTask(c *call) (any, error) {
	t, err := p.findTask(c)
	if err != nil {
		return nil, err
	}
	if t.User != c.token && !p.allowed(c.token, "/nodes/"+p.cfg.Node, "Sys.Modify") {
		return nil, forbidden("/nodes/"+p.cfg.Node, "Sys.Modify")
	}
	if !t.running() {
		return nil, nil
	}
	if t.job != nil {
		what := "received interrupt"
		if t.job.kind == qemu {
			what = "interrupted by signal"
		}
		p.failRestore(t, fmt.Errorf("command '%s' failed: %s", t.job.command(p), what))
		return nil, nil
	}
	if id, err := strconv.Atoi(t.ID); err == nil && t.Type == "vzdump" && p.st.Guests[id] != nil {
		delete(p.st.Guests[id].Conf, "lock")
	}
	t.finish(p.wall(), errText("interrupted by signal"))
	return nil, nil
}
