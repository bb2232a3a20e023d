package failover

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Identifiers of the declared network.
type (
	SiteID      = network.SiteID
	HostID      = network.HostID
	StructureID = network.StructureID
	GuestID     = network.GuestID
)

// OpID names an operation: "op-" and the index of the entry that began it.
type OpID string

// DomainID names a failure domain: "site:NAME" or "host:NAME".
type DomainID string

// SiteDomain returns the failure domain of a site.
func SiteDomain(id SiteID) DomainID { return DomainID("site:" + string(id)) }

// HostDomain returns the failure domain of a host.
func HostDomain(id HostID) DomainID { return DomainID("host:" + string(id)) }

// Stamp says where in the log a command stands. At comes from the leader's
// term clock (design section 5): within one term differences are monotonic.
type Stamp struct {
	Index uint64    `json:"index"`
	Term  uint64    `json:"term"`
	At    time.Time `json:"at"`
	ID    string    `json:"id,omitempty"`    // of the proposal: the same id is applied once
	Actor string    `json:"actor,omitempty"` // agent, certificate or unix user, from where
}

// Epoch orders the owners of a guest; it only grows. The zero Epoch is home
// ownership that never moved.
type Epoch struct {
	Generation uint64 `json:"generation"`
	Index      uint64 `json:"index"`
}

// Less compares generation first, so that a rebuilt log out-ranks a lost one.
func (e Epoch) Less(o Epoch) bool {
	if e.Generation != o.Generation {
		return e.Generation < o.Generation
	}
	return e.Index < o.Index
}

func (e Epoch) String() string { return fmt.Sprintf("%d-%d", e.Generation, e.Index) }

// State is everything that a restart or a new leader must know. Its maps hold
// values whose own maps and slices are never changed in place, so that Clone
// is shallow (see clone.go).
type State struct {
	Index     uint64    `json:"index"` // of the last applied command
	Term      uint64    `json:"term"`  // of the leader that counts: set by BeginTerm
	TermStart time.Time `json:"term_start"`
	Leader    SiteID    `json:"leader,omitempty"`
	Clock     time.Time `json:"clock"` // never runs back; for display and expiry only
	// Leapt is by how much the clock went on, all in all, where a term followed another: that much of
	// it may never have passed. LastTerm is that of the last entry.
	Leapt      time.Duration `json:"leapt,omitempty"`
	LastTerm   uint64        `json:"last_term,omitempty"`
	Generation uint64        `json:"generation"`
	MinVersion int           `json:"min_version"` // newest command version that may be written

	Network        *network.Spec `json:"network,omitempty"`
	NetworkVersion uint64        `json:"network_version"` // index of the entry that applied it

	Members   map[SiteID]Member       `json:"members"`
	Reports   map[SiteID]StoredReport `json:"reports"`
	Readiness map[SiteID]StoredReady  `json:"readiness"`
	Sighted   map[SiteID]Sightings    `json:"sighted,omitempty"`
	Copies    map[SiteID]StoredCopies `json:"copies,omitempty"` // of guests that have moved, as each site's agent sees them
	Domains   map[DomainID]Domain     `json:"domains"`
	Guests    map[GuestID]Placement   `json:"guests"`
	Ops       map[OpID]Operation      `json:"ops"`
	Pauses    map[string]Pause        `json:"pauses,omitempty"`  // key: site, or "" for all
	Resting   map[DomainID]Rest       `json:"resting,omitempty"` // domains in maintenance
	Excluded  map[SiteID]Exclusion    `json:"excluded,omitempty"`
	Blocks    map[DomainID]Block      `json:"blocks,omitempty"`
	Cursors   map[SiteID]int          `json:"cursors,omitempty"` // last guest id handed out per target
	Zones     map[string]ZoneState    `json:"zones,omitempty"`
	Holds     map[string]NameHold     `json:"holds,omitempty"` // key: public name
	Warm      map[GuestID]Standby     `json:"warm,omitempty"`
	WarmSpent map[SiteID]WarmSpent    `json:"warm_spent,omitempty"`
	Wasted    map[SiteID]int64        `json:"wasted,omitempty"`   // bytes restored at a site for operations that were given up
	Lineages  map[LineageID]Lineage   `json:"lineages,omitempty"` // of guests that have moved
	Tokens    map[string]JoinToken    `json:"tokens,omitempty"`
	Operators map[string]Operator     `json:"operators,omitempty"` // key: serial of the certificate, hex
	Revoked   map[string]Revocation   `json:"revoked,omitempty"`   // key: AgentKey, OperatorKey
	// Unconfirmed are the operations that were open when the log was rebuilt:
	// nothing of them moves until a person has looked.
	Unconfirmed map[OpID]bool     `json:"unconfirmed,omitempty"`
	Told        map[string]Notice `json:"told,omitempty"`   // what people know and is not over, by what it is about
	Events      []Event           `json:"events,omitempty"` // oldest first, at most MaxEvents
	Seen        []SeenID          `json:"seen,omitempty"`   // recent proposal ids, oldest first

	eventTail, seenTail *tail // of the two lists
}

