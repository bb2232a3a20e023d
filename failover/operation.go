package failover

import "time"

// OpKind is the kind of an operation.
type OpKind string

// Kinds of operation. Drill is reserved in the log.
const (
	KindFailover   OpKind = "failover"
	KindRescue     OpKind = "rescue"
	KindSwitchover OpKind = "switchover"
	KindFailback   OpKind = "failback"
	KindDrill      OpKind = "drill"
	KindTidy       OpKind = "tidy"    // removes what another operation left at a target that it gave up
	KindReturn     OpKind = "return"  // shuts a superseded copy down that its host has started
	KindWake       OpKind = "wake"    // starts a guest that lives away again, after its host has started
	KindRemoval    OpKind = "removal" // removes a copy that was left, or gives a sealed branch up, by a person's word
	KindWarm       OpKind = "warm"    // restores a warm copy of a guest, or removes one
)

// OpPhase is where an operation stands.
type OpPhase string

// Phases of an operation.
const (
	OpScheduled OpPhase = "scheduled" // a switchover that waits for its time and holds no guest yet
	OpPreparing OpPhase = "preparing" // only protect and restore, revocable
	OpCommitted OpPhase = "committed" // at least one guest is admitted
	OpReleasing OpPhase = "releasing" // cancelled; copies kept a while, then cleaned
	OpDone      OpPhase = "done"
	OpCancelled OpPhase = "cancelled"
	OpStuck     OpPhase = "stuck" // ended with at least one guest that needs a person
)

// Ended says whether nothing of the operation is left to do.
func (p OpPhase) Ended() bool { return p == OpDone || p == OpCancelled || p == OpStuck }

// StepID names a step of a guest's run.
type StepID string

// Steps of a restore, in their order (design section 5); cleanup takes their
// place when a run is cancelled.
const (
	StepProtect StepID = "protect" // pin the restore point on the PBS
	StepRestore StepID = "restore" // stopped, every NIC on the structure's VLAN here, onboot 0
	StepFence   StepID = "fence"   // rescue: prove that the dead host is off, or put it off
	StepOwn     StepID = "own"     // the log: the epoch is born
	StepStart   StepID = "start"
	StepCheck   StepID = "check"   // from inside
	StepServe   StepID = "serve"   // the log: DNS follows
	StepRelease StepID = "release" // unpin the restore point
	StepCleanup StepID = "cleanup" // delete our copy, unpin

	// Of a live restore, in place of restore and start.
	StepLive  StepID = "live"  // target: restore it running, its disks follow
	StepWhole StepID = "whole" // target: they are all there

	// Programs that the guest's declaration names (hooks).
	StepBefore StepID = "before" // target: before the first effect that cannot be taken back; it may forbid the move
	StepAfter  StepID = "after"  // target: once the copy serves

	// Of a switchover.
	StepReady    StepID = "ready"    // target: pull what there is already, which proves the way
	StepShutdown StepID = "shutdown" // home: remember how the guest was, shut it down
	StepBackup   StepID = "backup"   // home: the last one
	StepPull     StepID = "pull"     // target: fetch it
	StepVerify   StepID = "verify"   // target: read it whole
	StepStill    StepID = "still"    // home: nobody started it meanwhile
	StepRevive   StepID = "revive"   // home: start it again, in place of all others, when it is given up

	// Of a failback. The loser is the copy that does not go on.
	StepLeave      StepID = "leave"       // home: remember how the copy that was left is, shut it down
	StepSeal       StepID = "seal"        // loser: its last backup, of its own
	StepSealVerify StepID = "seal-verify" // loser: read it whole, protect it
	StepSealCopy   StepID = "seal-copy"   // second site: fetch it, read it whole, protect it
	StepPark       StepID = "park"        // home: keep the copy that was left under its id: off, cables out, protected
	StepReplace    StepID = "replace"     // home: give the parked copy up, so that there is room for the one that comes
	StepUnpark     StepID = "unpark"      // home: undo that
	StepSettle     StepID = "settle"      // home: it starts with its host again, as it used to
	StepRejoin     StepID = "rejoin"      // home: start the copy that was left again, when the failback is given up

	// Of a removal, after those that seal or that read what is sealed once more.
	StepRemove     StepID = "remove"      // delete the copy that was left
	StepFork       StepID = "fork"        // make the copy that was left a guest of its own
	StepUnseal     StepID = "unseal"      // let the sealed backups be pruned
	StepUnsealCopy StepID = "unseal-copy" // second site: as well
)

// Irreversible says whether an effect of the step cannot be taken back, so
// that the leader must confirm the token first.
func (s StepID) Irreversible() bool {
	return s.called() || s.removes() || s == StepFork || s == StepReplace || s == StepStart || s == StepLive || s == StepCleanup || s == StepFence ||
		s == StepShutdown || s == StepRevive || s == StepLeave || s == StepRejoin
}

// StepStatus is where a step stands.
type StepStatus string

