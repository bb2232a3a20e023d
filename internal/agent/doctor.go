package agent

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/mesh"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// DoctorEvery is how often a Doctor begins a round.
const DoctorEvery = 10 * time.Minute

// Machines are the clients of a site's own Proxmox; nil where there is none.
type Machines struct {
	PVE    *proxmox.PVE
	PBS    *proxmox.PBS
	Err    error // why they cannot be used, though the site declares them
	Others []Other
}

// HelperProbe asks the root helper whether it would act on an id, without an act.
type HelperProbe interface {
	// Probe returns nil if it would; id is that of no guest.
	Probe(ctx context.Context, id int) error
}

// RouterReader is the site's router as far as its static DNS entries go.
type RouterReader interface {
	StaticNames(ctx context.Context) ([]mesh.StaticName, error)
}

// Other is a further PVE of the site, of which only the guests are listed.
type Other struct {
	Host network.HostID
	PVE  *proxmox.PVE
	Err  error // why it cannot be used
}

// Doctor reads, for wwwctl doctor, what the checks of this site's machines need.
// A round makes one call per step; rounds begin every Every, when the declared
// network changes and when one is asked for. What it read stays with this agent: the log never sees it.
type Doctor struct {
	Site     failover.SiteID
	Log      failover.Log
	Clock    *LogClock
	Machines func() Machines     // those of the next round
	Disk     func() doctor.Disk  // where the agent's data lies
	Helper   HelperProbe         // nil: not asked
	Router   func() RouterReader // of the next round; nil, or of nil: this agent has no way to the site's router
	Every    time.Duration
	Logger   *slog.Logger

	round   *doctorRound
	begun   time.Time
	archive map[string]doctor.Archive // by volid: what an archive told never changes
	first   uint64                    // State.Index at the first step
	version uint64                    // State.NetworkVersion of the last round

	mu      sync.Mutex
	facts   *doctor.Facts   // of the last round that ended; never changed afterwards
	waiting []chan struct{} // asked for a round that has not begun
}

// doctorRound is a round under way.
type doctorRound struct {
	Machines
	spec    *network.Spec
	id      network.HostID
	host    network.Host
	facts   doctor.Facts
	queue   []doctorCall
	waiting []chan struct{}
}

type doctorCall struct {
	about doctor.Category
	call  func(context.Context) error
}

// Facts returns what the last round read; nil before the first has ended.
func (d *Doctor) Facts() *doctor.Facts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.facts
}

// Ask wants a round that begins after this call; the channel is closed at its
// end. Its driver has to be woken.
func (d *Doctor) Ask() <-chan struct{} {
	done := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, done)
	return done
}

// Asked says whether a round was asked for that has not begun.
func (d *Doctor) Asked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) > 0
}

// Step begins a round that is due or makes one call of it.
func (d *Doctor) Step(ctx context.Context, now time.Time) time.Time {
	s := d.Log.State()
	if d.first == 0 {
		d.first = s.Index
	}
	if d.round == nil {
		if due := d.begun.Add(d.Every); !d.begun.IsZero() && now.Before(due) && s.NetworkVersion == d.version && !d.Asked() {
			d.lookAtClock(s, now)
			return due
		}
		d.begin(s, now)
	}
	r := d.round
	if len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := next.call(ctx); err != nil {
			r.facts.Failed = append(r.facts.Failed, doctor.Failure{Category: next.about, Why: clip(err.Error())})
			d.Logger.Debug("doctor: not read", "category", next.about, "err", err)
		}
	}
	if len(r.queue) > 0 {
		return now
	}
	d.finish(s, now)
	return d.begun.Add(d.Every)
}