// Bounds of the lists in State.
const (
	MaxEvents   = 10_000
	MaxSeen     = 1_000
	MaxEndedOps = 100
)

// Member is one agent of the group.
type Member struct {
	ServerID string `json:"server_id"` // bound to the data directory
	Address  string `json:"address"`   // of the mesh listener
	Voter    bool   `json:"voter"`
	Since    Stamp  `json:"since"`
}

// Path is the kind of way that an observation took.
type Path string

// Path kinds.
const (
	PathMesh   Path = "mesh"
	PathPublic Path = "public"
	PathLAN    Path = "lan"   // by the agent of the same site
	PathGuest  Path = "guest" // the service of a guest, from inside its site
	// PathTunnel is the WireGuard tunnel itself, by its counters. It explains
	// what is seen over the mesh and is no vote: neither sighting nor silence.
	PathTunnel Path = "tunnel"
)

// Seen is what a window of probes says of a target.
type Seen string

// Up: it answers. Refused: the address lives and the service is down.
// Down: silence. Unknown: too few probes.
const (
	SeenUp      Seen = "up"
	SeenRefused Seen = "refused"
	SeenDown    Seen = "down"
	SeenUnknown Seen = "unknown"
)

// Alive says whether the sighting proves that something at the address lives.
func (s Seen) Alive() bool { return s == SeenUp || s == SeenRefused }

// Observation is what one agent sees of one target. Targets are "agent",
// "router", "entry", "pve:HOST", "pbs:HOST", "dropbear:HOST", "name:FQDN",
// "guest:GUEST", "dns", "tunnel:agent", "tunnel:router".
type Observation struct {
	Site   SiteID        `json:"site"`
	Target string        `json:"target"`
	Path   Path          `json:"path"`
	Seen   Seen          `json:"seen"`
	For    time.Duration `json:"for"` // how long so, by the observer's monotonic clock
	Note   string        `json:"note,omitempty"`
	// Certificate is what was shown for a public name; zero where none was judged. No verdict uses it.
	Certificate Certificate `json:"certificate,omitzero"`
}

// StoredReport is an observer's newest report and where it stands in the log.
type StoredReport struct {
	Report Report `json:"report"`
	Stamp  Stamp  `json:"stamp"`
	Back   Stamp  `json:"back,omitzero"` // of the first one after a silence
}

// StoredReady is a target's newest readiness and where it stands in the log.
type StoredReady struct {
	Ready Readiness `json:"ready"`
	Stamp Stamp     `json:"stamp"`
}

// Level of a suspicion, in the order of design section 6.
type Level int

// Levels. LevelCommit is reached per guest, by its own delay.
const (
	LevelNone Level = iota
	LevelSuspect
	LevelPrepareA
	LevelAlert
	LevelPrepareB
	LevelCommit
)

var levelNames = [...]string{"none", "suspect", "prepare-a", "alert", "prepare-b", "commit"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("level(%d)", int(l))
	}
	return levelNames[l]
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level's name.
func (l *Level) UnmarshalText(b []byte) error {
	for i, n := range levelNames {
		if n == string(b) {
			*l = Level(i)
			return nil
		}
	}
	return fmt.Errorf("unknown level %q", b)
}

