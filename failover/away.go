package failover

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A guest that lives away is backed up by the agent of the site that owns it, into the
// group of its lineage. Of those backups the other sites have replicas, so that it can be
// restored once more when that site is lost, too.

// AwayBackup is an agent's word on the backup of a guest that lives at its site.
type AwayBackup struct {
	Guest GuestID `json:"guest"`
	Epoch Epoch   `json:"epoch"`
	// To is running before anything is asked for, so that no other one runs at that site;
	// then done or failed.
	To    StepStatus   `json:"to"`
	Point RestorePoint `json:"point,omitzero"` // done: as the site itself lists it
	Note  string       `json:"note,omitempty"` // failed: why
}

// Backups is what the log knows of a lineage's own backups.
type Backups struct {
	Newest RestorePoint `json:"newest,omitzero"` // on the PBS of the lineage's site
	Begun  Stamp        `json:"begun,omitzero"`  // of the last attempt
	Ended  Stamp        `json:"ended,omitzero"`  // zero, or older than Begun: it runs
	Fails  int          `json:"fails,omitempty"` // in a row
	Note   string       `json:"note,omitempty"`  // of the last of them
}

// Running says whether a backup was begun and has not ended.
func (b Backups) Running() bool { return b.Begun.Index > b.Ended.Index }

// How often a guest that lives away is backed up at most and at least, when nobody
// declares it (policy.away_backup).
const (
	awayOften  = time.Hour
	awaySeldom = 24 * time.Hour
)

// awayAgain is the pause after the first failure of a backup; it doubles.
const awayAgain = time.Minute

// ID returns the name of a lineage.
func (l Lineage) ID() LineageID {
	return LineageOf(l.Guest, Placement{Epoch: l.Epoch, Host: l.Host, VMID: l.VMID})
}

// Has says whether a restore point is one of a lineage, at whichever site it lies.
func (l Lineage) Has(p RestorePoint) bool {
	return l.Group != "" && p.Namespace == l.Namespace && groupOf(p.Volid) == l.Group
}

// groupOf is the PBS group of a volume id: "vm/90001" of "pbs:backup/vm/90001/2026-…".
func groupOf(volid string) string {
	_, group, _ := strings.Cut(volid, ":backup/")
	if i := strings.LastIndexByte(group, '/'); i >= 0 {
		return group[:i]
	}
	return ""
}

// LineageNow returns the lineage that a guest's copy which counts writes; false: it has
// never moved.
func (s *State) LineageNow(g GuestID) (Lineage, bool) {
	l, ok := s.Lineages[LineageOf(g, s.Guests[g])]
	return l, ok
}

// current says whether a restore point holds what the copy of a guest that counts has written.
// One of an older lineage holds what was written before the guest moved.
func (s *State) current(g GuestID, p RestorePoint) bool {
	if base, ok := s.CameFrom(g); ok && p.Namespace == base.Namespace && groupOf(p.Volid) == groupOf(base.Volid) && p.Time.Equal(base.Time) {
		return true
	}
	if s.AtHome(g) || s.Guests[g].Epoch == (Epoch{}) {
		return p.Namespace != AwayNamespace(s.Network.Home(g))
	}
	l, ok := s.LineageNow(g)
	return ok && l.Namespace != "" && l.Has(p)
}

// CameFrom returns the last backup of a guest that came home from elsewhere: until it is
// backed up at home, that is what the others have of it.
func (s *State) CameFrom(g GuestID) (RestorePoint, bool) {
	l, ok := s.LineageNow(g)
	if !ok || !s.AtHome(g) || l.Base.Namespace != AwayNamespace(l.Home) {
		return RestorePoint{}, false
	}
	return l.Base, true
}

// leavesBy is where the last backup of a guest that leaves its home arrives at a target. For
// one that came home that is not where it came from: at home it is backed up as it was
// before it ever left.
func (s *State) leavesBy(g GuestID, target SiteID, p RestorePoint) RestorePoint {
	l, known := s.LineageNow(g)
	home := s.Network.Home(g)
	_, host, _ := s.Network.Target(target)
	if !known || !s.AtHome(g) || p.Namespace != AwayNamespace(home) || l.Namespace == "" || len(host.Sources[home]) == 0 {
		return p
	}
	p.Namespace, p.Storage = l.Namespace, host.Sources[home][0]
	return p
}

// Group is the PBS group of a restore point, "vm/90001".
func (p RestorePoint) Group() string { return groupOf(p.Volid) }

// PointsAt returns the restore points that a site has of a guest, newest first: those of
// the copy that counts, and those of older lineages.
func (s *State) PointsAt(g GuestID, site SiteID) (current, older []RestorePoint) {
	for _, p := range s.Readiness[site].Ready.Points[g] {
		if s.current(g, p) {
			current = append(current, p)
		} else {
			older = append(older, p)
		}
	}
	return current, older
}

