// Package privileges is the table of what an agent's tokens must be allowed to
// do on Proxmox VE and Proxmox Backup Server: job → privileges → path. It is
// pure. deploy/proxmox grants exactly this, and a doctor compares a token's own
// rights with it.
//
// Sources are sections of reference/proxmox.md, in which the privileges were
// checked against Proxmox's own code, and the vendor's API schema.
package privileges

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Job is what a privilege is needed for.
type Job string

// The jobs.
const (
	Health    Job = "health"    // node and cluster status, tasks of others
	Guests    Job = "guests"    // list guests, read status and configuration
	Backups   Job = "backups"   // list restore points, read the configuration in them
	Disks     Job = "disks"     // see the target storage, allocate disks on it
	Restore   Job = "restore"   // make a guest from a backup
	Configure Job = "configure" // give a restored guest our name, tags, NICs
	Network   Job = "network"   // connect a guest to its bridge and VLAN
	Power     Job = "power"     // start and stop guests
	Agent     Job = "agent"     // ping the QEMU guest agent, read addresses
	Delete    Job = "delete"    // remove what a failed restore or a drill left

	Protect Job = "protect" // keep the chosen restore points from being pruned
	Verify  Job = "verify"  // verify the chosen restore points here
	Sync    Job = "sync"    // see the pull jobs and run one ahead of time
	Prune   Job = "prune"   // see the prune jobs
	Leave   Job = "leave"   // shut a guest down at home, back it up, start it again
)

// Grant is one privilege on one path.
type Grant struct {
	Job       Job
	Privilege string // "VM.Allocate"
	Or        string // a privilege that does as well; "" = none
	Path      string // ACL path, "/vms"
	Source    string // where the need is known from
}

// Release is a major release of Proxmox VE: 8, 9, …
type Release int

// ParseRelease reads the version that GET /version or pveversion tells, "8.4.1"
// or "9.2". Releases before 8 are refused: nothing here was checked on them.
func ParseRelease(version string) (Release, error) {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil || n < 8 {
		return 0, fmt.Errorf("proxmox ve version %q: want 8.x or later", version)
	}
	return Release(n), nil
}

// Paths is what the agent works with on its host.
type Paths struct {
	Node     string
	Storages []string // targets of restores
	Backups  []string // PBS storage entries
	Networks []NIC
}

// NIC is where restored guests are connected.
type NIC struct {
	Zone   string // SDN zone; "" is localnetwork, the zone of plain bridges
	Bridge string // bridge or vnet
	Tag    int    // VLAN; 0: the right to all tags and to none
}

// Path is the ACL path (section 8, row NICs).
func (n NIC) Path() string {
	zone := n.Zone
	if zone == "" {
		zone = "localnetwork"
	}
	p := path.Join("/sdn/zones", zone, n.Bridge)
	if n.Tag > 0 {
		p = path.Join(p, strconv.Itoa(n.Tag))
	}
	return p
}

const (
	section8 = "proxmox.md section 8"
	section9 = "proxmox.md section 9"
)

// Needed lists what the agent's PVE token needs. With privilege separation its
// user needs the same: effective rights are what both have (section 1).
//
// Rights on guests are asked for on /vms and not on single ids or a pool: the
// rows of a PBS storage need VM.Backup on the original ids, deleting a guest
// deletes the ACLs on its id, and the leftover of a failed restore is not in
// the pool yet (sections 3, 5).
//
// Not in the table, since the agent does without: VM.Config.Disk, .HWType, .CPU,
// .Memory and .Cloudinit (it overrides name, tags, description, onboot and NICs
// only; what the archive has of the others needs no right), Pool.*,
// Sys.Modify on / for privileged containers (make them unprivileged).
func Needed(release Release, p Paths) []Grant {
	var out []Grant
	add := func(job Job, path, source string, privileges ...string) {
		for _, name := range privileges {
			out = append(out, Grant{Job: job, Privilege: name, Path: path, Source: source})
		}
	}
	add(Health, "/", section8+", health: cluster/status; api schema: backup jobs", "Sys.Audit")
	add(Health, "/nodes/"+p.Node, section8+", health: node status, tasks of others", "Sys.Audit")
	add(Guests, "/vms", section8+", list guests", "VM.Audit")
	for _, s := range p.Backups {
		add(Backups, "/storage/"+s, section8+", see PBS entry and rows; fact 9", "Datastore.Audit", "Datastore.AllocateSpace")
	}
	if len(p.Backups) > 0 {
		add(Backups, "/vms", section8+", rows and extractconfig ask for it on the original id; fact 9", "VM.Backup")
	}
	for _, s := range p.Storages {
		add(Disks, "/storage/"+s, section8+", allocate disks", "Datastore.Audit", "Datastore.AllocateSpace")
	}
	add(Restore, "/vms", section8+", restore", "VM.Allocate")
	add(Configure, "/vms", section8+", overrides", "VM.Config.Options", "VM.Config.Network")
	for _, n := range p.Networks {
		add(Network, n.Path(), section8+", NICs; fact 7", "SDN.Use")
	}
	add(Power, "/vms", section8+", power", "VM.PowerMgmt")
	if release < 9 {
		add(Agent, "/vms", section8+", agent ping: PVE 8", "VM.Monitor")
	} else {
		add(Agent, "/vms", section8+", agent ping: PVE 9; section 12", "VM.GuestAgent.Audit")
	}
	add(Delete, "/vms", section8+", delete a failed restore", "VM.Allocate")
	return out
}