// Statuses of a step.
const (
	StatusPending StepStatus = "pending"
	StatusRunning StepStatus = "running" // claimed in the log
	StatusDone    StepStatus = "done"
	StatusFailed  StepStatus = "failed" // Decide chooses: retry, retarget, stuck
)

// Failure says what kind of trouble ended an attempt, for Decide to choose.
type Failure string

// Kinds of failure.
const (
	FailTransient Failure = "transient" // try again
	FailPoint     Failure = "point"     // this restore point is bad: an older one
	FailTarget    Failure = "target"    // not on this target: another one
	FailFatal     Failure = "fatal"     // a person must look
	FailTaken     Failure = "taken"     // somebody's guest has this id, and nothing of ours ever had: another id
	FailGone      Failure = "gone"      // the copy was deleted before it ever started: restored again at a person's word
	FailBroke     Failure = "broke"     // a live restore ended before the disks were whole: restored again at a person's word
	FailProof     Failure = "proof"     // nothing proves that the dead host is off: ask
	FailStarted   Failure = "started"   // somebody has started or changed the warm copy: it is theirs
	FailHook      Failure = "hook"      // a program that was called did not end well
)

// Token names an effect. Index is the entry that began or last retargeted the
// guest's run; an effect with an older token is refused.
type Token struct {
	Op    OpID    `json:"op"`
	Guest GuestID `json:"guest"`
	Step  StepID  `json:"step"`
	Index uint64  `json:"index"`
	Epoch Epoch   `json:"epoch,omitzero"` // after own
}

// Step is one step of a guest's run.
type Step struct {
	ID        StepID     `json:"id"`
	Status    StepStatus `json:"status"`
	Attempt   int        `json:"attempt"` // 0 before the first
	NotBefore time.Time  `json:"not_before,omitzero"`
	UPID      string     `json:"upid,omitempty"`
	Bytes     int64      `json:"bytes,omitempty"`
	Total     int64      `json:"total,omitempty"`
	Failure   Failure    `json:"failure,omitempty"`
	Note      string     `json:"note,omitempty"`
	Begun     Stamp      `json:"begun,omitzero"`
	Moved     Stamp      `json:"moved,omitzero"` // of the newest report, progress included
	Ended     Stamp      `json:"ended,omitzero"`
}

// RunState is where a guest's run stands.
type RunState string

// States of a run.
const (
	RunActive    RunState = "active"
	RunCancelled RunState = "cancelled" // its cleanup may still be to do
	RunStuck     RunState = "stuck"
	RunDone      RunState = "done"
)

// GuestRun is the part of an operation that concerns one guest.
type GuestRun struct {
	State      RunState   `json:"state"`
	Assignment Assignment `json:"assignment"`
	VMID       int        `json:"vmid"`               // at the target
	Token      uint64     `json:"token"`              // see Token.Index
	Admitted   uint64     `json:"admitted,omitempty"` // index of the commit entry; 0 = not yet
	Epoch      Epoch      `json:"epoch,omitzero"`     // after own
	Steps      []Step     `json:"steps"`
	Parked     []Step     `json:"parked,omitempty"` // steps of a cancelled run, for ResumeOp
	Tried      []Tried    `json:"tried,omitempty"`
	Source     Source     `json:"source,omitzero"` // switchover, failback: the copy that serves
	Left       Source     `json:"left,omitzero"`   // failback: the copy at home that was left; none: it is not there
	Sealed     []SealCopy `json:"sealed,omitempty"`
	Back       Reason     `json:"back,omitzero"` // switchover: why it was taken back
	Stuck      Reason     `json:"stuck,omitzero"`
	Served     Stamp      `json:"served,omitzero"`
	Wasted     int64      `json:"wasted,omitempty"` // bytes that were restored for it in vain: its copy was removed
}

// Tried is an assignment that was given up: before ownership moved, or since its restore point
// turned out unusable.
type Tried struct {
	Target SiteID `json:"target"`
	Volid  string `json:"volid"`
	VMID   int    `json:"vmid"`
	Reason Reason `json:"reason"`
	// Protected: a person had protected that restore point.
	Protected bool `json:"protected,omitempty"`
}

// Operation is work as data: in the log before anything runs.
type Operation struct {
	ID        OpID                 `json:"id"`
	Kind      OpKind               `json:"kind"`
	Of        OpID                 `json:"of,omitempty"` // tidy: whose copies it removes
	Phase     OpPhase              `json:"phase"`
	Domain    DomainID             `json:"domain"`
	Plan      Plan                 `json:"plan"` // frozen as begun
	Guests    map[GuestID]GuestRun `json:"guests"`
	Forced    bool                 `json:"forced,omitempty"`
	At        time.Time            `json:"at,omitzero"` // switchover: not before
	Begun     Stamp                `json:"begun"`
	Committed Stamp                `json:"committed,omitzero"`
	Ended     Stamp                `json:"ended,omitzero"`
	Votes     []Vote               `json:"votes,omitempty"`
	Cancelled Reason               `json:"cancelled,omitzero"`
	Again     Stamp                `json:"again,omitzero"`      // a person opened it again after it had ended; nothing was admitted by itself since
	HostOff   Stamp                `json:"host_off,omitzero"`   // rescue: a person said that the dead host is off
	ReleaseAt time.Time            `json:"release_at,omitzero"` // cleanup not before
}

