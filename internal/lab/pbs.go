package lab

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	manifestBlob   = "index.json.blob"
	defaultPBSSize = 1 << 40
	verifyTime     = time.Second
)

// SnapshotFile is one file of a snapshot. CryptMode is none, encrypt or sign-only; Chunks are its content
// in the store (encrypted ones in mode encrypt).
type SnapshotFile struct {
	Name      string    `json:"name"`
	Size      int64     `json:"size"`
	CryptMode string    `json:"cryptMode"`
	Chunks    []ChunkID `json:"chunks"`
}

// Verification is the result of a snapshot's last verification; the UPID names the node that did it.
type Verification struct {
	State string `json:"state"` // ok, failed
	UPID  string `json:"upid"`
}

// Snapshot is one backup in a PBS.
type Snapshot struct {
	NS           string         `json:"ns"`
	Type         string         `json:"type"` // vm, ct, host
	ID           string         `json:"id"`
	Time         int64          `json:"time"` // seconds since the epoch
	Owner        string         `json:"owner"`
	Comment      string         `json:"comment,omitempty"`
	Fingerprint  string         `json:"fingerprint,omitempty"` // of the key, "" = not encrypted
	Protected    bool           `json:"protected,omitempty"`
	Unfinished   bool           `json:"unfinished,omitempty"` // no size, no manifest
	Files        []SnapshotFile `json:"files"`
	Verification *Verification  `json:"verification,omitempty"`
}

// Group returns "vm/100".
func (s Snapshot) Group() string { return s.Type + "/" + s.ID }

// Name returns "vm/100/2026-01-02T03:04:05Z".
func (s Snapshot) Name() string {
	return s.Group() + "/" + time.Unix(s.Time, 0).UTC().Format(time.RFC3339)
}

// Size returns the sum of the archives' sizes in bytes.
func (s Snapshot) Size() (n int64) {
	for _, f := range s.Files {
		n += f.Size
	}
	return n
}

// Encrypted tells whether the client encrypted the data.
func (s Snapshot) Encrypted() bool { return s.Fingerprint != "" }

func (s Snapshot) file(name string) (SnapshotFile, bool) {
	i := slices.IndexFunc(s.Files, func(f SnapshotFile) bool { return f.Name == name })
	if i < 0 {
		return SnapshotFile{}, false
	}
	return s.Files[i], true
}

func (s Snapshot) chunks() (out []ChunkID) {
	for _, f := range s.Files {
		out = append(out, f.Chunks...)
	}
	return out
}

func compareSnapshots(a, b Snapshot) int {
	return cmp.Or(cmp.Compare(a.NS, b.NS), cmp.Compare(a.Type, b.Type), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Time, b.Time))
}

// PBSConfig configures a fake Proxmox Backup Server with one datastore.
type PBSConfig struct {
	Node        string
	Version     string // PBS4 (default) or PBS3, or "4.1", "3.4.2"
	Datastore   string
	Store       *Store            // default: in memory, or Dir/chunks
	Tokens      map[string]string // "user@realm!token" -> secret
	Namespaces  []string          // that exist although they are empty
	Size        int64             // bytes of the datastore, default 1 TiB
	Fingerprint string            // of its certificate; entries with another one are refused
	Jobs        []SyncJob
	VerifyJobs  []MaintenanceJob
	PruneJobs   []MaintenanceJob
	// ACL gives users and tokens their privileges by path, as PVEConfig.ACL: "/datastore/STORE[/NS]",
	// "/remote/R", "/system/tasks". Who has no entry has everything.
	ACL    map[string]map[string][]string
	Remote func(name string) SyncSource // the PBS behind a job's remote; nil = cannot be reached
	Rand   *rand.Rand
	Clock  Clock  // if set, every request first advances the fake to it; it must not call the fake
	Dir    string // "" = in memory
}

// PBS is a passive stand-in for a Proxmox Backup Server. It is safe for concurrent use, except that
// Advance and Flush are called by one driver at a time.
type PBS struct {
	cfg     PBSConfig
	release version
	routes  []route[*PBS]

	mu      sync.Mutex
	st      pbsState
	reading map[string]int // snapshots that a restore reads, "NS:NAME" -> readers
	dirty   bool
	saved   time.Time
}