// newest chooses the newest usable one of a list.
func (p *planner) newest(g GuestID, t SiteID, points []RestorePoint) (RestorePoint, Reason) {
	if len(points) == 0 {
		return RestorePoint{}, because(CodeNoPoint, "guest", string(g), "site", string(t))
	}
	for _, pt := range points {
		if pt.Unusable != "" {
			continue
		}
		if limit := p.s.Network.Guests[g].MaxLoss.D(); limit > 0 && p.now.Sub(pt.Time) > limit && !p.loss.ByHand {
			return RestorePoint{}, because(CodeMaxLoss, "guest", string(g), "site", string(t),
				"age", p.now.Sub(pt.Time).Round(time.Minute).String(), "limit", limit.String())
		}
		return pt, Reason{}
	}
	return RestorePoint{}, because(CodeNoPoint, "guest", string(g), "site", string(t), "newest", points[0].Unusable)
}

// older is a restore point of an older lineage, for want of one of the copy that counts:
// what the users have written since the guest moved would be lost, and only a person may
// choose that.
func (p *planner) older(g GuestID, t SiteID, points []RestorePoint) (RestorePoint, Reason) {
	pt, r := p.newest(g, t, points)
	if !r.IsZero() || p.loss.ByHand {
		return pt, r
	}
	return RestorePoint{}, p.behind(g, pt)
}

// behind says what restoring a guest from a point of an older lineage would lose.
func (p *planner) behind(g GuestID, pt RestorePoint) Reason {
	return because(CodeAwayThere, "guest", string(g), "structure", string(p.s.Network.Guests[g].Structure), "site", string(p.s.Guests[g].Owner),
		"point", clockText(pt.Time), "age", max(0, p.lastWrite.Sub(pt.Time)).Round(time.Minute).String())
}

// AwayEvery is how often a guest that lives away is backed up: as declared, else as often
// as it is at home, as the replicas of that tell, and never so seldom that max_loss would
// leave it out.
func (s *State) AwayEvery(g GuestID) time.Duration {
	if d := s.Network.PolicyOf(g).AwayBackup.D(); d > 0 {
		return d
	}
	every := awaySeldom
	for _, site := range sortedKeys(s.Readiness) {
		var last time.Time
		for _, p := range s.Readiness[site].Ready.Points[g] { // newest first
			if p.Namespace == AwayNamespace(s.Network.Home(g)) {
				continue
			}
			if !last.IsZero() {
				every = min(every, last.Sub(p.Time))
			}
			last = p.Time
		}
	}
	if limit := s.Network.Guests[g].MaxLoss.D(); limit > 0 {
		every = min(every, limit/2)
	}
	return max(every, awayOften)
}

// AwayRunning returns the lineage at a site of which a backup runs, by the log.
func (s *State) AwayRunning(site SiteID) (Lineage, bool) {
	for _, id := range sortedKeys(s.Lineages) {
		if l := s.Lineages[id]; l.Site == site && l.Backups.Running() {
			return l, true
		}
	}
	return Lineage{}, false
}

// backedUp says whether the agent of its site backs a guest up: it lives there away from
// home, serves, and nothing else is done to it.
func (s *State) backedUp(g GuestID) (Lineage, bool) {
	p := s.Guests[g]
	l, ok := s.LineageNow(g)
	rests := !s.AtHome(g) && (p.Phase == PhaseAway || p.Phase == PhaseDiverged) || s.settledAway(g, l) && p.Phase == PhaseHome
	lives := rests && p.Op == "" && p.Serving == p.Owner
	return l, ok && lives && l.Storage != "" && l.Site == p.Owner && l.VMID == p.VMID
}

// dueAt is when the next backup of a lineage is due.
func (s *State) dueAt(l Lineage) time.Time {
	due := l.From.At
	if !l.Backups.Newest.IsZero() {
		due = l.Backups.Newest.Time.Add(s.AwayEvery(l.Guest))
	}
	if b := l.Backups; b.Fails > 0 {
		again := b.Ended.At.Add(min(awayOften, awayAgain<<min(b.Fails-1, 10)))
		if again.After(due) {
			due = again
		}
	}
	return due
}

