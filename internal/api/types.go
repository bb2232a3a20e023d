package api

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Kinds of answer.
const (
	KindError     = "Error"
	KindHealth    = "Health"
	KindStatus    = "Status"
	KindSites     = "SiteList"
	KindSite      = "Site"
	KindGuests    = "GuestList"
	KindGuest     = "Guest"
	KindPlan      = "Plan"
	KindForecast  = "Forecast"
	KindOps       = "OperationList"
	KindOp        = "Operation"
	KindIncident  = "Incident"
	KindEvents    = "EventList"
	KindDNS       = "DNS"
	KindNetwork   = "Network"
	KindApplied   = "NetworkApplied"
	KindRetired   = "SiteRetired"
	KindAccepted  = "Accepted"
	KindVersion   = "Version"
	KindPeers     = "PeerList"
	KindCommitted = "Committed"
	KindConfirmed = "Confirmed"
	KindJoined    = "Joined"
	KindDoctor    = "Doctor"
)

// Health is the short answer for probes: the agent lives, and as who.
type Health struct {
	Site      failover.SiteID `json:"site"`
	Version   string          `json:"version"`
	Boot      string          `json:"boot"` // changes with each start of the agent
	HasLeader bool            `json:"has_leader"`
	Leader    failover.SiteID `json:"leader,omitempty"`
	Clock     time.Time       `json:"clock"` // of the log, as the agent reckons it; its own: TimeHeader
	Unwell    []string        `json:"unwell,omitempty"`
	Applied   uint64          `json:"applied"`
	Term      uint64          `json:"term"`
}

// Meta says whose answer it is and how fresh.
type Meta struct {
	At    time.Time       `json:"at"`
	Index uint64          `json:"index"` // newest log entry that it knows
	From  failover.SiteID `json:"from"`
	// Alone: the agent has heard no leader within the lease, what it answers is its own and of Heard at best; zero Heard: it has
	// heard none since it started.
	Alone bool      `json:"alone,omitempty"`
	Heard time.Time `json:"heard,omitzero"`
}

// Origin is where an answer comes from.
func (m Meta) Origin() Meta { return m }

// SiteList is every site with its verdict.
type SiteList struct {
	Meta
	Items []failover.SiteView `json:"items"`
}

// Site is one site with what a person needs who has to go there.
type Site struct {
	Meta
	Site    failover.SiteView      `json:"site"`
	Place   network.Place          `json:"place"`
	Mesh    string                 `json:"mesh,omitempty"`
	Public  string                 `json:"public,omitempty"`
	Seen    []Sighting             `json:"seen,omitempty"` // by observer, then target
	Ready   *failover.Readiness    `json:"readiness,omitempty"`
	ReadyAt time.Time              `json:"readiness_at,omitzero"`
	Guests  []failover.GuestView   `json:"guests,omitempty"` // that belong or run here
	Problem []failover.Reason      `json:"problems,omitempty"`
	Pauses  []failover.PauseView   `json:"pauses,omitempty"`
	Blocked *failover.Block        `json:"blocked,omitempty"`
	Domains map[string]DomainState `json:"domains,omitempty"`
	Verdict []failover.VerdictView `json:"verdicts,omitempty"` // of this moment: the site, then its hosts
	Resting []failover.RestView    `json:"maintenance,omitempty"`
}

// DomainState is what the log last recorded of a failure domain.
type DomainState struct {
	Cause failover.Cause  `json:"cause"`
	Level failover.Level  `json:"level"`
	Since time.Time       `json:"since,omitzero"`
	Held  failover.Reason `json:"held,omitzero"`
}

// Sighting is what one observer last reported of one target.
type Sighting struct {
	Observer failover.SiteID `json:"observer"`
	Target   string          `json:"target"`
	Path     failover.Path   `json:"path"`
	Seen     failover.Seen   `json:"seen"`
	For      time.Duration   `json:"for"`
	At       time.Time       `json:"at"`
	Age      time.Duration   `json:"age"` // of the report
	Counts   bool            `json:"counts"`
	Unwell   []string        `json:"unwell,omitempty"` // why the observer does not count
	Note     string          `json:"note,omitempty"`
}

// GuestList is every protected guest.
type GuestList struct {
	Meta
	Items []failover.GuestView `json:"items"`
}