// Domain is the recorded verdict on a failure domain: written on change, so
// that followers, events and the next leader tell the same story.
type Domain struct {
	Cause   Cause         `json:"cause"`
	Level   Level         `json:"level"`
	Since   Stamp         `json:"since"`             // of the cause
	Silence time.Duration `json:"silence,omitempty"` // when last recorded
	Lost    Stamp         `json:"lost,omitzero"`     // when the majority first agreed, zero when it is back
	Held    Reason        `json:"held,omitzero"`     // why nothing is done although it is lost
	Useless []time.Time   `json:"useless,omitempty"` // preparations that were cancelled, last day
}

// Phase of a guest's placement (design section 5).
type Phase string

// Phases of a guest.
const (
	PhaseHome        Phase = "home"
	PhasePreparing   Phase = "preparing"
	PhaseStaged      Phase = "staged"
	PhaseStarting    Phase = "starting"
	PhaseAway        Phase = "away"
	PhaseDiverged    Phase = "diverged"
	PhaseUnprotected Phase = "unprotected"
	PhaseStuck       Phase = "stuck"
	PhaseExcluded    Phase = "excluded"
)

// Placement is where a guest belongs now and who may run and expose it.
type Placement struct {
	Phase   Phase        `json:"phase"`
	Owner   SiteID       `json:"owner"`
	Epoch   Epoch        `json:"epoch"`
	Serving SiteID       `json:"serving"` // where DNS points; "" = nowhere, on purpose
	Host    HostID       `json:"host"`
	VMID    int          `json:"vmid"`
	Op      OpID         `json:"op,omitempty"`   // the operation it is in
	Since   Stamp        `json:"since"`          // of the phase
	Point   RestorePoint `json:"point,omitzero"` // what an away copy was restored from
	// Parked: the home copy was shut down for this move and is no branch of its own.
	Parked bool `json:"parked,omitempty"`
	// OnBoot: the copy at home started with its host when our agents last took that from it. What comes home does again.
	OnBoot bool          `json:"onboot,omitempty"`
	Owned  time.Time     `json:"owned,omitzero"`   // when the epoch was born
	Leapt  time.Duration `json:"leapt,omitempty"`  // State.Leapt, then
	Booted time.Time     `json:"booted,omitzero"`  // start of its host for which it was seen to run, away from home, or was started
	Former []Place       `json:"former,omitempty"` // it was owned there, home apart, oldest first; replaced, never edited in place
	Branch *Branch       `json:"branch,omitempty"` // the copy that was left last; replaced, never edited in place
}

// Pause disarms automatic failover, of one site or of all.
type Pause struct {
	Until  time.Time `json:"until,omitzero"` // zero: until resumed
	Reason string    `json:"reason,omitempty"`
	By     Stamp     `json:"by"`
}

// Block keeps automation from a domain after an automatic attempt.
type Block struct {
	Until time.Time `json:"until"`
	Op    OpID      `json:"op"`
}

// ZoneState is what the log knows of a DNS zone.
type ZoneState struct {
	Base     uint32            `json:"base"`               // serial = base + Changed
	Changed  uint64            `json:"changed"`            // index of the entry that last changed its content
	Verified uint64            `json:"verified,omitempty"` // newest Changed that every reachable server was seen to serve
	Servers  map[string]bool   `json:"servers,omitempty"`  // in sync when last asked
	Notes    map[string]string `json:"notes,omitempty"`    // what is wrong with those that are not
	At       Stamp             `json:"at,omitzero"`        // of the verification
	Since    time.Time         `json:"since,omitzero"`     // of that change, by the log's clock
	Former   *Former           `json:"former,omitempty"`   // still to be taken away; replaced, never edited in place
}

// Event is one line of the network's history.
type Event struct {
	Stamp  Stamp   `json:"stamp"`
	Reason Reason  `json:"reason"`
	Site   SiteID  `json:"site,omitempty"`
	Guest  GuestID `json:"guest,omitempty"`
	Op     OpID    `json:"op,omitempty"`
}

// Reason is a stable code with its arguments; internal/message turns it into
// a sentence.
type Reason struct {
	Code string            `json:"code,omitempty"` // WWW-nnnn
	Args map[string]string `json:"args,omitempty"`
}

// IsZero says whether there is no reason.
func (r Reason) IsZero() bool { return r.Code == "" }

// SeenID remembers the outcome of a proposal, so that a repeated one is
// answered and not applied again.
type SeenID struct {
	ID       string         `json:"id"`
	Index    uint64         `json:"index"`
	Rejected *RejectedError `json:"rejected,omitempty"`
}