// NeededToLeave lists what a token needs on a host whose guests are moved by plan (hands:
// of wwwd.yaml): node is that host's name, storage its entry for the last backup.
func NeededToLeave(node, storage string) []Grant {
	const source = "proxmox.md section 6, config, power, backup; section 8"
	out := []Grant{
		{Job: Health, Privilege: "Sys.Audit", Path: "/nodes/" + node, Source: section8 + ", tasks of others"},
		{Job: Leave, Privilege: "Datastore.Audit", Path: "/storage/" + storage, Source: source},
		{Job: Leave, Privilege: "Datastore.AllocateSpace", Path: "/storage/" + storage, Source: source},
	}
	for _, p := range []string{"VM.Audit", "VM.PowerMgmt", "VM.Config.Options", "VM.Backup"} {
		out = append(out, Grant{Job: Leave, Privilege: p, Path: "/vms", Source: source})
	}
	return out
}

// NeededToComeHome lists what a token needs on a host whose guests come home to it: what
// Needed lists, and to shut a guest down, keep it and give it back. p.Backups are the
// host's entries for later lineages.
func NeededToComeHome(release Release, p Paths) []Grant {
	out := Needed(release, p)
	for _, storage := range p.Backups {
		for _, g := range NeededToLeave(p.Node, storage) {
			have := func(o Grant) bool { return o.Privilege == g.Privilege && o.Path == g.Path }
			if !slices.ContainsFunc(out, have) {
				out = append(out, g)
			}
		}
	}
	return out
}

// StorePaths is what the agent works with on its backup server.
type StorePaths struct {
	Datastore  string
	Namespaces []string // of the backups it may restore; none: the root namespace
	Remotes    []Remote // where pull jobs fetch from
}

// Remote is the source of a pull job.
type Remote struct{ Name, Datastore string }

// StorePath is the ACL path of a namespace of a datastore; "" is the root namespace.
func StorePath(datastore, ns string) string { return path.Join("/datastore", datastore, ns) }

// NeededPBS lists what the agent's PBS token needs, and its user with it. The
// privileges are the same in PBS 3.4 and 4.x.
//
// Datastore.Backup lets a token protect, and pull into, groups that it owns
// itself; the pull jobs' owner must be the token. The other way, Datastore.Modify,
// would let it delete any backup.
func NeededPBS(p StorePaths) []Grant {
	store := StorePath(p.Datastore, "")
	out := []Grant{{Job: Health, Privilege: "Datastore.Audit", Path: store, Source: section9 + ", privileges; api schema: datastore status, namespaces"}}
	out = append(out, Grant{Job: Prune, Privilege: "Datastore.Audit", Path: store, Source: "api schema: list prune jobs; those of namespaces inherit"})
	spaces := []string{store}
	if len(p.Namespaces) > 0 {
		spaces = spaces[:0]
		for _, ns := range p.Namespaces {
			spaces = append(spaces, StorePath(p.Datastore, ns))
		}
	}
	for _, ns := range spaces {
		out = append(out,
			Grant{Job: Backups, Privilege: "Datastore.Audit", Path: ns, Source: section9 + ", privileges; api schema: snapshots"},
			Grant{Job: Protect, Privilege: "Datastore.Backup", Or: "Datastore.Modify", Path: ns, Source: section9 + ", prune race; api schema: protected"},
			Grant{Job: Verify, Privilege: "Datastore.Verify", Path: ns, Source: section9 + ", privileges; api schema: verify"},
		)
		if len(p.Remotes) > 0 {
			out = append(out, Grant{Job: Sync, Privilege: "Datastore.Backup", Path: ns, Source: "api schema: sync run"})
		}
	}
	for _, r := range p.Remotes {
		out = append(out,
			Grant{Job: Sync, Privilege: "Remote.Audit", Path: "/remote/" + r.Name, Source: "api schema: list sync jobs"},
			Grant{Job: Sync, Privilege: "Remote.Read", Path: path.Join("/remote", r.Name, r.Datastore), Source: "api schema: sync run"},
		)
	}
	return out
}

// PBSRoles are the privileges of the roles of PBS that the set-up uses; PBS has
// no roles of one's own. [proxmox-backup pbs-api-types acl.rs]
func PBSRoles() map[string][]string {
	return map[string][]string{
		"DatastoreAudit":     {"Datastore.Audit"},
		"DatastoreReader":    {"Datastore.Audit", "Datastore.Verify", "Datastore.Read"},
		"DatastoreBackup":    {"Datastore.Backup"},
		"RemoteSyncOperator": {"Remote.Audit", "Remote.Read"},
	}
}

// ACL writes grants as the rights of one token by path, each privilege once: what
// the set-up gives it, and nothing else.
func ACL(grants []Grant) map[string][]string {
	out := map[string][]string{}
	for _, g := range grants {
		if !slices.Contains(out[g.Path], g.Privilege) {
			out[g.Path] = append(out[g.Path], g.Privilege)
		}
	}
	return out
}

// Missing returns the grants of need that have does not give, in their order.
// have is what GET /access/permissions tells of the token's own rights, path →
// privilege → whether it propagates (proxmox.Permissions). A path that have
// lists counts as it is: an ACL on a deeper path replaces what it would inherit
// (section 8). For one that it does not list, the nearest one above it that it
// lists counts, as far as it propagates. Ask for each needed path to be exact.
func Missing(have map[string]map[string]bool, need []Grant) []Grant {
	var out []Grant
	for _, g := range need {
		if !holds(have, g.Path, g.Privilege) && (g.Or == "" || !holds(have, g.Path, g.Or)) {
			out = append(out, g)
		}
	}
	return out
}

func holds(have map[string]map[string]bool, on, privilege string) bool {
	if own, ok := have[on]; ok {
		_, granted := own[privilege]
		return granted
	}
	for at := on; at != "/" && at != "."; {
		at = path.Dir(at)
		if above, ok := have[at]; ok {
			return above[privilege]
		}
	}
	return false
}