// begin plans a round's calls.
func (d *Doctor) begin(s *failover.State, now time.Time) {
	d.begun, d.version = now, s.NetworkVersion
	r := &doctorRound{spec: s.Network, facts: doctor.Facts{Began: now, Disk: d.Disk()}}
	d.mu.Lock()
	r.waiting, d.waiting = d.waiting, nil
	d.mu.Unlock()
	d.round = r
	ok := false
	if s.Network == nil {
		return
	}
	r.Machines = d.Machines()
	r.planOthers()
	d.planRouter(r)
	if r.id, r.host, ok = s.Network.Target(d.Site); !ok {
		return
	}
	r.facts.Node = r.host.PVE.Node
	switch {
	case r.Err != nil:
		r.facts.Access = r.Err.Error()
		return
	case r.PVE == nil || r.PBS == nil:
		r.facts.Access = "pve.token_file or pbs.token_file is not set in wwwd.yaml"
		return
	}
	r.facts.Token = r.PVE.TokenID()
	r.facts.Store = doctor.StoreFacts{Token: r.PBS.TokenID(), Datastore: r.PBS.Datastore()}
	if d.archive == nil {
		d.archive = map[string]doctor.Archive{}
	}
	r.plan(doctor.Privileges, func(ctx context.Context) error { return r.readVersion(ctx, d.Site) })
	r.plan(doctor.Keys, func(ctx context.Context) error { return d.readEntries(ctx, r) })
	for _, kind := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
		r.plan(doctor.Guests, func(ctx context.Context) error { return r.readGuests(ctx, kind) })
	}
	if d.Helper != nil {
		r.plan(doctor.Privileges, func(ctx context.Context) error { r.readHelper(ctx, d.Helper); return nil })
	}
	r.plan(doctor.Restore, r.readHA)
	r.plan(doctor.Restore, r.readBridges)
	r.plan(doctor.Restore, r.readProcessor)
	r.plan(doctor.Restore, r.readMachines)
	r.plan(doctor.Restore, r.readModels)
	r.plan(doctor.Backups, r.readBackupJobs)
	r.plan(doctor.Backups, r.readPrunes)
	r.plan(doctor.Backups, r.readJobs)
	r.plan(doctor.Privileges, r.readStoreVersion)
}

func (r *doctorRound) plan(about doctor.Category, call func(context.Context) error) {
	r.queue = append(r.queue, doctorCall{about, call})
}

// finish publishes what the round read and wakes those who wait for it.
func (d *Doctor) finish(s *failover.State, now time.Time) {
	r := d.round
	d.round = nil
	r.facts.Ended, r.facts.ClockOff = now, d.clockOff(s, now)
	seen := map[string]bool{}
	for _, a := range r.facts.Archives {
		seen[a.Volid] = true
	}
	if len(r.facts.Failed) == 0 {
		maps.DeleteFunc(d.archive, func(volid string, _ doctor.Archive) bool { return !seen[volid] })
	}
	d.mu.Lock()
	d.facts = &r.facts
	d.mu.Unlock()
	for _, done := range r.waiting {
		close(done)
	}
}

// clockOff is how far this machine's clock is ahead of the log's. Until an entry came since
// this agent's start, the log's time is that of the last one before, which may be old.
func (d *Doctor) clockOff(s *failover.State, now time.Time) time.Duration {
	if s.Index <= d.first {
		return 0
	}
	return now.Round(0).Sub(d.Clock.Now(s, now))
}

// lookAtClock corrects what was read of the clock when the last round ended: an entry that
// took long to get here, as to an agent that was still catching up, lets a right clock look
// wrong.
func (d *Doctor) lookAtClock(s *failover.State, now time.Time) {
	f := d.Facts()
	if f == nil || f.ClockOff == 0 {
		return
	}
	if off := d.clockOff(s, now); off.Abs()+time.Second < f.ClockOff.Abs() {
		better := *f
		better.ClockOff = off
		d.mu.Lock()
		d.facts = &better
		d.mu.Unlock()
	}
}

