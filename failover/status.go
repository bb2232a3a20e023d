package failover

import "time"

// Status is the answer to "is it real, what is happening, what do I do", made
// by Explain from State and what the answering agent knows of itself.
type Status struct {
	Network  string      `json:"network"`
	Headline Headline    `json:"headline"`
	At       time.Time   `json:"at"`
	Local    LocalView   `json:"local"`
	Quorum   Quorum      `json:"quorum"`
	Leader   SiteID      `json:"leader,omitempty"`
	Term     uint64      `json:"term"`
	Index    uint64      `json:"index"`
	Armed    bool        `json:"armed"`
	Pauses   []PauseView `json:"pauses,omitempty"`
	Resting  []RestView  `json:"maintenance,omitempty"`
	Excluded []PauseView `json:"excluded,omitempty"` // observers that are not believed
	Sites    []SiteView  `json:"sites"`
	Ops      []OpView    `json:"ops"` // running ones first, then those ended in the last day
	Counts   Counts      `json:"counts"`
	Zones    []ZoneView  `json:"zones,omitempty"`
	Held     []HeldView  `json:"held,omitempty"` // what automation does not do, and why
	Todo     []Reason    `json:"todo"`           // what a person has to do; empty: nothing
	Notices  []Reason    `json:"notices,omitempty"`
	// Isolation is what can be said without the others, when the headline is isolated.
	Isolation *Isolation `json:"isolation,omitempty"`
}

// Headline sums the network up, worst first.
type Headline string

// Headlines, worst first (ux.md 3.3).
const (
	HeadLoss     Headline = "loss"     // a domain is lost and nothing runs yet
	HeadFailover Headline = "failover" // an operation is running
	HeadFailback Headline = "failback" // guests come home, and nothing else is under way
	HeadIsolated Headline = "isolated"
	HeadNoQuorum Headline = "no-quorum"
	HeadDiverged Headline = "diverged"
	HeadAway     Headline = "away"
	HeadDegraded Headline = "degraded"
	HeadPaused   Headline = "paused"
	HeadHealthy  Headline = "healthy"
)

// LocalView is what the answering agent knows of itself; it comes from
// outside State.
type LocalView struct {
	Site        SiteID        `json:"site"`
	Version     string        `json:"version,omitempty"`
	IsLeader    bool          `json:"is_leader"`
	HasLeader   bool          `json:"has_leader"`   // heard within the lease
	LastContact time.Duration `json:"last_contact"` // since a leader was heard; 0 for the leader
	Unwell      []string      `json:"unwell,omitempty"`
	Reachable   []SiteID      `json:"reachable,omitempty"` // voters whose agents answer this one
	House       *House        `json:"house,omitempty"`     // of an agent that is cut off
	Channels    []ChannelView `json:"channels,omitempty"`  // by which it tells people
	Names       []Reason      `json:"names,omitempty"`     // what is wrong with what the site's router answers its members
	Returning   int           `json:"returning,omitempty"` // copies at its site that are not to start, or not looked at yet
}

// Quorum counts the voters.
type Quorum struct {
	Voters  int `json:"voters"`
	Present int `json:"present"` // with a report in the current term that is fresh
	Needed  int `json:"needed"`
}

