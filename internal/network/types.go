package network

import (
	"net/netip"
	"time"
)

// SiteID names a site: lower-case letters, digits and dashes, usable as a DNS label.
type SiteID string

// HostID names a machine with a PVE and/or a PBS; unique in the network.
type HostID string

// StructureID names a partner structure; unique in the network.
type StructureID string

// GuestID names one protected VM or container; unique in the network.
type GuestID string

// Kind of a site.
type Kind string

// Kinds of site (design section 2).
const (
	Brique   Kind = "brique"   // a Raoull PVE with PBS: target, store, agent, voter
	Parpaing Kind = "parpaing" // a bare Raoull PBS: store, agent, voter; never a target
	Witness  Kind = "witness"  // an agent that votes and probes; holds nothing
)

// Owner of a host.
type Owner string

// Owners of a host.
const (
	OwnerStructure Owner = "structure" // the partner's machine: nothing is installed or deleted there
	OwnerRaoull    Owner = "raoull"
)

// GuestType is the Proxmox kind of a guest.
type GuestType string

// Guest types.
const (
	VM GuestType = "vm"
	CT GuestType = "ct"
)

// Mode says who may start a failover of a structure's guests.
type Mode string

// Modes (design section 2). Ask prepares like auto and waits for a person;
// manual and never prepare nothing.
const (
	ModeAuto   Mode = "auto"
	ModeAsk    Mode = "ask"
	ModeManual Mode = "manual"
	ModeNever  Mode = "never"
)

// Consent is what a structure allows for its data elsewhere.
type Consent string

// Consents. EncryptedBackupOnly lets replicas leave the site but no guest run elsewhere.
const (
	ConsentAllowed             Consent = "allowed"
	ConsentEncryptedBackupOnly Consent = "encrypted-backup-only"
	ConsentForbidden           Consent = "forbidden"
)

// Spec is the whole declared network.
type Spec struct {
	Network    string                    `json:"network"`
	Zones      map[string]Zone           `json:"zones,omitempty"`
	Policy     Policy                    `json:"policy"`
	Sites      map[SiteID]Site           `json:"sites"`
	Structures map[StructureID]Structure `json:"structures,omitempty"`
	Guests     map[GuestID]Guest         `json:"guests,omitempty"`
	Common     map[string]CommonSet      `json:"common,omitempty"`
}

// Zone is a DNS zone whose declared names follow the guests.
type Zone struct {
	Backend     string           `json:"backend"` // embedded | rfc2136
	TTL         Duration         `json:"ttl"`     // of the names that move
	Secondaries []netip.AddrPort `json:"secondaries,omitempty"`
	Primaries   []netip.AddrPort `json:"primaries,omitempty"` // rfc2136: where updates go
	Key         string           `json:"key,omitempty"`       // rfc2136: name of the TSIG key; the secret stands in wwwd.yaml
	// TransferKey is the TSIG key that secondaries of an embedded zone must use; its secret stands in wwwd.yaml.
	// Without it the addresses in Secondaries are enough.
	TransferKey string           `json:"transfer_key,omitempty"`
	Resolvers   []netip.AddrPort `json:"resolvers,omitempty"` // public resolvers that verification asks, too; informational
	Contact     string           `json:"contact,omitempty"`   // SOA RNAME as a mail address
	// SerialAfter is the highest serial that the servers of an embedded zone had before the agents took it over: its own
	// serials come after. It is added to all of them, and so never lowered.
	SerialAfter uint32   `json:"serial_after,omitempty"`
	SOA         SOA      `json:"soa,omitzero"`
	Records     []Record `json:"records,omitempty"` // declared and served as they are, never moved
}

// SOA are the timers of an embedded zone's SOA record (RFC 1035 section 3.3.13, RFC 2308); zero means the default that
// dnsctl has for each.
type SOA struct {
	Refresh Duration `json:"refresh,omitempty"` // how often secondaries ask; default 10m
	Retry   Duration `json:"retry,omitempty"`   // and again after a failure; default 2m
	Expire  Duration `json:"expire,omitempty"`  // how long they answer without a primary; default 14d
	Minimum Duration `json:"minimum,omitempty"` // how long it may be remembered that a name does not exist; default 1m
}

