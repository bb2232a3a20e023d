package lab

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// begin starts a task. A PBS UPID has nine fields: a task counter stands between pstart and starttime,
// and the id has its special characters written as \xNN.
func (b *PBS) begin(kind, id, user string) *task {
	b.st.Seq++
	b.dirty = true
	t := &task{
		Type: kind, ID: id, User: user, Start: b.wall().Unix(), began: b.st.Now,
		PID: 700, PStart: 4000,
	}
	escaped := strings.NewReplacer(":", `\x3a`, "-", `\x2d`, "/", `\x2f`).Replace(id)
	t.UPID = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%08X:%s:%s:%s:", b.cfg.Node, t.PID, t.PStart, b.st.Seq, t.Start, kind, escaped, user)
	b.st.Tasks = append(b.st.Tasks, t)
	if n := len(b.st.Tasks) - keptTasks; n > 0 && !b.st.Tasks[0].running() {
		b.st.Tasks = slices.Delete(b.st.Tasks, 0, 1)
	}
	return t
}

func (b *PBS) tasks(c *call) (any, error) {
	rows := []map[string]any{}
	for _, t := range slices.Backward(b.st.Tasks) {
		switch {
		case t.User != c.token && !b.allowed(c.token, "/system/tasks", "Sys.Audit"),
			c.yes("running") && !t.running(),
			c.yes("errors") && (t.running() || t.Exit == "OK"),
			c.has("typefilter") && !strings.Contains(t.Type, c.str("typefilter")),
			c.has("userfilter") && !strings.Contains(t.User, c.str("userfilter")),
			c.has("store") && c.str("store") != b.cfg.Datastore,
			c.has("since") && t.Start < int64(c.num("since", 0)),
			c.has("until") && t.Start > int64(c.num("until", 0)):
			continue
		}
		row := map[string]any{
			"upid": t.UPID, "node": "localhost", "pid": t.PID, "pstart": t.PStart, "starttime": t.Start,
			"worker_type": t.Type, "worker_id": t.ID, "user": t.User,
		}
		if !t.running() {
			row["endtime"], row["status"] = t.End, t.Exit
		}
		rows = append(rows, row)
	}
	c.extra = map[string]any{"total": len(rows)}
	from, to := page(c, len(rows))
	return rows[from:to], nil
}

func (b *PBS) findTask(c *call) (*task, error) {
	upid, err := url.PathUnescape(c.vars["upid"])
	if err != nil || !strings.HasPrefix(upid, "UPID:") || strings.Count(upid, ":") != 9 {
		return nil, fmt.Errorf("unable to parse UPID '%s'", c.vars["upid"])
	}
	for _, t := range b.st.Tasks {
		if t.UPID == upid {
			if t.User != c.token && !b.allowed(c.token, "/system/tasks", "Sys.Audit") {
				return nil, errPermission()
			}
			return t, nil
		}
	}
	return nil, errors.New("no such task")
}

func (b *PBS) taskStatus(c *call) (any, error) {
	t, err := b.findTask(c)
	if err != nil {
		return nil, err
	}
	user, token := t.realmUser()
	out := map[string]any{
		"upid": t.UPID, "node": b.cfg.Node, "pid": t.PID, "pstart": t.PStart, "starttime": t.Start,
		"type": t.Type, "id": t.ID, "user": user, "status": "running",
	}
	if token != "" {
		out["tokenid"] = token
	}
	if !t.running() {
		out["status"], out["exitstatus"], out["endtime"] = "stopped", t.Exit, t.End
	}
	return out, nil
}

func (b *PBS) taskLog(c *call) (any, error) {
	t, err := b.findTask(c)
	if err != nil {
		return nil, err
	}
	c.extra = map[string]any{"total": max(1, len(t.Log))}
	return logRows(t.Log, c), nil
}

// verify starts a task that reads every chunk of the matching snapshots.
func (b *PBS) verify(c *call) (any, error) {
	kind, id := "verify", b.cfg.Datastore
	group := c.str("backup-type") + "/" + c.str("backup-id")
	name, own := "", false
	switch {
	case c.has("backup-time"):
		s := Snapshot{Type: c.str("backup-type"), ID: c.str("backup-id"), Time: int64(c.num("backup-time", 0))}
		kind, name = "verify_snapshot", s.Name()
		i := b.index(c.str("ns"), name)
		if i < 0 {
			return nil, vendorText("snapshot %s does not exist.", name)
		}
		own = b.st.Snapshots[i].Owner == c.token
		id += ":" + name
	case c.has("backup-id"):
		kind, id = "verify_group", id+":"+group
	}
	if path := b.storePath(c.str("ns")); !b.allowed(c.token, path, "Datastore.Verify") && (!own || !b.allowed(c.token, path, "Datastore.Backup")) {
		return nil, errPermission()
	}
	want := verifyRequest{
		ns: c.str("ns"), name: name, anyNS: !c.has("ns") && !c.has("backup-id"), anyGroup: !c.has("backup-id"), group: group,
		skipVerified: name == "" && (!c.has("ignore-verified") || c.yes("ignore-verified")),
	}
	t := b.begin(kind, id, c.token)
	due := b.st.Now.Add(verifyTime)
	t.step = func(time.Duration) {
		if !b.st.Now.Before(due) {
			t.finish(b.wall(), b.verifyAll(t, want))
		}
	}
	return t.UPID, nil
}

// verifyRequest says which snapshots a verification is for.
type verifyRequest struct {
	ns, group, name string
	anyNS, anyGroup bool
	skipVerified    bool
}

func (v verifyRequest) wants(s Snapshot) bool {
	return !s.Unfinished && (v.anyNS || s.NS == v.ns) && (v.anyGroup || s.Group() == v.group) &&
		(v.name == "" || s.Name() == v.name) && (!v.skipVerified || s.Verification == nil)
}

func (b *PBS) verifyAll(t *task, want verifyRequest) error {
	bad := 0
	for i := range b.st.Snapshots {
		if s := &b.st.Snapshots[i]; want.wants(*s) {
			bad += b.verifyOne(t, s)
		}
	}
	b.dirty = true
	if bad > 0 {
		return errors.New("verification failed - please check the log for details")
	}
	return nil
}

// verifyOne reads a snapshot's chunks and records the result under the task's UPID, so that it can be
// told from a result that came with a sync. It returns the number of bad snapshots.
func (b *PBS) verifyOne(t *task, s *Snapshot) int {
	t.logf("verify %s:%s", b.cfg.Datastore, s.Name())
	state := "ok"
	for _, id := range s.chunks() {
		if _, err := b.cfg.Store.Get(id); err != nil {
			t.logf("%s", err)
			state = "failed"
			break
		}
	}
	s.Verification = &Verification{State: state, UPID: t.UPID}
	return bit(state == "failed")
}