type pbsState struct {
	Now       time.Time          `json:"now"`
	Off       bool               `json:"off"`
	Seq       int                `json:"seq"`
	Snapshots []Snapshot         `json:"snapshots"` // sorted
	Tasks     []*task            `json:"tasks"`
	Runs      map[string]*jobRun `json:"runs"`
	GC        gcRun              `json:"gc"`
	pbsWounds
}

// NewPBS returns a server that is on; with a directory that holds a state, one that lost power when the
// process before it ended: call PowerOn.
func NewPBS(cfg PBSConfig) (*PBS, error) {
	if cfg.Node == "" || cfg.Datastore == "" {
		return nil, errors.New("new PBS: node or datastore name is missing")
	}
	var err error
	var release version
	if cfg.Version, release, err = fullVersion("Proxmox Backup Server", cfg.Version, PBS3, PBS4); err != nil {
		return nil, fmt.Errorf("new PBS %s: %w", cfg.Node, err)
	}
	if cfg.Size == 0 {
		cfg.Size = defaultPBSSize
	}
	if cfg.Rand == nil {
		cfg.Rand = seededRand(cfg.Node)
	}
	b := &PBS{cfg: cfg, release: release, routes: gate(pbsRoutes(), release), st: pbsState{Runs: map[string]*jobRun{}, pbsWounds: newPBSWounds()}}
	return b, b.load()
}

// Node returns the node's name, which is in the UPIDs of its tasks.
func (b *PBS) Node() string { return b.cfg.Node }

// Store returns the chunk store.
func (b *PBS) Store() *Store { return b.cfg.Store }

// Routes lists the operations that every fake PBS serves.
func (b *PBS) Routes() []RouteInfo { return infos(b.routes) }

// Advance moves the server to now: tasks proceed and due sync jobs run. A job pulls from its source here,
// without the lock: where the source is on the network, Advance takes as long as the network does.
func (b *PBS) Advance(now time.Time) {
	b.mu.Lock()
	b.advance(now)
	due := b.dueJobs()
	b.mu.Unlock()
	for _, r := range due {
		b.runJob(r.job, r.task, now)
	}
	b.mu.Lock()
	save := b.cfg.Dir != "" && b.dirty && now.Sub(b.saved) >= saveEvery
	b.mu.Unlock()
	if save {
		// A failed save leaves dirty set, so the next one tries again and Flush reports it.
		_ = b.Flush()
	}
}

func (b *PBS) advance(now time.Time) {
	if !now.After(b.st.Now) {
		return
	}
	dt := now.Sub(b.st.Now)
	b.st.Now = now
	if b.st.Off {
		return
	}
	b.startDueMaintenance()
	for _, t := range slices.Clone(b.st.Tasks) {
		if t.running() && t.step != nil {
			t.step(dt)
		}
	}
}

// PowerLoss cuts the server's power: running tasks die.
func (b *PBS) PowerLoss(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.powerLoss()
}

func (b *PBS) powerLoss() {
	b.st.Off, b.dirty = true, true
	for _, t := range b.st.Tasks {
		if t.running() {
			t.die(b.wall())
			t.step = nil
		}
	}
}

// PowerOn starts the server.
func (b *PBS) PowerOn(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.st.Off, b.dirty = false, true
}

func (b *PBS) up() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.st.Off
}

// login tells whether a storage entry's credentials are good; an entry without a secret is not asked.
func (b *PBS) login(user, secret string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.st.Revoked[user] {
		return false
	}
	return secret == "" || b.cfg.Tokens[user] == secret
}

func (b *PBS) usage() (total, used int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used()
}

func (b *PBS) used() (total, used int64) {
	if b.st.Full {
		return b.cfg.Size, b.cfg.Size
	}
	return b.cfg.Size, min(b.cfg.Size, int64(b.cfg.Store.Len())*ChunkSize)
}

// Snapshots returns the snapshots of a namespace ("" = root), sorted by group and time.
func (b *PBS) Snapshots(ns string) []Snapshot { return b.list(ns) }

func (b *PBS) list(ns string) []Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listed(ns)
}

func (b *PBS) listed(ns string) []Snapshot {
	out := []Snapshot{}
	for _, s := range b.st.Snapshots {
		if s.NS == ns {
			out = append(out, s)
		}
	}
	return out
}