// Record is a DNS record that the network declares and that never moves.
type Record struct {
	Name string   `json:"name"` // relative to the zone, "@" for the apex
	Type string   `json:"type"`
	TTL  Duration `json:"ttl,omitempty"`
	Data string   `json:"data"`
}

// Policy holds the levels of detection (design section 6) and the brakes.
// A zero field in a structure's or guest's policy inherits.
type Policy struct {
	SuspectMisses int      `json:"suspect_misses,omitempty"` // consecutive misses of one-second probes
	PrepareA      Duration `json:"prepare_a,omitempty"`
	Alert         Duration `json:"alert,omitempty"`
	PrepareB      Duration `json:"prepare_b,omitempty"`
	Commit        Duration `json:"commit,omitempty"`
	CommitDual    Duration `json:"commit_dual,omitempty"`   // sites with two independent upstreams
	CommitReason  string   `json:"commit_reason,omitempty"` // demanded below 60 s
	Block         Duration `json:"block,omitempty"`         // one automatic attempt per domain and period
	MaxDomains    int      `json:"max_domains,omitempty"`   // failed over automatically at once
	UnlockGrace   Duration `json:"unlock_grace,omitempty"`  // a locked host waits that long for its passphrase
	ReturnAfter   Duration `json:"return_after,omitempty"`  // continuous sightings before a lost site is back
	KeepPrepared  Duration `json:"keep_prepared,omitempty"` // prepared copies outlive a cancelled countdown by
	// WarmMaxAge is by how much a warm copy may be older than what a cold restore would give.
	WarmMaxAge Duration `json:"warm_max_age,omitempty"`
	// AwayBackup is how often a guest that lives away is backed up; 0: as often as at home.
	AwayBackup Duration `json:"away_backup,omitempty"`
}

// Site is one place of the network.
type Site struct {
	Kind      Kind             `json:"kind"`
	Upstreams []string         `json:"upstreams,omitempty"` // distinct ways to the internet; two or more = CommitDual
	Anchors   []netip.AddrPort `json:"anchors,omitempty"`   // the agent's own uplink check; default port 53
	Place     Place            `json:"place,omitzero"`
	Mesh      netip.AddrPort   `json:"mesh"` // agent on the WireGuard mesh; default port 9977
	Public    Public           `json:"public,omitzero"`
	DNS       netip.AddrPort   `json:"dns,omitzero"` // this site's authoritative server (embedded back end)
	LAN       LAN              `json:"lan,omitzero"`
	Router    Router           `json:"router,omitzero"`
	Hosts     map[HostID]Host  `json:"hosts,omitempty"`
}

// Place is what a person needs who has to go there (R1).
type Place struct {
	Address  string   `json:"address,omitempty"`
	Key      string   `json:"key,omitempty"`
	Breaker  string   `json:"breaker,omitempty"`
	Contract string   `json:"contract,omitempty"`
	Contacts []string `json:"contacts,omitempty"`
}

// Public is a site's entry from the internet.
type Public struct {
	IPv4  netip.Addr `json:"ipv4,omitzero"`
	IPv6  netip.Addr `json:"ipv6,omitzero"`
	Name  string     `json:"name,omitempty"`  // that a dynamic DNS service keeps at an address that changes
	Entry string     `json:"entry,omitempty"` // box | router
	HTTPS uint16     `json:"https,omitempty"` // port of the public entry
}

// LAN is how a site's own members reach what is served there, with or without
// the internet: the embedded server answers them with Entry instead of the
// public address.
type LAN struct {
	Prefixes []netip.Prefix `json:"prefixes,omitempty"` // whose clients, or forwarding router, get the local view
	Entry    netip.Addr     `json:"entry,omitzero"`     // the reverse proxy's address in the LAN
}

// Router of a site. Type routeros is probed by ICMP; type tcp is probed on
// Port, whose service must speak first (an SSH banner): connecting alone
// proves nothing behind a port forward.
type Router struct {
	Type    string     `json:"type,omitempty"` // routeros | tcp | none
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port,omitempty"`
}

