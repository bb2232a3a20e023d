package doctor

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Facts are what one agent read of its own machines in one round. They stay
// with that agent; the log never sees them.
type Facts struct {
	Began, Ended time.Time     // of the round
	Node         string        // of the PVE
	Token        string        // "user@realm!name"
	Access       string        // why this site's Proxmox cannot be used; "" = it can
	Failed       []Failure     // calls that gave no answer
	Release      string        // of PVE, "9.2.1"; "" = not read
	Disk         Disk          // where the agent keeps its data
	ClockOff     time.Duration // this machine's clock minus the log's; 0 = not known

	Permissions map[string]map[string]bool // path → privilege → does it propagate; only the paths asked for
	Entries     map[string]Entry           // storage configuration by id; nil = not read
	Residents   map[Kind][]Resident        // guests of the PVE; no key = that kind was not read
	Snapshots   []Snapshot
	Archives    []Archive
	Strangers   []Stranger
	Jobs        []SyncJob
}

// Failure is a call that gave no answer.
type Failure struct {
	Category Category
	Why      string
}

// Kind is the kind of a guest as PBS spells it: "vm" or "ct".
type Kind string

// Entry is one storage entry of the PVE.
type Entry struct {
	ID, Type, Datastore, Namespace string
	Key                            string // fingerprint; "1" = a key without one, "" = none
	Content, Nodes                 []string
	Disabled                       bool
	Foreign                        bool // a PBS entry of a datastore that the agent does not list
}

// Resident is one guest that exists on the PVE.
type Resident struct {
	Kind     Kind
	ID       int
	Name     string
	Template bool
	Examined bool   // HA and Marker were read: only for ids in the restore range
	HA       bool   // managed by the cluster's HA stack
	Marker   string // name of the network in our marker; "" = none
}

// Snapshot is the newest finished snapshot of a declared guest in one namespace.
type Snapshot struct {
	Guest   failover.GuestID
	Source  failover.SiteID
	Storage string // the entry that it was judged by
	Time    time.Time
	Reason  Reason
	Key     string // fingerprint that it needs
}

// Reason says why a snapshot cannot be restored; "" = it can.
type Reason string

// Reasons, as the Proxmox client spells them.
const (
	ReasonMissingData  Reason = "missing data"
	ReasonVerifyFailed Reason = "verify failed"
	ReasonNotEncrypted Reason = "not encrypted"
	ReasonWrongKey     Reason = "wrong key"
	ReasonNoKey        Reason = "no key"
)

// Archive is what the newest usable snapshot of a guest told when it was opened.
type Archive struct {
	Guest    failover.GuestID
	Storage  string
	Volid    string
	Shut     string // why it could not be opened; "" = it was
	Warnings []Obstacle
}

// Obstacle is one warning about an archive.
type Obstacle struct {
	What ObstacleKind
	Key  string // configuration key
	Text string
}

// ObstacleKind says what an obstacle is.
type ObstacleKind string

// Kinds of obstacle, as the Proxmox client spells them.
const (
	NotSaved   ObstacleKind = "not saved"
	BindMount  ObstacleKind = "bind mount"
	Privileged ObstacleKind = "privileged"
	RootOnly   ObstacleKind = "root only"
	HostBound  ObstacleKind = "host bound"
	Template   ObstacleKind = "template"
	UnreadLine ObstacleKind = "unread line"
)

// Stranger is a group of backups in a namespace of a source site that belongs
// to no declared guest of it.
type Stranger struct {
	Source    failover.SiteID
	Namespace string
	Kind      Kind
	ID        int
	Newest    time.Time
}

// SyncJob is a sync job of this site's datastore.
type SyncJob struct {
	ID, Remote, LastState string
	LastEnd               time.Time
	RemoveVanished        bool
}

// Disk says where the agent keeps its data.
type Disk struct {
	Dir       string
	Device    string // "/dev/mapper/…" or the dataset
	Encrypted Encrypted
	Why       string // that it cannot be told
}

// Encrypted is what could be learned of a device.
type Encrypted string

// What could be learned of a device.
const (
	EncryptedYes     Encrypted = "yes"
	EncryptedNo      Encrypted = "no"
	EncryptedUnknown Encrypted = "unknown"
)
