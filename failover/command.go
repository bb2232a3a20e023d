package failover

import (
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Command is the only way to change State. The set is sealed: every command
// is a type of this file. internal names (see Name) are the log's and never
// change.
type Command interface {
	apply(s *State, st Stamp) error
}

// RejectedError is the log's answer to a command that no longer fits the
// state. It is normal when two agents propose at once: read the state again.
type RejectedError struct {
	Reason Reason `json:"reason"`
}

func (e *RejectedError) Error() string {
	text := "rejected: " + e.Reason.Code
	for _, k := range sortedKeys(e.Reason.Args) {
		text += " " + k + "=" + e.Reason.Args[k]
	}
	return text
}

// Bootstrap begins the log of a network.
type Bootstrap struct {
	Network    string `json:"network"`
	Generation uint64 `json:"generation"`
}

// BeginTerm is a new leader's first entry: reports of older terms stop
// counting, so that it decides nothing on what another leader was told.
type BeginTerm struct {
	Leader SiteID `json:"leader"`
}

// SetMember records an agent as the Raft configuration has it.
type SetMember struct {
	Site     SiteID `json:"site"`
	ServerID string `json:"server_id"`
	Address  string `json:"address"`
	Voter    bool   `json:"voter"`
}

// RemoveMember forgets an agent that left the Raft configuration.
type RemoveMember struct {
	Site SiteID `json:"site"`
}

// ApplyNetwork replaces the declared network, if its version is still the
// one that the admin saw (0: none yet).
type ApplyNetwork struct {
	Spec      *network.Spec `json:"spec"`
	IfVersion uint64        `json:"if_version"`
	// Confirmed are sites that a person has named because the last copies of guests there are given up.
	Confirmed []SiteID `json:"confirmed,omitempty"`
}

// Report carries everything that one agent sees. Boot and Seq order the
// reports of one agent: a late older one is ignored.
type Report struct {
	Observer     SiteID        `json:"observer"`
	Boot         string        `json:"boot"`
	Seq          uint64        `json:"seq"`
	Version      string        `json:"version,omitempty"`
	Unwell       []string      `json:"unwell,omitempty"` // why this observer must not be counted
	Observations []Observation `json:"observations,omitempty"`
	// Exposed are ports of other sites that this observer found open and that should not be.
	Exposed []Exposure `json:"exposed,omitempty"`
	// Reads is the newest version of entries that this agent reads; 0 means 1.
	Reads int `json:"reads,omitempty"`
}

// RaiseVersion lets entries of a version be written, since every member reads them. From
// then on no agent can go back to an older release.
type RaiseVersion struct {
	Version int `json:"version"`
}

// ReportReadiness carries what one target could restore, and where.
type ReportReadiness struct {
	Ready Readiness `json:"ready"`
}

// Readiness is what the agent of a target site read from its own Proxmox.
type Readiness struct {
	Site        SiteID                     `json:"site"`
	Host        HostID                     `json:"host,omitempty"`
	Points      map[GuestID][]RestorePoint `json:"points,omitempty"` // newest first
	MemoryTotal int64                      `json:"memory_total,omitempty"`
	MemoryFree  int64                      `json:"memory_free,omitempty"`
	StorageFree int64                      `json:"storage_free,omitempty"`
	UsedIDs     []int                      `json:"used_ids,omitempty"` // within the restore range, ascending
	Started     []int                      `json:"started,omitempty"`  // warm copies that somebody has started, ascending
	Rate        int64                      `json:"rate,omitempty"`     // measured restore speed, bytes/s
	Problems    []Reason                   `json:"problems,omitempty"`
	Kept        map[SiteID]Kept            `json:"kept,omitempty"`  // by the home whose lineages they are
	Acts        []HostID                   `json:"acts,omitempty"`  // of this site, whose guests the agent may start and shut down, ascending; none: not told
	AsOf        uint64                     `json:"as_of,omitempty"` // index of the State that the reader had when it began
}

// RestorePoint is one PBS snapshot of a guest, fixed by its volid.
type RestorePoint struct {
	Storage   string    `json:"storage"` // PVE storage entry
	Volid     string    `json:"volid"`
	Namespace string    `json:"ns,omitempty"` // of the PBS datastore
	Time      time.Time `json:"time"`
	Size      int64     `json:"size"`                // bytes of the provisioned disks
	Memory    int64     `json:"memory,omitempty"`    // bytes, from the archived configuration
	Key       string    `json:"key,omitempty"`       // fingerprint of the encryption key
	Verified  bool      `json:"verified,omitempty"`  // by this site's PBS
	Unusable  string    `json:"unusable,omitempty"`  // why it must not be restored
	Remote    bool      `json:"remote,omitempty"`    // its entry reads another PBS than this site's own
	Protected bool      `json:"protected,omitempty"` // from pruning, by a person: it stays so when an operation releases it
}

// IsZero says whether no point is set.
func (p RestorePoint) IsZero() bool { return p.Volid == "" }

// Assess records a changed verdict on a domain.
type Assess struct {
	Domain  DomainID      `json:"domain"`
	Cause   Cause         `json:"cause"`
	Level   Level         `json:"level"`
	Silence time.Duration `json:"silence,omitempty"`
	Held    Reason        `json:"held,omitzero"`
	Votes   []Vote        `json:"votes,omitempty"`
	Back    bool          `json:"back,omitempty"` // seen continuously for return_after: it is no longer lost
}

// BeginOp starts an operation: revocable preparation of the plan's guests.
type BeginOp struct {
	Kind   OpKind   `json:"kind"`
	Domain DomainID `json:"domain"`
	Plan   Plan     `json:"plan"`
	Forced bool     `json:"forced,omitempty"` // by a person: commits at once
	// At has a switchover wait in the log; Op is the one that waited, when it starts.
	At time.Time `json:"at,omitzero"`
	Op OpID      `json:"op,omitempty"`
	// Window: a failback that the structure's own window allows, without a person.
	Window bool `json:"window,omitempty"`
}

// CommitOp admits guests of an operation: for them it is irrevocable by time.
type CommitOp struct {
	Op     OpID      `json:"op"`
	Guests []GuestID `json:"guests"`
	Votes  []Vote    `json:"votes,omitempty"` // the evidence of an automatic commit
}

// CancelOp gives up the structures of an operation of which nothing is owned.
type CancelOp struct {
	Op     OpID   `json:"op"`
	Reason Reason `json:"reason"`
	// Guests of a switchover, of whose structures alone all is taken back; none: of all.
	Guests []GuestID `json:"guests,omitempty"`
}

// ResumeOp takes a cancelled countdown up again while its copies are kept.
type ResumeOp struct {
	Op OpID `json:"op"`
}

// StepMoved is an executor's word on a step of its site.
type StepMoved struct {
	Token   Token      `json:"token"`
	Attempt int        `json:"attempt"`
	To      StepStatus `json:"to"` // running, done, failed
	UPID    string     `json:"upid,omitempty"`
	Bytes   int64      `json:"bytes,omitempty"`
	Total   int64      `json:"total,omitempty"`
	Failure Failure    `json:"failure,omitempty"`
	Note    string     `json:"note,omitempty"`
	// Of a switchover: how the guest was found, before it is shut down; the last
	// backup as home made it, and as the target pulled it.
	Found *Found       `json:"found,omitempty"`
	Point RestorePoint `json:"point,omitzero"`
}

// RetryStep lets a failed step run again, not before Wait has passed.
type RetryStep struct {
	Token Token         `json:"token"`
	Wait  time.Duration `json:"wait"`
}

// Retarget gives a guest another restore point or another target before it is owned.
type Retarget struct {
	Op         OpID       `json:"op"`
	Guest      GuestID    `json:"guest"`
	Assignment Assignment `json:"assignment"`
	Reason     Reason     `json:"reason"`
}

// Stick gives a guest up until a person says retry.
type Stick struct {
	Op     OpID    `json:"op"`
	Guest  GuestID `json:"guest"`
	Reason Reason  `json:"reason"`
}

// RetryOp is a person's word: the stuck guests of an operation try again.
type RetryOp struct {
	Op OpID `json:"op"`
	// HostOff is their word that the dead host of a rescue is off.
	HostOff bool `json:"host_off,omitempty"`
}

// Own moves the ownership of a guest: the point of no return.
type Own struct {
	Token Token `json:"token"`
}

// Serve makes a checked copy visible: DNS follows.
type Serve struct {
	Token Token `json:"token"`
}

// EndOp closes an operation of which every guest has come to an end.
type EndOp struct {
	Op OpID `json:"op"`
}

// Approve admits the guests of an operation that wait for a person.
type Approve struct {
	Op   OpID   `json:"op"`
	Hash string `json:"hash,omitempty"` // of the offer that the person saw (State.OfferOf)
}

// SetPause disarms automatic failover.
type SetPause struct {
	Site   SiteID        `json:"site,omitempty"` // "" = everywhere
	For    time.Duration `json:"for,omitempty"`  // 0 = until resumed
	Reason string        `json:"reason,omitempty"`
}

// EndPause arms it again. If names the entry that set the pause which is meant;
// 0 means whichever is in force.
type EndPause struct {
	Site SiteID `json:"site,omitempty"`
	If   uint64 `json:"if,omitempty"`
}

// BeginMaintenance says that people work on a site or host, so that its silence
// is no loss. It always has an end.
type BeginMaintenance struct {
	Domain DomainID      `json:"domain"`
	For    time.Duration `json:"for"`
	Reason string        `json:"reason,omitempty"`
	Boot   string        `json:"boot,omitempty"` // of the agent that announces its own shutdown; it ends with another boot
}

// EndMaintenance ends it. If is as in EndPause.
type EndMaintenance struct {
	Domain DomainID `json:"domain"`
	If     uint64   `json:"if,omitempty"`
}

// ExcludeObserver is an operator's word that an agent is not to be believed:
// for a while neither its sightings nor its votes count.
type ExcludeObserver struct {
	Site   SiteID        `json:"site"`
	For    time.Duration `json:"for"`
	Reason string        `json:"reason,omitempty"`
}

// IncludeObserver lets it count again. If is as in EndPause.
type IncludeObserver struct {
	Site SiteID `json:"site"`
	If   uint64 `json:"if,omitempty"`
}

// Ack acknowledges a domain's last operation: its block ends.
type Ack struct {
	Domain DomainID `json:"domain"`
}

// MarkDiverged records that the home of an away guest is back: two branches exist.
type MarkDiverged struct {
	Guest GuestID `json:"guest"`
}

// VerifyZone records what the authoritative servers were seen to serve.
type VerifyZone struct {
	Zone    string          `json:"zone"`
	Changed uint64          `json:"changed"`
	Servers map[string]bool `json:"servers"` // server → in sync; unreachable ones are left out
	// Notes say in words what is wrong with servers, unreachable ones included.
	Notes map[string]string `json:"notes,omitempty"`
}
