package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// SyncJob is a pull of snapshots from another PBS into this one.
type SyncJob struct {
	ID             string
	Remote         string // name of the remote
	RemoteStore    string // its datastore, shown in the listing
	FromNS, NS     string
	Owner          string // of the groups that it makes; default root@pam
	EncryptedOnly  bool
	VerifiedOnly   bool
	RemoveVanished bool
	TransferLast   int           // of each group only so many of the newest; 0 = all
	GroupFilter    []string      // shown in the listing; the pull takes all groups
	Every          time.Duration // 0 = only on demand
}

func (j SyncJob) owner() string {
	if j.Owner == "" {
		return "root@pam"
	}
	return j.Owner
}

// SyncSource is what a pull reads. *PBS is one in the same process, RemoteSource one over HTTP.
type SyncSource interface {
	Export(ns string) ([]Snapshot, error)
	Chunk(id ChunkID) ([]byte, error)
}

var _ SyncSource = (*PBS)(nil)

// Export returns the snapshots of a namespace for a pull. A server without power, or a nil one, cannot be
// reached.
func (b *PBS) Export(ns string) ([]Snapshot, error) {
	if !b.up() {
		return nil, errors.New("error trying to connect: tcp connect error: No route to host (os error 113)")
	}
	return b.list(ns), nil
}

// Chunk returns a chunk for a pull.
func (b *PBS) Chunk(id ChunkID) ([]byte, error) {
	if !b.up() {
		return nil, errors.New("connection closed")
	}
	return b.cfg.Store.Get(id)
}

// jobRun is the last run of a job.
type jobRun struct {
	UPID  string `json:"upid"`
	State string `json:"state"`
	End   int64  `json:"end"`
	Start int64  `json:"start"`

	pending *task // asked for, or running
	pulling bool
}

type dueJob struct {
	job  SyncJob
	task *task
}

// dueJobs returns the jobs to run now and starts the tasks of the scheduled ones.
func (b *PBS) dueJobs() []dueJob {
	var due []dueJob
	if b.st.Off {
		return nil
	}
	for _, j := range b.cfg.Jobs {
		r := b.run(j.ID)
		scheduled := j.Every > 0 && b.wall().Sub(time.Unix(r.Start, 0)) >= j.Every
		if r.pending == nil && scheduled {
			b.beginSync(j, "root@pam")
		}
		if r.pending != nil && r.pending.running() && !r.pulling {
			r.pulling = true
			due = append(due, dueJob{j, r.pending})
		}
	}
	return due
}

func (b *PBS) run(id string) *jobRun {
	if b.st.Runs[id] == nil {
		b.st.Runs[id] = &jobRun{}
	}
	return b.st.Runs[id]
}

func (b *PBS) beginSync(j SyncJob, user string) *task {
	t := b.begin("syncjob", strings.Join([]string{j.Remote, j.RemoteStore, b.cfg.Datastore, j.NS, j.ID}, ":"), user)
	r := b.run(j.ID)
	r.pending, r.Start = t, b.wall().Unix()
	return t
}

func (b *PBS) runJob(j SyncJob, t *task, now time.Time) {
	var from SyncSource = (*PBS)(nil)
	if b.cfg.Remote != nil {
		if s := b.cfg.Remote(j.Remote); s != nil {
			from = s
		}
	}
	// The job's end, good or bad, is in its task and its state.
	_, _, _ = b.pull(from, j, t, now)
}

// Sync pulls once, by the rules of src/server/pull.rs: unfinished snapshots are left out; per group what
// is older than the newest local snapshot is skipped, so holes never fill; the newest local one takes the
// source's manifest again, verification state and notes included; the protected flag stays behind; a
// group of another owner fails without stopping the others. It returns the number of snapshots that came
// and the bytes of chunks that had to be copied.
func (b *PBS) Sync(from SyncSource, job SyncJob, now time.Time) (copied int, bytes int64, err error) {
	b.mu.Lock()
	b.advance(now)
	if b.st.Off {
		b.mu.Unlock()
		return 0, 0, fmt.Errorf("sync %s: the server is off", job.ID)
	}
	r := b.run(job.ID)
	t := r.pending
	switch {
	case t == nil || !t.running():
		t = b.beginSync(job, "root@pam")
	case r.pulling: // one run at a time, by the job's lock
		b.mu.Unlock()
		return 0, 0, fmt.Errorf("sync %s: the job runs already", job.ID)
	}
	r.pulling = true // what somebody asked for a moment ago is this run
	b.mu.Unlock()
	return b.pull(from, job, t, now)
}