// Guest is one guest with its restore points.
type Guest struct {
	Meta
	Guest  failover.GuestView                          `json:"guest"`
	Points map[failover.SiteID][]failover.RestorePoint `json:"points,omitempty"` // newest first
	Op     failover.OpID                               `json:"op,omitempty"`
	// Lineages are the lines of its backups, of a guest that has moved; oldest first.
	Lineages []failover.Lineage `json:"lineages,omitempty"`
	// Left are the copies that it has left, the last one first, and what may be done with them.
	Left []failover.CopyStands `json:"left,omitempty"`
}

// Plan is what would happen, and whether a person has to confirm it by name.
type Plan struct {
	Meta
	failover.Plan
	Cause   failover.Cause `json:"cause"`             // of what would be failed over
	Answers []string       `json:"answers,omitempty"` // who still sees what of it
	Confirm string         `json:"confirm,omitempty"` // the name to type, because it is not known to be lost
	Open    failover.OpID  `json:"open,omitempty"`    // an operation that is already under way for it
	// Outlook is how full the targets would be, and what a second loss would mean then.
	Outlook failover.Outlook `json:"outlook,omitzero"`
	// Branches describes, of a failback, the two copies of each guest.
	Branches []failover.BranchView `json:"branches,omitempty"`
}

// OpList is every operation that State still holds, newest first.
type OpList struct {
	Meta
	Items []failover.OpView `json:"items"`
}

// Op is one operation.
type Op struct {
	Meta
	Op     failover.OpView  `json:"operation"`
	Events []failover.Event `json:"events,omitempty"` // oldest first
}

// Incident is the report on one operation.
type Incident struct {
	Meta
	Incident failover.Incident `json:"incident"`
}

// EventList is a part of the network's history, oldest first.
type EventList struct {
	Meta
	Items []failover.Event `json:"items"`
	More  bool             `json:"more,omitempty"` // older ones were left out by the limit
}

// DNS is what the authoritative servers should say, and whether they do.
type DNS struct {
	Meta
	// Leaderless: the answering agent hears no leader. What it calls decided is what it knew Age ago.
	Leaderless bool          `json:"leaderless,omitempty"`
	Age        time.Duration `json:"age,omitempty"`
	// Zones are as the log has them: what the leader last saw of each server.
	Zones []failover.ZoneView `json:"zones"`
	Names []DNSName           `json:"names"`
	Held  []NameHold          `json:"held,omitempty"`
	// Asked are the zones as their servers serve them now, seen from the answering agent; only with ?ask=1.
	Asked []ZoneCheck `json:"asked,omitempty"`
}

// DNSName is one public name that follows a guest.
type DNSName struct {
	Name  string           `json:"name"`
	Guest failover.GuestID `json:"guest"`
	Home  failover.SiteID  `json:"home"`
	Site  failover.SiteID  `json:"site,omitempty"` // that it is sent to; empty: nowhere, on purpose
	Held  bool             `json:"held,omitempty"` // a person keeps it there
	TTL   time.Duration    `json:"ttl,omitempty"`
	IPv4  string           `json:"ipv4,omitempty"`
	IPv6  string           `json:"ipv6,omitempty"`
}

// Network is the declared network in force.
type Network struct {
	Meta
	Version uint64        `json:"version"` // 0: none declared yet
	Spec    *network.Spec `json:"spec,omitempty"`
}

// ApplyRequest declares the network anew.
type ApplyRequest struct {
	Spec      *network.Spec `json:"spec"`
	IfVersion uint64        `json:"if_version"` // the version that the caller compared with
	DryRun    bool          `json:"dry_run,omitempty"`
	// Confirm are the sites that were named because the last copies of guests there are given up.
	Confirm []failover.SiteID `json:"confirm,omitempty"`
}

// Applied is the answer to an ApplyRequest.
type Applied struct {
	Version  uint64            `json:"version"`
	DryRun   bool              `json:"dry_run,omitempty"`
	Changes  []network.Change  `json:"changes"`
	Problems []network.Problem `json:"problems,omitempty"` // warnings
}

