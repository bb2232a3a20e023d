package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Checker asks a guest from inside its site whether it serves.
type Checker interface {
	// Check fetches url and returns nil when status and marker are as wanted.
	Check(ctx context.Context, url string, status int, expect string) error
	// Connect opens a TCP connection to address and closes it.
	Connect(ctx context.Context, address string) error
}

// Executor carries out the steps of this site's guests. It keeps one worker
// per guest of an operation; a worker is a Stepper.
type Executor struct {
	Site    failover.SiteID
	Log     failover.Log
	PVE     *proxmox.PVE // nil on a site that can never be a target
	PBS     *proxmox.PBS
	Helper  RootHelper // nil: what a crashed restore leaves needs a person
	Checker Checker
	// Fences are this site's ways to know that a host is off and to put it off, by
	// the name that the host's declaration gives.
	Fences map[string]Fence
	// Programs are what operations call here by name: hooks, and checks of guests.
	Programs map[string]Program
	// Hands are this site's hosts whose guests it may shut down for a planned move.
	Hands map[failover.HostID]Hand
	// Answers says whether a TLS server answers at a URL; nil: it cannot be asked.
	Answers func(ctx context.Context, url string) bool
	// NewID makes the id of a claim, another each time, by which a worker knows its own again
	// although the answer was lost; nil: such a claim counts as another's.
	NewID  func() string
	Clock  *LogClock
	Logger *slog.Logger
	// Hook, if set, is called before each outside call of a worker with a name
	// of the boundary; the simulator crashes the agent there.
	Hook func(boundary string)

	mu      sync.Mutex
	workers map[workerKey]*Worker
}

type workerKey struct {
	op    failover.OpID
	guest failover.GuestID
}

// Workers returns a worker for every guest that has a step to do at this site
// now, in the order of the work, and forgets those of ended operations.
func (e *Executor) Workers(now time.Time) []*Worker {
	if e.PVE == nil && len(e.Hands) == 0 {
		return nil
	}
	s := e.Log.State()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.workers == nil {
		e.workers = map[workerKey]*Worker{}
	}
	var out []*Worker
	for _, t := range failover.Runnable(s, e.Site, e.Clock.Now(s, now)) {
		k := workerKey{t.Op, t.Guest}
		w, ok := e.workers[k]
		if !ok {
			w = &Worker{e: e, op: t.Op, guest: t.Guest}
			e.workers[k] = w
		}
		out = append(out, w)
	}
	for k := range e.workers {
		if op, ok := s.Ops[k.op]; !ok || op.Phase.Ended() {
			delete(e.workers, k)
		}
	}
	return out
}

// Tracks returns the workers' names, for drivers that keep one loop per worker.
func (w *Worker) Name() string { return string(w.op) + "/" + string(w.guest) }

// outcome is how an attempt at a step ended.
type outcome struct {
	failure failover.Failure // "" = done
	note    string
	goOn    bool // the step is done, for all that
	gone    bool // what it was to start is not there any more, as was agreed
}

// Worker brings the steps of one guest in one operation to their end.
type Worker struct {
	e     *Executor
	op    failover.OpID
	guest failover.GuestID

	token   failover.Token // of the step that memory belongs to
	attempt int
	mem     memory
	ended   *outcome // decided, not yet in the log
	holds   claim    // the attempt that the log knows to be this worker's
	fresh   bool     // claimed by this worker, and nothing was sent for it yet
	claimed asked    // the newest attempt that this worker asked the log for
	taken   taken    // the newest attempt that this worker has taken up
	called  called   // what became of the newest program that it called
	made    uint64   // index of its newest proposal, until State has it
	since   time.Time
}