// AwayDue returns the lineage at a site of which a backup is to begin now, the longest
// due first, and when to ask again if there is none; a zero time: when State changes.
// While guests are restored there, nothing else reads and writes the same disks.
func (s *State) AwayDue(site SiteID, now time.Time) (due Lineage, ok bool, next time.Time) {
	if s.Network == nil || s.restoresAt(site) {
		return Lineage{}, false, time.Time{}
	}
	var all []Lineage
	for _, g := range sortedKeys(s.Guests) {
		if l, backed := s.backedUp(g); backed && l.Site == site {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return Lineage{}, false, time.Time{}
	}
	first := slices.MinFunc(all, func(a, b Lineage) int {
		return cmp.Or(s.dueAt(a).Compare(s.dueAt(b)), cmp.Compare(s.Network.Guests[a.Guest].Priority, s.Network.Guests[b.Guest].Priority))
	})
	at := s.dueAt(first)
	return first, !now.Before(at), at
}

// restoresAt says whether an operation has guests still to restore at a site.
func (s *State) restoresAt(site SiteID) bool {
	for _, op := range s.Ops {
		for _, run := range op.Guests {
			step, ok := run.copying()
			if ok && run.State == RunActive && run.Assignment.Target == site && step.Status != StatusDone && !op.Phase.Ended() {
				return true
			}
		}
	}
	return false
}

func (c AwayBackup) apply(s *State, st Stamp) error {
	id := LineageOf(c.Guest, Placement{Epoch: c.Epoch})
	l, known := s.Lineages[id]
	switch {
	case s.Network == nil:
		return reject(CodeNoNetwork)
	case !known || c.Epoch == (Epoch{}):
		return reject(CodeNothing, "what", "lineage "+string(id), "guest", string(c.Guest))
	case c.To == StatusRunning:
		if err := s.mayBackUp(l); err != nil {
			return err
		}
		l.Backups.Begun = st
	case !l.Backups.Running():
		return reject(CodeWrongPhase, "guest", string(c.Guest), "phase", "no backup runs")
	case c.To == StatusDone:
		if c.Point.Time.IsZero() || groupOf(c.Point.Volid) != l.Group {
			return reject(CodeInvalid, "what", "a backup of "+string(id)+" that is "+c.Point.Volid)
		}
		if c.Point.Time.After(l.Backups.Newest.Time) {
			l.Backups.Newest = c.Point
		}
		l.Backups.Ended, l.Backups.Fails, l.Backups.Note = st, 0, ""
	case c.To == StatusFailed:
		l.Backups.Ended, l.Backups.Note = st, c.Note
		l.Backups.Fails++
		s.event(st, because(CodeAwayFailed, "guest", string(c.Guest), "site", string(l.Site), "note", c.Note), Event{Guest: c.Guest, Site: l.Site})
	default:
		return reject(CodeInvalid, "what", "a backup that is "+string(c.To))
	}
	s.Lineages[id] = l
	return nil
}

// mayBackUp refuses a backup of what is not its site's to back up, and two at once there.
func (s *State) mayBackUp(l Lineage) error {
	if other, runs := s.AwayRunning(l.Site); runs {
		return reject(CodeGuestBusy, "guest", string(l.Guest), "op", "backup of "+string(other.ID()))
	}
	if now, ok := s.backedUp(l.Guest); !ok || now.ID() != l.ID() {
		p := s.Guests[l.Guest]
		return reject(CodeWrongPhase, "guest", string(l.Guest), "phase", string(p.Phase)+" at "+string(p.Owner))
	}
	return nil
}

// unsaved tells, of each guest that lives away, that its backups are missing or late:
// what its users write is at one site only.
func (e explainer) unsaved() []Reason {
	var out []Reason
	for _, g := range sortedKeys(e.s.Guests) {
		p := e.s.Guests[g]
		l, ok := e.s.LineageNow(g)
		elsewhere := !e.s.AtHome(g) && (p.Phase == PhaseAway || p.Phase == PhaseDiverged)
		if !ok || p.Op != "" || !elsewhere && !e.s.settledAway(g, l) {
			continue
		}
		name := []string{"guest", string(g), "site", string(p.Owner), "home", string(e.s.Network.Home(g))}
		since := l.From.At
		if n := l.Backups.Newest; !n.IsZero() {
			since = n.Time
		}
		late := e.now.Sub(since)
		switch {
		case l.Storage == "":
			out = append(out, because(CodeAwayNoPlace, name...))
		case late > 2*e.s.AwayEvery(g):
			out = append(out, because(CodeAwayUnsaved, append(name, "age", late.Round(time.Minute).String(), "note", l.Backups.Note)...))
		}
	}
	return out
}

// checkAway: S8, a backup is told of the lineage that it was made of; at most one runs at
// a site, and none begins of a guest that is another's.
func checkAway(prev, next *State) error {
	running := map[SiteID]LineageID{}
	for _, id := range sortedKeys(next.Lineages) {
		l := next.Lineages[id]
		if n := l.Backups.Newest; !n.IsZero() && groupOf(n.Volid) != l.Group {
			return violated("S8", "the newest backup of %s is %s, its group is %s", id, n.Volid, l.Group)
		}
		if !l.Backups.Running() {
			continue
		}
		if other, two := running[l.Site]; two {
			return violated("S9", "%s and %s are backed up at once at %s", other, id, l.Site)
		}
		running[l.Site] = id
		if p := next.Guests[l.Guest]; l.Backups.Begun.Index == next.Index && !prev.Lineages[id].Backups.Running() && (p.Epoch != l.Epoch || p.Op != "") {
			return violated("S3", "a backup of %s begins and it is %s's in epoch %s", id, p.Owner, p.Epoch)
		}
	}
	return nil
}