// Host is one machine: a PVE, a PBS or both; one failure domain.
type Host struct {
	Owner    Owner                      `json:"owner"`
	PVE      *PVE                       `json:"pve,omitempty"`
	PBS      *PBS                       `json:"pbs,omitempty"`
	Dropbear netip.AddrPort             `json:"dropbear,omitzero"` // SSH of the initramfs that waits for the passphrase
	Fence    string                     `json:"fence,omitempty"`   // a structure's PVE: how it is put off, by its name in the site's wwwd.yaml
	Restore  *Restore                   `json:"restore,omitempty"` // this host may receive guests; a structure's: its own, that come back
	Sources  map[SiteID][]string        `json:"sources,omitempty"` // PVE storage entries per lost site (one key and one namespace each)
	Lineages map[SiteID]LineageStorages `json:"lineages,omitempty"`
}

// PVE is a Proxmox VE API endpoint.
type PVE struct {
	URL  string `json:"url"` // https://ADDRESS:8006
	Node string `json:"node"`
}

// PBS is a Proxmox Backup Server API endpoint.
type PBS struct {
	URL       string  `json:"url"` // https://ADDRESS:8007
	Datastore string  `json:"datastore"`
	Guest     GuestID `json:"guest,omitempty"`  // the PBS is this guest of the host
	Domain    string  `json:"domain,omitempty"` // another failure domain than the host's (detached store)
}

// Restore says how a host receives guests.
type Restore struct {
	Storage string  `json:"storage"`
	Bridge  string  `json:"bridge"`
	IDs     IDRange `json:"ids"`
	Reserve Bytes   `json:"reserve,omitempty"` // memory kept for residents
	// ReserveStorage is what residents may still fill of a pool that promises more than it has (thin).
	ReserveStorage Bytes `json:"reserve_storage,omitempty"`
	Parallel       int   `json:"parallel,omitempty"` // restores at once
	// StartEvery keeps guests from booting all at once: so long after one was started the next is. 0: at once.
	StartEvery Duration `json:"start_every,omitempty"`
	Pool       string   `json:"pool,omitempty"`
	Warm       Warm     `json:"warm,omitzero"`
}

// Warm bounds what a host does to keep warm copies: stopped guests, restored
// ahead of time. The zero value is no bound.
type Warm struct {
	Window Window `json:"window,omitzero"`  // restores of warm copies begin within it
	Budget Bytes  `json:"budget,omitempty"` // provisioned bytes restored for them in 24 h
}

// Window is a part of each day in UTC, written "22:00-06:00": minutes since
// midnight, from the first to before the second. The zero Window is all day.
type Window struct{ From, To int }

// LineageStorages names the storage entries of a lost site's later lineages.
type LineageStorages struct {
	Away   string `json:"away"`
	Sealed string `json:"sealed"`
}

// Structure is a partner association.
type Structure struct {
	Home        SiteID `json:"home"`
	VLAN        int    `json:"vlan"`
	Mode        Mode   `json:"mode"`
	OnIsolation string `json:"on_isolation"` // keep-local | stop
	// IsolationAfter is how long its site is cut off before on_isolation: stop acts; default 15m.
	IsolationAfter Duration `json:"isolation_after,omitempty"`
	OnReturn       string   `json:"on_return"` // leave | stop
	OffSite        OffSite  `json:"off_site"`
	Policy         Policy   `json:"policy,omitzero"`   // overrides; zero fields inherit
	Split          string   `json:"split"`             // allowed | never: guests over several sites
	Prepare        string   `json:"prepare,omitempty"` // allowed | never: restored, stopped, during the countdown; "" is allowed
	Standby        string   `json:"standby,omitempty"` // of its guests that say nothing themselves: cold | warm
	Hooks          *Hooks   `json:"hooks,omitempty"`   // of its guests that say nothing themselves
	// AcceptLiveRisk lets names follow a live restore before it is complete.
	AcceptLiveRisk bool    `json:"accept_live_risk,omitempty"`
	Return         *Return `json:"return,omitempty"` // its guests come home by themselves; none: only by a person's word
}