// memory is what a worker learned about its current step. Losing it costs a
// second look, never a second effect.
type memory struct {
	phase     string
	upid      proxmox.UPID
	exit      string // of the task that upid names
	archive   *proxmox.ArchiveConfig
	address   string
	confirmed time.Time
	logAt     int // lines of the task log already read
	progress  proxmox.Progress
	told      int64 // bytes last reported to the log
	since     time.Time
	failing   *outcome // what to report once the remains are cleaned away
	looked    bool
	unpinned  int                 // of the restore points that the run has protected
	posts     int                 // of a restore, in this attempt, that may have arrived
	quiet     int                 // looks in a row that saw nobody at a dead host's addresses,
	looks     int                 // of so many
	restarted bool                // the copy, under its check
	leaving   leaving             // of a switchover
	sealing   string              // of a failback: where the sealing of the branch stands
	key       string              // with which this site reads sealed backups
	config    proxmox.GuestConfig // of a copy at home, as it was read
	unparked  bool
	absent    bool // that copy is not there any more

	silent   time.Time // since when the machines cannot be reached; zero = they can
	silentIn string    // phase in which that began

	proof proof // that the copy may be deleted

	beside []int // running guests of the range that are still to be looked at before a start; nil: not listed yet

	exists   string // the answer that our id is taken, which does not say by whom
	foreign  string // what is told of a guest under our id that is not ours
	stub     bool   // what stands under our id is the rest of a restore: bare, or locked by it
	freed    string // phase that follows the freeing of a stub
	unlocked bool   // the helper has done it, in this attempt
	refused  error  // why the helper has not
}

// Step makes one call towards the end of the guest's current step.
func (w *Worker) Step(ctx context.Context, now time.Time) time.Time {
	s := w.e.Log.State()
	if s.Index < w.made && now.Sub(w.since) < behindAtMost {
		// What this worker proposed is not applied here yet: deciding now would
		// be deciding on the past.
		return now.Add(behindPause)
	}
	at := w.e.Clock.Now(s, now)
	token, ok := w.runnable(s, at)
	if !ok {
		return now.Add(idle)
	}
	op := s.Ops[token.Op]
	run := op.Guests[token.Guest]
	step, _, _ := run.Current()
	if token != w.token || step.Attempt != w.attempt && step.Status == failover.StatusRunning {
		w.token, w.attempt, w.mem, w.ended = token, step.Attempt, memory{since: at}, nil
	}
	if w.fresh && !w.mine(step) {
		w.holds = claim{} // it was claimed already, which State did not yet say when this worker asked
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(w.e.Site)), callLimit(s, token))
	defer cancel()
	switch {
	case step.Status == failover.StatusPending:
		return w.claim(ctx, now, claim{token, step.Attempt + 1})
	case w.holds != claim{token, step.Attempt}:
		return w.adopt(ctx, s, now, claim{token, step.Attempt}, step)
	case w.ended != nil:
		w.hook("report " + string(step.ID))
		return w.report(ctx, now, token, step)
	}
	j := job{w: w, s: s, op: op, run: run, step: step, now: now, at: at}
	next, done := j.do(ctx)
	if done != nil {
		w.ended = done
		return now
	}
	return next
}

// runnable returns the token of the worker's guest if State lets it run here.
func (w *Worker) runnable(s *failover.State, at time.Time) (failover.Token, bool) {
	for _, t := range failover.Runnable(s, w.e.Site, at) {
		if t.Op == w.op && t.Guest == w.guest {
			return t, true
		}
	}
	return failover.Token{}, false
}

func (w *Worker) hook(boundary string) {
	if w.e.Hook != nil {
		w.e.Hook(string(w.guest) + ": " + boundary)
	}
}

// report puts the outcome of an attempt into the log.
func (w *Worker) report(ctx context.Context, now time.Time, t failover.Token, step failover.Step) time.Time {
	m := failover.StepMoved{Token: t, Attempt: step.Attempt, To: failover.StatusDone, Note: w.ended.note}
	if m.Failure = w.ended.failure; m.Failure != "" && !w.ended.goOn {
		m.To = failover.StatusFailed
	} else if w.ended.gone {
		m.Found = &failover.Found{Gone: true}
	} else if p := w.mem.leaving.point; !p.IsZero() {
		m.Point = p
	} else if t.Step == failover.StepRestore || t.Step == failover.StepWhole {
		m.Bytes, m.Total = w.mem.progress.Total, w.mem.progress.Total
	}
	_, next, _ := w.propose(ctx, now, m)
	return next
}