// PauseView is a pause in force.
type PauseView struct {
	Site   SiteID    `json:"site,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// RestView is a maintenance in force.
type RestView struct {
	Domain DomainID  `json:"domain"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// Basis is what a verdict on a site rests on.
type Basis struct {
	Needed    int      `json:"needed"`              // voters for a majority of all
	Dark      []SiteID `json:"dark,omitempty"`      // voters that count and see nothing
	Sees      []SiteID `json:"sees,omitempty"`      // observers that count and see something
	Uncounted []SiteID `json:"uncounted,omitempty"` // unwell, excluded, or silent for too long
	Paths     []Path   `json:"paths,omitempty"`     // kinds of path that are dark for all in Dark
}

// VerdictView is what the observers say at this moment; the log records it
// only when it changes.
type VerdictView struct {
	Domain  DomainID      `json:"domain"`
	Cause   Cause         `json:"cause"`
	Level   Level         `json:"level"`
	Silence time.Duration `json:"silence,omitempty"`
	Hold    Reason        `json:"hold,omitzero"`
	Basis   Basis         `json:"basis"`
}

// SiteView is one row of the table of sites.
type SiteView struct {
	Site       SiteID        `json:"site"`
	Kind       string        `json:"kind"`
	State      string        `json:"state"` // up degraded suspect lost locked isolated maintenance unknown
	Cause      Cause         `json:"cause"`
	Level      Level         `json:"level"`
	Since      time.Time     `json:"since,omitzero"`
	Silence    time.Duration `json:"silence,omitempty"`   // by the k-th longest report
	CommitAt   time.Duration `json:"commit_in,omitempty"` // until the first automatic commit; 0: none pending
	SeenBy     int           `json:"seen_by"`
	Observers  int           `json:"observers"`
	PublicOK   string        `json:"public"` // ok dead -
	Voter      bool          `json:"voter"`
	Ready      int           `json:"ready"`                 // guests at home here that could be failed over now
	Guests     int           `json:"guests"`                // guests at home here that should be
	Hosting    int           `json:"hosting"`               // guests that run here away from home
	OffsiteRPO time.Duration `json:"offsite_rpo,omitempty"` // age of the worst newest off-site point
	RestUntil  time.Time     `json:"maintenance_until,omitzero"`
	Hosts      []HostView    `json:"hosts,omitempty"`
	Evidence   []Vote        `json:"evidence,omitempty"`
}

// HostView is one host of a site.
type HostView struct {
	Host      HostID        `json:"host"`
	Owner     string        `json:"owner"`
	Cause     Cause         `json:"cause"`
	Since     time.Time     `json:"since,omitzero"`
	UnlockIn  time.Duration `json:"unlock_in,omitempty"` // of a locked host: left of unlock_grace
	RestUntil time.Time     `json:"maintenance_until,omitzero"`
}

// OpView is an operation with its progress.
type OpView struct {
	ID        OpID          `json:"id"`
	Kind      OpKind        `json:"kind"`
	Phase     OpPhase       `json:"phase"`
	Domain    DomainID      `json:"domain"`
	Of        OpID          `json:"of,omitempty"` // the operation whose copies it deals with, if that is another
	Begun     time.Time     `json:"begun"`
	At        time.Time     `json:"at,omitzero"` // switchover: not before
	Committed time.Time     `json:"committed,omitzero"`
	Ended     time.Time     `json:"ended,omitzero"`
	By        string        `json:"by,omitempty"`
	PlanHash  string        `json:"plan_hash"`
	Offer     Offer         `json:"offer,omitzero"` // what an approval now would say yes to
	Bytes     int64         `json:"bytes"`
	Total     int64         `json:"total"`
	Remaining time.Duration `json:"remaining,omitempty"` // estimate; 0: not known
	Waiting   []GuestID     `json:"waiting,omitempty"`   // for a person's approval
	Guests    []OpGuestView `json:"guests"`
	LeftOut   []LeftOut     `json:"left_out,omitempty"`
	Cancelled Reason        `json:"cancelled,omitzero"`
	Retry     bool          `json:"retry,omitempty"` // some of it is stuck, and wwwctl op retry lets it go on
}

// OpGuestView is one guest of an operation.
type OpGuestView struct {
	Guest    GuestID       `json:"guest"`
	Priority int           `json:"priority"`
	Target   SiteID        `json:"target"`
	VMID     int           `json:"vmid"`
	State    RunState      `json:"state"`
	Step     StepID        `json:"step"`
	Status   StepStatus    `json:"status"`
	Attempt  int           `json:"attempt"`
	Bytes    int64         `json:"bytes,omitempty"`
	Total    int64         `json:"total,omitempty"`
	Loss     time.Duration `json:"loss"`
	Served   time.Time     `json:"served,omitzero"`
	Took     time.Duration `json:"took,omitempty"` // from begin to served
	Note     string        `json:"note,omitempty"`
	Stuck    Reason        `json:"stuck,omitzero"`
	Home     SiteID        `json:"home,omitempty"` // it is stuck elsewhere, and its copy at this site, its home, can serve again: failback --keep home
	Reach    Reach         `json:"reach,omitzero"` // what others see of its names once it serves
	Back     Reason        `json:"back,omitzero"`  // switchover: why it was taken back
	Waits    Reason        `json:"waits,omitzero"`
}

// Counts of guests by what matters.
type Counts struct {
	Protected   int `json:"protected"`
	Ready       int `json:"ready"`
	Away        int `json:"away"`
	Diverged    int `json:"diverged"`
	Stuck       int `json:"stuck"`
	Unprotected int `json:"unprotected"`
	Excluded    int `json:"excluded"`
}

// ZoneView is a zone's state of publication.
type ZoneView struct {
	Zone     string            `json:"zone"`
	Serial   uint32            `json:"serial"`
	InSync   bool              `json:"in_sync"`
	Servers  map[string]bool   `json:"servers,omitempty"`
	Notes    map[string]string `json:"notes,omitempty"`
	Verified time.Time         `json:"verified,omitzero"`
	Since    time.Time         `json:"since,omitzero"` // of the last change of its content
}

// HeldView is a decision that automation holds back.
type HeldView struct {
	Domain DomainID `json:"domain"`
	Reason Reason   `json:"reason"`
}

// GuestView is one guest as `wwwctl guests` shows it.
type GuestView struct {
	Guest     GuestID       `json:"guest"`
	ID        int           `json:"id"`
	Type      string        `json:"type"`
	Structure StructureID   `json:"structure"`
	Priority  int           `json:"priority"`
	Home      SiteID        `json:"home"`
	At        SiteID        `json:"at"` // owner
	Serving   SiteID        `json:"serving,omitempty"`
	Phase     Phase         `json:"phase"`
	Epoch     string        `json:"epoch"`
	Since     time.Time     `json:"since,omitzero"`
	Ready     bool          `json:"ready"`
	NotReady  Reason        `json:"not_ready,omitzero"`
	Copies    []CopyView    `json:"copies"`        // newest usable point per site
	RPO       time.Duration `json:"rpo,omitempty"` // age of the newest usable off-site point
	Names     []string      `json:"names,omitempty"`
	Left      *Branch       `json:"left,omitempty"`       // the copy that it has left last
	Reach     Reach         `json:"reach,omitzero"`       // what others see of its names, while it is away
	Warm      []WarmView    `json:"warm,omitempty"`       // warm copies
	WarmWhy   Reason        `json:"warm_behind,omitzero"` // why there is none that is as new as it could be
}

// WarmView is one warm copy of a guest.
type WarmView struct {
	Site  SiteID    `json:"site"`
	VMID  int       `json:"vmid"`
	State WarmState `json:"state"`
	Time  time.Time `json:"time"` // of the restore point
	Bytes int64     `json:"bytes,omitempty"`
	Total int64     `json:"total,omitempty"`
}

// CopyView is the newest restore point of a guest at one site.
type CopyView struct {
	Site     SiteID    `json:"site"`
	Time     time.Time `json:"time"`
	Verified bool      `json:"verified"`
	Unusable string    `json:"unusable,omitempty"`
}