// readVersion learns the release and plans one question per ACL path.
func (r *doctorRound) readVersion(ctx context.Context, site failover.SiteID) error {
	v, err := r.PVE.Version(ctx)
	if err != nil {
		r.unusable("pve "+r.facts.Node, err)
		return nil
	}
	r.facts.Release = v.Version
	r.facts.Permissions = map[string]map[string]bool{}
	grants, err := doctor.Grants(r.spec, site, v.Version)
	if err != nil {
		return nil // the check tells it by its code
	}
	for _, path := range doctor.GrantPaths(grants) {
		r.plan(doctor.Privileges, func(ctx context.Context) error { return r.readPermissions(ctx, path) })
	}
	return nil
}

// unusable notes that a machine does not even tell its version.
func (r *doctorRound) unusable(machine string, err error) {
	r.facts.Unusable = append(r.facts.Unusable, doctor.Machine{Name: machine, Why: clip(err.Error())})
}

// readHelper asks the root helper about the last id for restored guests that no
// guest has: the ids in use are handed out from the first.
func (r *doctorRound) readHelper(ctx context.Context, h HelperProbe) {
	taken := map[int]bool{}
	for _, kind := range []doctor.Kind{"vm", "ct"} {
		list, read := r.facts.Residents[kind]
		if !read {
			return // no id is known to be free
		}
		for _, g := range list {
			taken[g.ID] = true
		}
	}
	ids := r.host.Restore.IDs
	for id := ids.Last; id >= ids.First; id-- {
		if taken[id] {
			continue
		}
		r.facts.Helper = doctor.Helper{ID: id}
		if err := h.Probe(ctx, id); err != nil {
			r.facts.Helper.Why = clip(err.Error())
		}
		return
	}
}

func (r *doctorRound) readPermissions(ctx context.Context, path string) error {
	have, err := r.PVE.Permissions(ctx, path)
	if err != nil {
		return err
	}
	// A token without any right on the path gets an empty answer.
	r.facts.Permissions[path] = have[path]
	return nil
}

func (r *doctorRound) readGuests(ctx context.Context, kind proxmox.Kind) error {
	list, err := r.PVE.Guests(ctx, kind)
	if err != nil {
		return err
	}
	if r.facts.Residents == nil {
		r.facts.Residents = map[doctor.Kind][]doctor.Resident{}
	}
	rows := residents(kind, list)
	r.facts.Residents[doctor.Kind(kind)] = rows
	for i, g := range rows {
		if r.host.Restore.IDs.Contains(g.ID) {
			r.plan(doctor.Guests, func(ctx context.Context) error { return r.examine(ctx, &rows[i]) })
		}
	}
	return nil
}

// examine reads whose guest it is.
func (r *doctorRound) examine(ctx context.Context, g *doctor.Resident) error {
	c, err := r.PVE.GuestConfig(ctx, proxmox.Kind(g.Kind), g.ID)
	if gone(err) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	g.Examined = true
	if m, ok := c.Marker(); ok {
		g.Marker = m.Network
	}
	return nil
}

func gone(err error) bool { return proxmox.KindOf(err) == proxmox.NotFound }

// readArchive opens a backup once: that proves the key and tells what a restore
// would refuse. A verdict on key or backup is asked for again each round, since
// a key may be added.
func (d *Doctor) readArchive(ctx context.Context, r *doctorRound, a doctor.Archive) error {
	c, err := r.PVE.ExtractConfig(ctx, a.Volid)
	switch proxmox.KindOf(err) {
	case "":
		if c.Kind == proxmox.VM {
			a.CPU, a.Machine = c.Raw["cpu"], c.Raw["machine"]
		}
		for _, w := range c.Warnings {
			a.Warnings = append(a.Warnings, doctor.Obstacle{What: doctor.ObstacleKind(w.Code), Key: w.Key, Text: w.Text})
		}
		d.archive[a.Volid] = a
	case proxmox.KeyMissing, proxmox.KeyWrong, proxmox.BackupBroken:
		a.Shut = clip(err.Error())
	default:
		return err
	}
	r.facts.Archives = append(r.facts.Archives, a)
	return nil
}