// propose makes one proposal. A rejection means that State has moved on: look
// at it again. An unknown outcome is resolved by looking at State, too.
func (w *Worker) propose(ctx context.Context, now time.Time, c failover.StepMoved) (failover.Stamp, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	st, err := w.e.Log.Propose(ctx, c)
	w.wait(st, now)
	if err == nil {
		return st, now, nil
	}
	if _, rejected := errors.AsType[*failover.RejectedError](err); rejected {
		w.e.Logger.Debug("step report refused", "guest", w.guest, "step", c.Token.Step, "err", err)
		w.ended = nil
		w.mem = memory{}
		w.token = failover.Token{}
		return st, now.Add(200 * time.Millisecond), err
	}
	w.e.Logger.Warn("step report failed", "guest", w.guest, "step", c.Token.Step, "err", err)
	return st, now.Add(time.Second), err
}

// Pauses while the local State is behind an own proposal. A change of State
// wakes the worker; an agent that is cut off goes on looking after a while.
const (
	behindPause  = 100 * time.Millisecond
	behindAtMost = 10 * time.Second
)

// wait makes the worker's next step wait for State to reach its proposal.
func (w *Worker) wait(st failover.Stamp, now time.Time) {
	if st.Index > w.made {
		w.made, w.since = st.Index, now
	}
}

// job is one call's worth of work on a step that runs.
type job struct {
	w    *Worker
	s    *failover.State
	op   failover.Operation
	run  failover.GuestRun
	step failover.Step
	now  time.Time // the driver's clock
	at   time.Time // the log's clock
}

// Deadlines of steps. A restore has none in itself: it fails when nothing has
// moved for restoreStall.
var deadlines = map[failover.StepID]time.Duration{
	failover.StepProtect: 2 * time.Minute,
	failover.StepFence:   2 * time.Minute,
	failover.StepStart:   5 * time.Minute,
	failover.StepLive:    10 * time.Minute,
	failover.StepRelease: 2 * time.Minute,
	failover.StepCleanup: 30 * time.Minute,

	failover.StepShutdown: 10 * time.Minute,
	failover.StepStill:    2 * time.Minute,
	failover.StepRevive:   10 * time.Minute,
	failover.StepLeave:    10 * time.Minute,
	failover.StepPark:     5 * time.Minute,
	failover.StepUnpark:   5 * time.Minute,
	failover.StepSettle:   5 * time.Minute,
	failover.StepRejoin:   10 * time.Minute,
	failover.StepRemove:   30 * time.Minute,
	failover.StepFork:     5 * time.Minute,
}

const restoreStall = 20 * time.Minute

func (j *job) do(ctx context.Context) (next time.Time, done *outcome) {
	if limit, ok := deadlines[j.step.ID]; ok && j.at.Sub(j.w.mem.since) > limit {
		return j.now, &outcome{failure: failover.FailTransient, note: fmt.Sprintf("%s not done within %s: %s", j.step.ID, limit, j.w.mem.phase)}
	}
	switch j.step.ID {
	case failover.StepProtect:
		return j.protect(ctx)
	case failover.StepRestore:
		if j.run.Assignment.Warm != "" {
			return j.useWarm(ctx)
		}
		return j.restore(ctx)
	case failover.StepFence:
		return j.fence(ctx)
	case failover.StepStart:
		return j.start(ctx)
	case failover.StepCheck:
		return j.check(ctx)
	case failover.StepRelease:
		return j.release(ctx)
	case failover.StepCleanup:
		switch {
		case j.run.Assignment.Warm != "": // the copy stays: it stood there before
			return j.release(ctx)
		case j.op.Kind == failover.KindWarm:
			return j.removeWarm(ctx)
		}
		return j.cleanup(ctx)
	}
	return j.switched(ctx)
}

// callLimit is how long one call of a step may take.
func callLimit(s *failover.State, t failover.Token) time.Duration {
	if hook, ok := s.HookOf(t.Guest, t.Step); ok {
		return callTimeout + hook.Within.D()
	}
	return callTimeout
}