// Cause is why a domain is as it is (design section 6).
type Cause string

// Causes.
const (
	CauseUnknown     Cause = "unknown" // too few fresh reports
	CauseUp          Cause = "up"
	CauseAgentOnly   Cause = "agent-only"
	CauseHostDown    Cause = "host-down"
	CausePBSDown     Cause = "pbs-down"
	CauseLocked      Cause = "locked"
	CauseMeshDown    Cause = "mesh-down"
	CausePublicDown  Cause = "public-down"
	CauseLost        Cause = "lost"
	CauseUnreachable Cause = "unreachable" // a site that can never be lost
	CauseAsymmetric  Cause = "asymmetric"
	CauseWeAreSick   Cause = "we-are-sick"
	CauseMassEvent   Cause = "mass-event"
	CauseMaintenance Cause = "maintenance"
)

// gone says whether a cause means that its domain is not there. That one host
// of a site is down does not make the site so.
func (c Cause) gone(d DomainID) bool {
	kind, _ := splitDomain(d)
	return c == CauseLost || c == CauseUnreachable || c == CauseHostDown && kind == "host"
}

// Vote is one observer's evidence on a domain.
type Vote struct {
	Observer SiteID        `json:"observer"`
	Voter    bool          `json:"voter"`
	Dark     bool          `json:"dark"`    // every target it probes is silent
	Silence  time.Duration `json:"silence"` // the shortest silence of them, as reported
	Paths    []Path        `json:"paths"`   // kinds of path that are dark
	Age      time.Duration `json:"age"`     // of the report
	Unwell   []string      `json:"unwell,omitempty"`
	Sees     []string      `json:"sees,omitempty"` // targets it still reaches
}

// Loss is what a plan answers to.
type Loss struct {
	Site   SiteID    `json:"site"`
	Host   HostID    `json:"host,omitempty"`   // only this host's guests
	Guests []GuestID `json:"guests,omitempty"` // only these
	Local  bool      `json:"local,omitempty"`  // a rescue: onto Raoull's PVE of the same site
	Target SiteID    `json:"target,omitempty"` // forced by a person
	// Planned: a switchover of what lives; nothing is lost.
	Planned bool `json:"planned,omitempty"`
	// Keep makes it a failback: guests of the site, which live elsewhere, come home.
	Keep Keep `json:"keep,omitempty"`
	// HardStop are guests of a switchover that may be switched off if they do not shut down.
	HardStop []GuestID `json:"hard_stop,omitempty"`
	// Replace are guests of a failback whose copies at home are given up for those that come,
	// once they are sealed: there is no room for both.
	Replace []GuestID `json:"replace,omitempty"`
	ByHand  bool      `json:"by_hand,omitempty"` // a person asks: manual guests move too, max_loss is theirs to judge
}

// Assignment is one guest's place in a plan.
type Assignment struct {
	Guest     GuestID       `json:"guest"`
	Structure StructureID   `json:"structure"`
	Priority  int           `json:"priority"`
	Target    SiteID        `json:"target"`
	Host      HostID        `json:"host"`
	VLAN      int           `json:"vlan"`
	Point     RestorePoint  `json:"point"`
	Loss      time.Duration `json:"loss"`               // age of the restore point when planned
	Estimate  time.Duration `json:"estimate,omitempty"` // until it is restored, by the measured rate; 0 = not measured
	Memory    int64         `json:"memory,omitempty"`
	Automatic bool          `json:"automatic"`         // mode auto: commits without a person
	Warm      OpID          `json:"warm,omitempty"`    // the warm copy that is used: the operation that restored it
	Live      bool          `json:"live,omitempty"`    // it starts before its disks are there
	Keep      Keep          `json:"keep,omitempty"`    // failback: the copy that goes on
	Vault     SiteID        `json:"vault,omitempty"`   // failback: the second site of the branch that is sealed
	Replace   int           `json:"replace,omitempty"` // failback: the id of the copy at home that is given up for this one
	Why       []Reason      `json:"why,omitempty"`
}

// LeftOut is a guest that the plan does not move, and why.
type LeftOut struct {
	Guest    GuestID `json:"guest"`
	Priority int     `json:"priority"`
	Reason   Reason  `json:"reason"`
}

// Plan is who goes where. Assignments stand in the order of the work.
type Plan struct {
	Loss        Loss         `json:"loss"`
	Assignments []Assignment `json:"assignments"`
	LeftOut     []LeftOut    `json:"left_out,omitempty"`
	Hash        string       `json:"hash"`
}
