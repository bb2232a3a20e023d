package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Away backs up the guests that live at this site away from their home, one at a time,
// each into the storage entry of its lineage. What it does next is in the log: a claim
// before anything is asked for, so that after a restart it looks what became of it, and
// asks for no second one. It makes one call per step.
type Away struct {
	Site   failover.SiteID
	Log    failover.Log
	PVE    *proxmox.PVE
	Clock  *LogClock
	Logger *slog.Logger
	// Hook, if set, is called before each outside call, as Executor.Hook is.
	Hook func(boundary string)

	work awayWork
}

// awayWork is what is known of the backup that runs; a restart forgets it.
type awayWork struct {
	of     failover.LineageID
	begun  uint64 // index of its claim
	phase  string
	upid   proxmox.UPID
	before time.Time // of the newest backup that there was
	posts  int
	errs   int
}

// Where a backup stands.
const (
	awayLook  = "" // it may have been made already
	awayTasks = "tasks"
	awayPost  = "post"
	awayPoll  = "poll"
	awayFound = "found"
)

// awayPause is the pause between two looks at a backup that runs; maxAwayErrors is how
// often in a row a question may come to nothing.
const (
	awayPause     = 5 * time.Second
	maxAwayErrors = 5
)

// Step makes one call towards the backup that runs, or begins the next that is due.
func (a *Away) Step(ctx context.Context, now time.Time) time.Time {
	s := a.Log.State()
	if s.Network == nil || a.PVE == nil {
		return now.Add(idle)
	}
	ctx = failover.WithActor(ctx, "agent:"+string(a.Site))
	at := a.Clock.Now(s, now)
	l, runs := s.AwayRunning(a.Site)
	if !runs {
		due, ok, next := s.AwayDue(a.Site, at)
		switch {
		case ok:
			return a.tell(ctx, now, failover.AwayBackup{Guest: due.Guest, Epoch: due.Epoch, To: failover.StatusRunning})
		case next.IsZero():
			return now.Add(idle)
		}
		return now.Add(min(next.Sub(at), time.Minute))
	}
	if a.work.of != l.ID() || a.work.begun != l.Backups.Begun.Index {
		a.work = awayWork{of: l.ID(), begun: l.Backups.Begun.Index}
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	said, next := a.carry(call, s, l, at)
	if said.To == "" {
		return now.Add(next)
	}
	said.Guest, said.Epoch = l.Guest, l.Epoch
	if said.To == failover.StatusFailed {
		a.Logger.Warn("guest that lives here is not backed up", "guest", l.Guest, "storage", l.Storage, "why", said.Note)
	}
	return a.tell(ctx, now, said)
}

// tell proposes what has become of a backup, or that one begins.
func (a *Away) tell(ctx context.Context, now time.Time, c failover.AwayBackup) time.Time {
	a.call(c.Guest, "tell "+string(c.To))
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	_, err := a.Log.Propose(ctx, c)
	if _, rejected := errors.AsType[*failover.RejectedError](err); err == nil || rejected && c.To != failover.StatusRunning {
		return now
	}
	a.Logger.Debug("backup of a guest that lives here not recorded", "guest", c.Guest, "to", c.To, "err", err)
	return now.Add(2 * time.Second)
}

// call names the boundary of an outside call.
func (a *Away) call(g failover.GuestID, what string) {
	if a.Hook != nil {
		a.Hook(string(g) + ": away: " + what)
	}
}

// carry makes the next call; it returns what there is to tell, or how long to wait.
func (a *Away) carry(ctx context.Context, s *failover.State, l failover.Lineage, at time.Time) (failover.AwayBackup, time.Duration) {
	switch a.work.phase {
	case awayLook, awayFound:
		return a.look(ctx, s, l, at)
	case awayTasks:
		return a.tasks(ctx, l)
	case awayPost:
		return a.post(ctx, s, l)
	}
	return a.poll(ctx, l)
}

func failedBackup(note string) (failover.AwayBackup, time.Duration) {
	return failover.AwayBackup{To: failover.StatusFailed, Note: clip(note)}, 0
}

// trouble is for a call that came to nothing: it is made again a few times.
func (a *Away) trouble(err error) (failover.AwayBackup, time.Duration) {
	if a.work.errs++; a.work.errs < maxAwayErrors {
		return failover.AwayBackup{}, awayPause
	}
	return failedBackup(err.Error())
}

// look lists the lineage's backups: before it asks for one, since an earlier life of this
// agent, or a person, may have made it just now; and after.
func (a *Away) look(ctx context.Context, s *failover.State, l failover.Lineage, at time.Time) (failover.AwayBackup, time.Duration) {
	w := &a.work
	a.call(l.Guest, "list backups")
	rows, err := a.PVE.Backups(ctx, l.Storage, l.VMID)
	if err != nil {
		return a.trouble(err)
	}
	var p failover.RestorePoint
	for _, b := range rows {
		if b.Size > 0 && b.Kind == proxmox.Kind(s.Network.Guests[l.Guest].Type) && b.Time.After(p.Time) {
			p = failover.RestorePoint{Storage: l.Storage, Volid: b.Volid, Namespace: l.Namespace, Time: b.Time, Size: b.Size, Protected: b.Protected}
		}
	}
	known, after := l.Backups.Newest.Time, w.phase == awayFound
	if l.Resumes != "" && known.Before(l.From.At) {
		known = l.From.At // the copy has served from here before: what it was backed up then is not what it holds now
	}
	switch fresh := at.Sub(p.Time) < s.AwayEvery(l.Guest); {
	case after && p.Time.After(w.before), !after && fresh && p.Time.After(known):
		return failover.AwayBackup{To: failover.StatusDone, Point: p}, 0
	case after:
		return failedBackup("the backup ended well and is in no list: " + l.Storage)
	}
	w.before, w.phase = p.Time, awayTasks
	return failover.AwayBackup{}, 0
}

// tasks looks for a backup of the guest that runs, whoever asked for it.
func (a *Away) tasks(ctx context.Context, l failover.Lineage) (failover.AwayBackup, time.Duration) {
	a.call(l.Guest, "look at tasks")
	tasks, err := a.PVE.Tasks(ctx, proxmox.TaskFilter{VMID: l.VMID})
	if err != nil {
		return a.trouble(err)
	}
	a.work.phase = awayPost
	if t, ok := newestOf(tasks, "vzdump"); ok && t.Running {
		a.work.upid, a.work.phase = t.UPID, awayPoll
	}
	return failover.AwayBackup{}, 0
}

func (a *Away) post(ctx context.Context, s *failover.State, l failover.Lineage) (failover.AwayBackup, time.Duration) {
	w := &a.work
	if l.To.Index != 0 || s.Guests[l.Guest].Op != "" {
		return failedBackup("it is not this site's alone any more")
	}
	a.call(l.Guest, "post backup")
	upid, err := a.PVE.Dump(ctx, proxmox.Kind(s.Network.Guests[l.Guest].Type), l.VMID, l.Storage)
	switch proxmox.KindOf(err) {
	case "":
		w.upid, w.phase, w.errs = upid, awayPoll, 0
		return failover.AwayBackup{}, time.Second
	case proxmox.OutcomeUnknown, proxmox.Busy:
		if w.posts++; w.posts < maxPosts {
			w.phase = awayLook
			return failover.AwayBackup{}, 2 * time.Second
		}
	}
	return failedBackup(err.Error())
}

func (a *Away) poll(ctx context.Context, l failover.Lineage) (failover.AwayBackup, time.Duration) {
	a.call(l.Guest, "poll backup")
	t, err := a.PVE.Task(ctx, a.work.upid)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound || proxmox.KindOf(err) == proxmox.BadRequest:
		a.work.phase = awayFound
	case err != nil:
		return a.trouble(err)
	case t.Running:
		a.work.errs = 0
		return failover.AwayBackup{}, awayPause
	case !t.OK():
		return failedBackup("backup: " + t.Exit)
	default:
		a.work.phase = awayFound
	}
	return failover.AwayBackup{}, 0
}