// Return lets guests that were failed over, and whose copies at home have not run since, come
// home by themselves.
type Return struct {
	Window Window   `json:"window"`          // they are begun within it
	After  Duration `json:"after,omitempty"` // default 30m: so long their home has been well before
}

// OffSite is a structure's dated consent.
type OffSite struct {
	Policy  Consent `json:"policy"`
	Consent string  `json:"consent,omitempty"` // YYYY-MM-DD
}

// Guest is one protected VM or container.
type Guest struct {
	ID        int         `json:"id"`
	Type      GuestType   `json:"type"`
	Structure StructureID `json:"structure"`
	Host      HostID      `json:"host"`
	Priority  int         `json:"priority"` // 1 first … 4 = not rescued
	After     []GuestID   `json:"after,omitempty"`
	Standby   string      `json:"standby"` // cold | warm
	MaxLoss   Duration    `json:"max_loss,omitempty"`
	Exposure  string      `json:"exposure"` // web | none | mail …: what is neither web nor none moves to no other site
	Prefer    []SiteID    `json:"prefer,omitempty"`
	ApartFrom []GuestID   `json:"apart_from,omitempty"` // not beside these when it is away, if another target can take it
	Names     []string    `json:"names,omitempty"`      // public names, FQDN without the final dot
	// Certificate says what is asked of the certificate that others see for the names: nothing ("any"), or that it is
	// valid for them ("" or "valid").
	Certificate string `json:"certificate,omitempty"`
	Check       *Check `json:"check,omitempty"`
	Hooks       *Hooks `json:"hooks,omitempty"`
	// LiveRestore has a failover start the VM at once, on disks that are fetched from the target's PBS behind it. Should
	// that break, what was written to it since is lost.
	LiveRestore bool     `json:"live_restore,omitempty"`
	Commit      Duration `json:"commit,omitempty"` // overrides the structure's
	Memory      Bytes    `json:"memory,omitempty"` // planning figure until a backup has told
	Disk        Bytes    `json:"disk,omitempty"`
}

// What Guest.Certificate may be.
const (
	ValidCertificate = "valid"
	AnyCertificate   = "any"
)

// Check is how a guest proves from inside its site that it serves.
// "{address}" in URL stands for the guest's first address as Proxmox reports it.
type Check struct {
	URL    string   `json:"url,omitempty"`
	TCP    string   `json:"tcp,omitempty"`  // {address}:PORT
	Exec   string   `json:"exec,omitempty"` // a program, by its name in the wwwd.yaml of the site that asks (programs:)
	Expect string   `json:"expect,omitempty"`
	Status int      `json:"status,omitempty"` // default 200
	Within Duration `json:"within,omitempty"` // default 3m: boot and service start
}

// Hooks are programs that an operation calls when it moves a guest.
type Hooks struct {
	Before *Hook `json:"before,omitempty"` // before anything is done to the guest that cannot be taken back
	After  *Hook `json:"after,omitempty"`  // once its new copy serves
}

// Hook is a call of a program. Its command line stands in the wwwd.yaml (programs:) of each
// site that may receive the guest; the receiving site's agent runs it.
type Hook struct {
	Run    string   `json:"run"`              // the program's name there
	Within Duration `json:"within,omitempty"` // default 1m; then it is ended
	Veto   bool     `json:"veto,omitempty"`   // before: unless the program ends well, the guest is not moved
	Repeat bool     `json:"repeat,omitempty"` // to run it twice does no harm
}

// CommonSet is a near-identical service that every site runs and that never fails over.
type CommonSet struct {
	VLAN    int                   `json:"vlan,omitempty"`
	Names   []string              `json:"names,omitempty"`
	Members map[SiteID]netip.Addr `json:"members"`
}

// IDRange is an inclusive range of Proxmox guest ids, written "90000-90999".
type IDRange struct{ First, Last int }

// Contains says whether id lies in the range.
func (r IDRange) Contains(id int) bool { return r.First <= id && id <= r.Last }

// Duration is a time.Duration that is written with its unit ("45s", "5m", "1h", "14d").
type Duration time.Duration

// D converts to the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Bytes is a size that is written with its unit ("8GiB").
type Bytes int64