func (b *PBS) index(ns, name string) int {
	return slices.IndexFunc(b.st.Snapshots, func(s Snapshot) bool { return s.NS == ns && s.Name() == name })
}

func (b *PBS) find(ns, name string) (Snapshot, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index(ns, name); i >= 0 {
		return b.st.Snapshots[i], true
	}
	return Snapshot{}, false
}

// edit changes a snapshot in place.
func (b *PBS) edit(ns, name string, f func(*Snapshot)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.index(ns, name)
	if i < 0 {
		return vendorText("snapshot %s does not exist.", name)
	}
	f(&b.st.Snapshots[i])
	b.dirty = true
	return nil
}

// forget removes a snapshot; a protected one stays.
func (b *PBS) forget(ns, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remove(ns, name)
}

func (b *PBS) remove(ns, name string) error {
	i := b.index(ns, name)
	switch {
	case i < 0:
		return vendorText("snapshot %s does not exist.", name)
	case b.st.Snapshots[i].Protected:
		return errors.New("cannot remove protected snapshot")
	case b.reading[ns+":"+name] > 0:
		return vendorText("unable to acquire lock on snapshot directory %q - possibly running or in use", name)
	}
	b.st.Snapshots = slices.Delete(b.st.Snapshots, i, i+1)
	b.dirty = true
	return nil
}

// hold takes the read lock of a snapshot: while a restore reads it, nobody forgets or prunes it.
func (b *PBS) hold(s Snapshot) (release func()) {
	key := s.NS + ":" + s.Name()
	change := func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.reading == nil {
			b.reading = map[string]int{}
		}
		b.reading[key] += n
	}
	change(1)
	return func() { change(-1) }
}

// AddSnapshot puts a snapshot into the datastore as an upload does: its chunks must be in the store, its
// owner must be the group's, and it must be newer than the group's newest. For tests it may be unfinished.
func (b *PBS) AddSnapshot(s Snapshot) error { return b.add(s) }

func (b *PBS) add(s Snapshot) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, old := range b.st.Snapshots {
		if old.NS != s.NS || old.Group() != s.Group() {
			continue
		}
		if old.Owner != s.Owner {
			return fmt.Errorf("backup owner check failed (%s != %s)", s.Owner, old.Owner)
		}
		if old.Time >= s.Time {
			return vendorText("backup timestamp is older than last backup.")
		}
	}
	if b.st.Full {
		return errors.New("unable to create chunk - No space left on device (os error 28)")
	}
	b.insert(s)
	return nil
}

func (b *PBS) insert(s Snapshot) {
	i, found := slices.BinarySearchFunc(b.st.Snapshots, s, compareSnapshots)
	if found {
		b.st.Snapshots[i] = s
	} else {
		b.st.Snapshots = slices.Insert(b.st.Snapshots, i, s)
	}
	b.dirty = true
}

// Prune keeps the newest finished snapshots of every group of a namespace and the protected ones, and
// returns how many it removed.
func (b *PBS) Prune(ns string, keep int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.st.Snapshots)
	plan := b.plan(ns, Keep{Last: keep}, func(Snapshot) bool { return true })
	if keep == 0 {
		for i := range plan {
			plan[i].keep = plan[i].Unfinished || plan[i].Protected
		}
	}
	b.prune(plan, func(string, ...any) {})
	return before - len(b.st.Snapshots)
}

// CollectGarbage drops the chunks that no snapshot uses and returns how many. No backup, sync or restore
// may run meanwhile: the real one spares chunks used in the last 24 h, the lab does not.
func (b *PBS) CollectGarbage() (int, error) {
	b.mu.Lock()
	used := b.usedChunks()
	b.mu.Unlock()
	return b.cfg.Store.keep(used)
}

// named finds the snapshot that a fault names: "ns:vm/100/TIME", "vm/100/TIME", "vm/100" (its newest in
// any namespace), "" (the newest of all). It returns -1 when there is none.
func (b *PBS) named(text string) int {
	best := -1
	for i, s := range b.st.Snapshots {
		if text != "" && text != s.Name() && text != s.NS+":"+s.Name() && text != s.Group() {
			continue
		}
		if best < 0 || s.Time > b.st.Snapshots[best].Time {
			best = i
		}
	}
	return best
}