// switched makes the next call of a step that not every operation has.
func (j *job) switched(ctx context.Context) (time.Time, *outcome) {
	switch j.step.ID {
	case failover.StepLive:
		return j.live(ctx)
	case failover.StepWhole:
		return j.whole(ctx)
	case failover.StepBefore, failover.StepAfter:
		return j.program(ctx)
	case failover.StepReady:
		return j.ready(ctx)
	case failover.StepShutdown, failover.StepLeave:
		return j.shutdown(ctx)
	case failover.StepBackup, failover.StepSeal:
		return j.backup(ctx)
	case failover.StepPull:
		return j.pull(ctx)
	case failover.StepVerify:
		return j.verifyLast(ctx)
	case failover.StepSealVerify, failover.StepSealCopy:
		return j.seal(ctx)
	case failover.StepPark:
		return j.park(ctx)
	case failover.StepReplace:
		return j.replace(ctx)
	case failover.StepUnpark:
		return j.unpark(ctx)
	case failover.StepSettle:
		return j.settle(ctx)
	case failover.StepRejoin:
		return j.rejoin(ctx)
	case failover.StepRemove:
		return j.remove(ctx)
	case failover.StepFork:
		return j.fork(ctx)
	case failover.StepUnseal, failover.StepUnsealCopy:
		return j.unseal(ctx)
	case failover.StepStill:
		return j.still(ctx)
	case failover.StepRevive:
		return j.revive(ctx)
	}
	return j.now.Add(idle), nil
}

// call names the boundary of an outside call.
func (j *job) call(what string) { j.w.hook(string(j.step.ID) + ": " + what) }

func (j *job) kind() proxmox.Kind {
	return proxmox.Kind(j.s.Network.Guests[j.run.Assignment.Guest].Type)
}

// soon is the pause between two looks at something that is on its way.
func (j *job) soon() time.Time { return j.now.Add(500 * time.Millisecond) }

// outage is how long one phase of an attempt waits for machines that cannot be
// reached. With the five attempts of a step that outlasts the reboot of a host;
// a target that stays away costs no more before another one is taken.
const outage = time.Minute

// trouble waits out what will pass and fails what will not. Nothing was done by
// a call that is "unreachable", so the phase may be gone through again: a
// restart of pveproxy or of the host must not use up the attempts of the step.
func (j *job) trouble(err error) (time.Time, *outcome) {
	m := &j.w.mem
	if proxmox.KindOf(err) == proxmox.Unreachable {
		if m.silent.IsZero() || m.silentIn != m.phase {
			// A phase that has ended means that they were reached meanwhile.
			m.silent, m.silentIn = j.at, m.phase
			j.w.e.Logger.Warn("waiting for this site's Proxmox", "guest", j.run.Assignment.Guest, "step", j.step.ID, "err", err)
		}
		if j.at.Sub(m.silent) < outage {
			return j.now.Add(2 * time.Second), nil
		}
	}
	return j.now, &outcome{failure: failureOf(err), note: clip(err.Error())}
}

// failureOf maps a Proxmox error to what Decide can do about it.
func failureOf(err error) failover.Failure {
	switch proxmox.KindOf(err) {
	case proxmox.SnapshotGone, proxmox.BackupBroken:
		return failover.FailPoint
	case proxmox.Forbidden, proxmox.NoQuorum, proxmox.StorageFull, proxmox.StorageUnusable, proxmox.KeyMissing,
		proxmox.KeyWrong, proxmox.NoBridge:
		return failover.FailTarget
	case proxmox.Protected, proxmox.Changed, proxmox.BadRequest:
		return failover.FailFatal
	}
	return failover.FailTransient
}

const (
	maxNote  = 300
	maxCause = 80 // of what Proxmox says where what a person is to type comes after it
)

func clip(s string) string { return cut(s, maxNote) }

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// tryAgain is what a person types once the cause is removed. A planned move is taken back before
// ownership moves: of that there is nothing to retry.
func (j *job) tryAgain() string {
	planned := j.op.Kind == failover.KindSwitchover || j.op.Kind == failover.KindFailback
	if planned && !j.run.Owned() && j.run.State == failover.RunActive {
		return "type the move again"
	}
	return fmt.Sprintf("wwwctl op retry %s", j.op.ID)
}

func commandName(c failover.Command) string { return fmt.Sprintf("%T", c) }

// sorted returns a map's keys in order: what goes to Proxmox must not depend
// on map order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