func (b *PBS) pull(from SyncSource, job SyncJob, t *task, now time.Time) (copied int, moved int64, err error) {
	copied, moved, err = b.pullGroups(from, job, t)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.dirty = true
	r := b.run(job.ID)
	r.pending, r.pulling = nil, false
	if t.running() { // power may have gone meanwhile
		t.finish(b.wall(), err)
		r.UPID, r.State, r.End = t.UPID, t.Exit, t.End
	}
	if err != nil {
		return copied, moved, fmt.Errorf("sync %s: %w", job.ID, err)
	}
	return copied, moved, nil
}

func (b *PBS) pullGroups(from SyncSource, job SyncJob, t *task) (copied int, moved int64, err error) {
	theirs, err := from.Export(job.FromNS)
	if err != nil {
		return 0, 0, err
	}
	slices.SortFunc(theirs, compareSnapshots)
	b.mu.Lock()
	ours := b.listed(job.NS)
	b.mu.Unlock()
	cutoff := job.cutoff(theirs)
	failed := false
	logf := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		t.logf(format, args...)
	}
	for _, s := range theirs {
		if !job.wants(s) {
			continue
		}
		newest := int64(0)
		owner := job.owner()
		for _, o := range ours {
			if o.Group() == s.Group() {
				newest, owner = max(newest, o.Time), o.Owner
			}
		}
		switch {
		case owner != job.owner():
			logf("sync group %s failed - owner check failed (%s != %s)", s.Group(), job.owner(), owner)
			failed = true
			continue
		case s.Time < newest, s.Time > newest && s.Time < cutoff[s.Group()]:
			continue
		}
		n, err := copyChunks(from.Chunk, b.cfg.Store, s.chunks())
		moved += n
		if err != nil {
			// A snapshot that did not come whole is not entered: what the real pull removes again.
			logf("sync snapshot %s failed - %s", s.Name(), err)
			failed = true
			continue
		}
		if s.Time > newest {
			copied++
		}
		s.NS, s.Owner, s.Protected = job.NS, job.owner(), false
		b.take(s)
	}
	if job.RemoveVanished {
		b.removeVanished(theirs, job)
	}
	if failed {
		return copied, moved, vendorText("sync failed with some errors.")
	}
	return copied, moved, nil
}

// wants says whether a job takes a snapshot by itself.
func (j SyncJob) wants(s Snapshot) bool {
	verified := s.Verification != nil && s.Verification.State == "ok"
	return !s.Unfinished && (!j.EncryptedOnly || s.Encrypted()) && (!j.VerifiedOnly || verified)
}

// cutoff is, by group, the time of the oldest snapshot that a job with transfer-last takes. sorted are all
// of the source, oldest first.
func (j SyncJob) cutoff(sorted []Snapshot) map[string]int64 {
	out, n := map[string]int64{}, map[string]int{}
	for _, s := range slices.Backward(sorted) {
		if n[s.Group()]++; j.TransferLast > 0 && n[s.Group()] <= j.TransferLast {
			out[s.Group()] = s.Time
		}
	}
	return out
}

// take enters a pulled snapshot, or the newer manifest of one that is there.
func (b *PBS) take(s Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index(s.NS, s.Name()); i >= 0 {
		s.Protected = b.st.Snapshots[i].Protected
	}
	b.insert(s)
}

// removeVanished removes what the source no longer has; protected snapshots stay.
func (b *PBS) removeVanished(theirs []Snapshot, job SyncJob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.listed(job.NS) {
		there := slices.ContainsFunc(theirs, func(s Snapshot) bool { return s.Name() == o.Name() })
		if !there && o.Owner == job.owner() && !o.Protected {
			// It was listed under the same lock and is not protected: it can be removed.
			_ = b.remove(o.NS, o.Name())
		}
	}
}

