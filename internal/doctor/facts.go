package doctor

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Facts are what one agent read of its own machines in one round. They stay
// with that agent; the log never sees them.
type Facts struct {
	Began, Ended time.Time     // of the round
	Node         string        // of the PVE
	Token        string        // "user@realm!name"
	Access       string        // why this site's Proxmox cannot be used; "" = it can
	Unusable     []Machine     // that did not even tell their version
	Helper       Helper        // the root helper of the host that restores
	Failed       []Failure     // calls that gave no answer
	Release      string        // of PVE, "9.2.1"; "" = not read
	Disk         Disk          // where the agent keeps its data
	ClockOff     time.Duration // this machine's clock minus the log's; 0 = not known

	Permissions map[string]map[string]bool // path → privilege → does it propagate; only the paths asked for
	Store       StoreFacts
	Entries     map[string]Entry    // storage configuration by id; nil = not read
	Residents   map[Kind][]Resident // guests of the PVE; no key = that kind was not read
	HA          []string            // "vm:100", also of guests that do not exist; nil = not read
	Bridges     map[string]Bridge   // that the token may use; nil = not read
	Hardware    Hardware
	Others      []OtherPVE // further PVEs of the site, of which guests are listed only
	Snapshots   []Snapshot
	Kept        map[string][]Kept // what lies in the namespaces of sealed branches; no key = that one was not read
	Archives    []Archive
	Strangers   []Stranger
	Jobs        []SyncJob
	Prunes      []PruneJob
	BackupJobs  []BackupJob
	Router      *RouterNames // nil: the agent has no way to this site's router
}

// Machine is a PVE or PBS of the site that cannot be used.
type Machine struct {
	Name string // "pve raoull-quai", "pbs raoull-quai"
	Why  string
}

// Helper is what came of a question to the root helper, which clears the locks
// of crashed restores.
type Helper struct {
	ID  int    // of no guest, that it was asked about; 0 = it was not asked
	Why string // why it would not help; "" = it would
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
	Prune                          string // what a backup through it removes, "keep-last=3"; "" = nothing
	Disabled                       bool
	Foreign                        bool // a PBS entry of a datastore that the agent does not list
}

// Resident is one guest that exists on the PVE.
type Resident struct {
	Kind     Kind
	ID       int
	Name     string
	Template bool
	Examined bool   // Marker was read: only for ids in the restore range
	Marker   string // name of the network in our marker; "" = none
}

// StoreFacts are what the agent's token may do on this site's PBS.
type StoreFacts struct {
	Token       string // "user@realm!name"
	Release     string // "4.2.0"; "" = not read
	Datastore   string
	Permissions map[string]map[string]bool // as Facts.Permissions
	JobsRead    bool                       // the sync jobs
	PrunesRead  bool
	Owners      []Owner // of backup groups; those that cannot be seen are missing
}

// Owner counts the groups of backups in a namespace that belong to one user or token.
type Owner struct {
	Namespace, Name string
	Groups          int
	Example         string // "vm/1101"
}

// Bridge is a bridge or vnet of the PVE.
type Bridge struct {
	Active, VLANAware, VNet bool
	Ports, Addresses        []string
	VIDs                    string // "2-4094", "10 20 30-40"; "" = all
}

// Hardware is what guests can be given on this PVE.
type Hardware struct {
	CPU      string            // "Intel(R) Xeon(R) …"; "" = not read
	Flags    []string          // of the processor; nil = not read
	Machines []string          // "pc-q35-10.1+pve1"; nil = not read
	Models   map[string]string // processor type → vendor; nil = not read
}

// OtherPVE is a PVE of the site besides the one that restores.
type OtherPVE struct {
	Host      network.HostID
	Access    string // why it cannot be asked; "" = it can
	Blind     bool   // the token lacks VM.Audit on /vms: the list is short
	Residents map[Kind][]Resident
}

// Snapshot is the newest finished snapshot of a declared guest in one
// namespace, or of a line of backups there.
type Snapshot struct {
	Guest   failover.GuestID
	Line    string // "vm:90001 in away/moulin", where no guest is known
	Source  failover.SiteID
	Storage string // the entry that it was judged by
	Time    time.Time
	Reason  Reason
	Key     string // fingerprint that it needs
}

// Kept is a snapshot in a namespace of sealed branches.
type Kept struct {
	Group     string // "vm/90001"
	Time      time.Time
	Protected bool
	Reason    Reason
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
	Line     string // as in Snapshot
	Storage  string
	Volid    string
	Shut     string // why it could not be opened; "" = it was
	Warnings []Obstacle
	CPU      string // of a VM: "x86-64-v3", "host", "custom-x"; "" = the default
	Machine  string // of a VM: "pc-q35-9.2+pve1", "q35"; "" = the default
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
	Firewall   ObstacleKind = "firewall"
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
	ID, Remote, RemoteStore, RemoteNS, NS, LastState string
	LastEnd                                          time.Time
	RemoveVanished, VerifiedOnly, Pull               bool
	Scheduled                                        bool     // it runs by itself, by the clock or when its disk is mounted
	TransferLast                                     int      // of each group only so many of the newest; 0 = all
	MaxDepth                                         int      // namespaces below NS that it takes, in levels; AllDepths
	GroupFilter                                      []string // as PBS spells it; none: all groups
}

// subject names what a finding about a guest's or a line's backups is about.
func subject(guest failover.GuestID, line string) string {
	if guest == "" {
		return "backups " + line
	}
	return "guest " + string(guest)
}

// Disk says where the agent keeps its data.
type Disk struct {
	Dir       string
	Device    string // "/dev/mapper/…" or the dataset
	Encrypted Encrypted
	Worthless bool   // what lies there is of a made-up network: its keys open nothing
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