// FailoverRequest starts a failover by hand. Exactly one of Site, Host, Guest and
// Switchover is set.
type FailoverRequest struct {
	Site   failover.SiteID    `json:"site,omitempty"`
	Host   failover.HostID    `json:"host,omitempty"`
	Guest  failover.GuestID   `json:"guest,omitempty"`
	To     failover.SiteID    `json:"to,omitempty"`
	Only   []failover.GuestID `json:"only,omitempty"`
	Rescue bool               `json:"rescue,omitempty"` // onto Raoull's PVE of the same site; Host chooses among several
	// Switchover names a site, structure or guest that is moved by plan, At when (zero: now);
	// Stop are guests that may be switched off when they do not shut down.
	Switchover string             `json:"switchover,omitempty"`
	At         time.Time          `json:"at,omitzero"`
	Stop       []failover.GuestID `json:"stop,omitempty"`
	// Failback names a site, structure or guest that comes home, Keep which copy goes on; Undo
	// instead takes the failback of that guest back.
	Failback string        `json:"failback,omitempty"`
	Keep     failover.Keep `json:"keep,omitempty"`
	Undo     bool          `json:"undo,omitempty"`
	// Replace are copies at home, HOST/ID, that are given up for those that come, once they are
	// sealed: there is no room for both.
	Replace []string `json:"replace,omitempty"`
	Plan    string   `json:"plan,omitempty"`    // refused when the plan would be another one now
	Confirm string   `json:"confirm,omitempty"` // see Plan.Confirm
	Reason  string   `json:"reason,omitempty"`
}

// ActionRequest is the body of POST /v1/ops/{op}/{action}; all of it is optional.
type ActionRequest struct {
	Hash    string `json:"hash,omitempty"`     // approve: of the offer that the person saw (operation.offer.hash)
	HostOff bool   `json:"host_off,omitempty"` // retry: their word that the dead host of a rescue is off
	Reason  string `json:"reason,omitempty"`
}

// PauseRequest disarms automatic failover.
type PauseRequest struct {
	Site    failover.SiteID `json:"site,omitempty"`
	Seconds float64         `json:"for,omitempty"` // 0: until resumed
	Reason  string          `json:"reason,omitempty"`
}

// LimitRequest begins something that ends by itself: a maintenance of a site or
// host, or the exclusion of an observer.
type LimitRequest struct {
	Name    string  `json:"name"` // a site or a host; "host:NAME" when a site has the same name
	Seconds float64 `json:"for"`
	Reason  string  `json:"reason,omitempty"`
}

// Forecast is the answer to "what if that were lost now".
type Forecast struct {
	Meta
	failover.Forecast
}

// Accepted is the answer to a request that is now in the log.
type Accepted struct {
	Op     failover.OpID   `json:"op,omitempty"`
	Index  uint64          `json:"index"`
	Term   uint64          `json:"term"`
	Leader failover.SiteID `json:"leader,omitempty"` // that was asked to step down
}

// VersionInfo is the build of the agent.
type VersionInfo struct {
	Site     failover.SiteID `json:"site"`
	Version  string          `json:"version"`
	Revision string          `json:"revision,omitempty"`
	Go       string          `json:"go"`
	API      string          `json:"api"`
}

// PeerList is the Raft configuration with what is known of each member.
type PeerList struct {
	Meta
	Term    uint64 `json:"term"`
	Commit  uint64 `json:"commit"`
	Applied uint64 `json:"applied"`
	Needed  int    `json:"needed"` // voters for a majority
	Items   []Peer `json:"items"`
}

// Peer is one member.
type Peer struct {
	Site     failover.SiteID `json:"site"`
	ServerID string          `json:"server_id"`
	Address  string          `json:"address"`
	Role     string          `json:"role"` // leader, follower, silent
	Voter    bool            `json:"voter"`
	Reported time.Duration   `json:"reported,omitempty"` // age of its newest report; 0: none in State
	Version  string          `json:"version,omitempty"`
	Unwell   []string        `json:"unwell,omitempty"`
}

// JoinRequest asks the leader to admit an agent as the Raft member that its
// certificate names.
type JoinRequest struct {
	Site     failover.SiteID `json:"site"`
	ServerID string          `json:"server_id"`
	Address  string          `json:"address"`
	Nonvoter bool            `json:"nonvoter,omitempty"` // follow without a vote
}

// ConfirmRequest asks the leader whether an irreversible effect may go ahead.
type ConfirmRequest struct {
	Token failover.Token `json:"token"`
}

// Done is the empty answer of requests that only succeed or fail.
type Done struct{}