func (b *PBS) syncJobs(c *call) (any, error) {
	rows := []map[string]any{}
	jobs := slices.SortedFunc(slices.Values(b.cfg.Jobs), func(x, y SyncJob) int { return strings.Compare(x.ID, y.ID) })
	for _, j := range jobs {
		if (c.has("store") && c.str("store") != b.cfg.Datastore) || c.str("sync-direction") == "push" ||
			!b.allowed(c.token, b.storePath(j.NS), "Datastore.Audit") || !b.allowed(c.token, "/remote/"+j.Remote, "Remote.Audit") {
			continue
		}
		row := map[string]any{
			"id": j.ID, "store": b.cfg.Datastore, "remote": j.Remote, "remote-store": j.RemoteStore, "owner": j.owner(),
			"remove-vanished": j.RemoveVanished, "encrypted-only": j.EncryptedOnly, "sync-direction": "pull", "max-depth": 0, // one namespace
		}
		if j.VerifiedOnly {
			row["verified-only"] = true
		}
		if j.TransferLast > 0 {
			row["transfer-last"] = j.TransferLast
		}
		for k, v := range map[string]string{"ns": j.NS, "remote-ns": j.FromNS} {
			if v != "" {
				row[k] = v
			}
		}
		if len(j.GroupFilter) > 0 {
			row["group-filter"] = j.GroupFilter
		}
		r := b.run(j.ID)
		if r.UPID != "" {
			row["last-run-upid"], row["last-run-state"], row["last-run-endtime"] = r.UPID, r.State, r.End
		}
		if j.Every > 0 {
			row["schedule"] = "*:0/" + fmt.Sprint(max(1, int(j.Every.Minutes())))
			row["next-run"] = r.Start + int64(j.Every.Seconds())
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// runSync starts a job; the pull itself is made by the next Advance.
func (b *PBS) runSync(c *call) (any, error) {
	for _, j := range b.cfg.Jobs {
		if j.ID != c.vars["id"] {
			continue
		}
		if !b.allowed(c.token, b.storePath(j.NS), "Datastore.Backup") || !b.allowed(c.token, "/remote/"+j.Remote+"/"+j.RemoteStore, "Remote.Read") {
			return nil, errPermission()
		}
		if r := b.run(j.ID); r.pending != nil && r.pending.running() {
			return nil, errors.New("job already running")
		}
		return b.beginSync(j, c.token).UPID, nil
	}
	return nil, &apiError{status: http.StatusBadRequest, text: fmt.Sprintf("no such sync job '%s'", c.vars["id"])}
}

// SyncHandler serves what RemoteSource reads, for a pull from another process: GET /export?ns= and
// GET /chunk/DIGEST, with a token of this PBS. It stands for the backup protocol, which is not an API of
// the vendor's schema.
func (b *PBS) SyncHandler() http.Handler {
	mux := http.NewServeMux()
	guard := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			id, secret, ok := pbsToken(r)
			if !ok || secret == "" || b.cfg.Tokens[id] != secret || !b.login(id, secret) {
				http.Error(w, "authentication failed", http.StatusUnauthorized)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /export", guard(func(w http.ResponseWriter, r *http.Request) {
		list, err := b.Export(r.URL.Query().Get("ns"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(list) // a client that left needs no answer
	}))
	mux.HandleFunc("GET /chunk/{id}", guard(func(w http.ResponseWriter, r *http.Request) {
		var id ChunkID
		if err := id.UnmarshalText([]byte(r.PathValue("id"))); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		data, err := b.Chunk(id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(data) // a client that left needs no answer
	}))
	return mux
}

// remoteSource reads from a SyncHandler.
type remoteSource struct {
	ctx   context.Context // the life of the driver; SyncSource stands for calls of one pull
	rt    http.RoundTripper
	base  string
	token string
}

// RemoteSource returns the PBS whose SyncHandler is at base ("https://127.77.1.3:18007/sync"), with the
// token "user@realm!token:secret". Each call ends with ctx or after 30 s.
func RemoteSource(ctx context.Context, rt http.RoundTripper, base, token string) SyncSource {
	return remoteSource{ctx: ctx, rt: rt, base: base, token: token}
}

func (s remoteSource) get(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("sync request: %w", err)
	}
	req.Header.Set("Authorization", "PBSAPIToken="+s.token)
	res, err := s.rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("error trying to connect: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("sync answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("sync answer %d: %s", res.StatusCode, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	return body, nil
}

// Export asks for the snapshots of a namespace.
func (s remoteSource) Export(ns string) ([]Snapshot, error) {
	body, err := s.get("/export?ns=" + url.QueryEscape(ns))
	if err != nil {
		return nil, err
	}
	var list []Snapshot
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode snapshots: %w", err)
	}
	return list, nil
}

// Chunk asks for a chunk.
func (s remoteSource) Chunk(id ChunkID) ([]byte, error) { return s.get("/chunk/" + id.String()) }
