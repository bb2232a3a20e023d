package doctor_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const (
	key   = "aa:bb:cc"
	other = "dd:ee:ff"
)

var now = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

func (b *bench) examine() doctor.Report {
	return doctor.Examine(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Now: b.now, Files: b.files, Leads: b.leads})
}

// told returns "SEVERITY CODE subject" of all findings that are not OK, and of
// the network's warnings none.
func told(r doctor.Report) []string {
	var out []string
	for _, f := range r.Items {
		if f.Severity != doctor.OK && f.Category != doctor.Network {
			out = append(out, strings.TrimSpace(string(f.Severity)+" "+f.Code+" "+f.Subject))
		}
	}
	return out
}

func TestNothingWrongIsOKEverywhere(t *testing.T) {
	r := newBench().examine()
	if got := told(r); len(got) > 0 {
		t.Fatalf("findings of a good network: %q", got)
	}
	seen := map[doctor.Category]bool{}
	for _, f := range r.Items {
		seen[f.Category] = true
	}
	for _, c := range doctor.Categories() {
		if !seen[c] {
			t.Errorf("category %s says nothing, not even OK", c)
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	r := doctor.Report{Items: []doctor.Finding{{Severity: doctor.Error}, {Severity: doctor.Warning}, {Severity: doctor.OK}, {Severity: doctor.Error}}}
	if got := r.Errors(); got != 2 {
		t.Errorf("Errors() = %d, want 2", got)
	}
}

// point changes quai's or halle's newest point of a guest.
func (b *bench) point(site failover.SiteID, g failover.GuestID, change func(*failover.RestorePoint)) {
	change(&b.state.Readiness[site].Ready.Points[g][0])
}

func (b *bench) entry(name string, change func(*doctor.Entry)) {
	e := b.facts.Entries[name]
	change(&e)
	b.facts.Entries[name] = e
}

func (b *bench) declare(change func(*network.Host)) {
	h := b.state.Network.Sites["quai"].Hosts["pve-quai"]
	change(&h)
	b.state.Network.Sites["quai"].Hosts["pve-quai"] = h
}

func (b *bench) bridge(change func(*doctor.Bridge)) {
	x := b.facts.Bridges["vmbr0"]
	change(&x)
	b.facts.Bridges["vmbr0"] = x
}

// inventory declares a PVE of the structure's at quai, with one guest; asked is
// what the agent read there.
func (b *bench) inventory(asked *doctor.OtherPVE) {
	b.state.Network.Sites["quai"].Hosts["pve-assos"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.0.0.9:8006", Node: "pve-assos"}}
	b.state.Network.Guests["assos"] = network.Guest{ID: 1301, Type: network.CT, Structure: "s", Host: "pve-assos", Priority: 4}
	b.state.Guests["assos"] = failover.Placement{Phase: failover.PhaseHome, Owner: "quai"}
	if asked != nil {
		b.facts.Others = append(b.facts.Others, *asked)
	}
}

// TestChecks spoils one thing at a time: exactly that is told, and what to do.
func TestChecks(t *testing.T) {
	obstacle := func(what doctor.ObstacleKind, name string) func(*bench) {
		return func(b *bench) {
			b.facts.Archives[0].Warnings = []doctor.Obstacle{{What: what, Key: name, Text: "mounts /srv of the source host"}}
		}
	}
	for _, tt := range []spoilt{
		// The agent and its machines.
		{"no facts yet", func(b *bench) { b.facts = nil }, []string{"INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103"}},
		{"Proxmox unusable", func(b *bench) { b.facts.Access = "open token: no such file" }, []string{"ERROR WWW-2102", "ERROR WWW-2102", "ERROR WWW-2102", "ERROR WWW-2102"}},
		{"a call failed", func(b *bench) { b.facts.Failed = []doctor.Failure{{doctor.Guests, "got timeout"}} }, []string{"WARNING WWW-2101"}},
		{"a site without a target", func(b *bench) { b.local.Site = "elsewhere" }, []string{"INFO WWW-2105", "INFO WWW-2105", "INFO WWW-2105", "INFO WWW-2105"}},
		// Privileges.
		{"old release", func(b *bench) { b.facts.Release = "7.4-1" }, []string{"ERROR WWW-2111 node pve-quai"}},
		{"release 8 wants another", func(b *bench) { b.facts.Release = "8.4.1" }, []string{"ERROR WWW-2110 token wwwd@pve!agent"}},
		{"no root helper", func(b *bench) { b.facts.Helper = doctor.Helper{ID: 90999, Why: "no root helper"} }, []string{"WARNING WWW-2116 root helper"}},
		{"a root helper", func(b *bench) { b.facts.Helper = doctor.Helper{ID: 90999} }, nil},
		{"token refused", func(b *bench) {
			b.facts.Release, b.facts.Unusable = "", []doctor.Machine{{Name: "pve pve-quai", Why: "401 Unauthorized"}}
		}, []string{"ERROR WWW-2117 pve pve-quai"}},
		// The PBS.
		{"old PBS", func(b *bench) { b.facts.Store.Release = "3.3.2" }, []string{"ERROR WWW-2112 PBS"}},
		{"PBS of a version that cannot be read", func(b *bench) { b.facts.Store.Release = "x" }, []string{"ERROR WWW-2112 PBS"}},
		{"PBS 3.4", func(b *bench) { b.facts.Store.Release = "3.4" }, nil},
		{"groups of another owner", func(b *bench) {
			b.facts.Store.Owners = append(b.facts.Store.Owners, doctor.Owner{Namespace: "moulin", Name: "root@pam", Groups: 2, Example: "vm/1101"})
		}, []string{"ERROR WWW-2114 token wwwd@pbs!agent"}},
		{"groups of another owner, and a right to them", func(b *bench) {
			b.facts.Store.Permissions["/datastore/backups/moulin"]["Datastore.Modify"] = true
			b.facts.Store.Owners = append(b.facts.Store.Owners, doctor.Owner{Namespace: "moulin", Name: "root@pam", Groups: 2, Example: "vm/1101"})
		}, nil},
		{"no pull", func(b *bench) { b.facts.Jobs = laterPulls() }, []string{"WARNING WWW-2115 token wwwd@pbs!agent"}},
		{"pull into another namespace", func(b *bench) { b.facts.Jobs[0].NS = "halle" }, []string{"WARNING WWW-2115 token wwwd@pbs!agent"}},
		{"jobs not read", func(b *bench) { b.facts.Jobs, b.facts.Store.JobsRead = nil, false }, nil},
		{"PBS not read", func(b *bench) { b.facts.Store = doctor.StoreFacts{} }, nil},
		// Keys.
		{"entry missing", func(b *bench) { delete(b.facts.Entries, "pbs-moulin") }, []string{"ERROR WWW-2120 storage pbs-moulin"}},
		{"entry of another type", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Type = "dir" }) }, []string{"ERROR WWW-2121 storage pbs-moulin"}},
		{"entry disabled", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Disabled = true }) }, []string{"ERROR WWW-2122 storage pbs-moulin"}},
		{"entry for other nodes", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Nodes = []string{"x"} }) }, []string{"ERROR WWW-2123 storage pbs-moulin"}},
		{"entry without key", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Key = "" }) }, []string{"ERROR WWW-2124 storage pbs-moulin"}},
		{"entry of another store", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Foreign = true }) }, []string{"INFO WWW-2129 storage pbs-moulin"}},
		{"entry of a lineage", func(b *bench) {
			b.declare(func(h *network.Host) {
				h.Lineages = map[network.SiteID]network.LineageStorages{"moulin": {Away: "pbs-away", Sealed: "pbs-sealed"}}
			})
		}, []string{"ERROR WWW-2120 storage pbs-away", "ERROR WWW-2120 storage pbs-sealed"}},
		{"wrong key", func(b *bench) { b.facts.Snapshots[0].Reason, b.facts.Snapshots[0].Key = doctor.ReasonWrongKey, other }, []string{"ERROR WWW-2125 guest nuage"}},
		{"wrong key of a lineage", func(b *bench) {
			b.facts.Snapshots = append(b.facts.Snapshots, doctor.Snapshot{Line: "vm:91001 in away/moulin", Storage: "pbs-away", Reason: doctor.ReasonWrongKey, Key: other})
		}, []string{"ERROR WWW-2125 backups vm:91001 in away/moulin"}},
		{"archive shut", func(b *bench) { b.facts.Archives[1].Shut = "wrong key" }, []string{"ERROR WWW-2126 guest site"}},
		// Restore.
		{"bind mount", obstacle(doctor.BindMount, "mp0"), []string{"ERROR WWW-2140 guest nuage"}},
		{"privileged", obstacle(doctor.Privileged, "unprivileged"), []string{"ERROR WWW-2141 guest nuage"}},
		{"not saved", obstacle(doctor.NotSaved, "scsi1"), []string{"WARNING WWW-2143 guest nuage"}},
		{"root only", obstacle(doctor.RootOnly, "args"), []string{"WARNING WWW-2144 guest nuage"}},
		{"device of the host", obstacle(doctor.HostBound, "hostpci0"), []string{"WARNING WWW-2145 guest nuage"}},
		{"processor of the host", obstacle(doctor.HostBound, "cpu"), []string{"INFO WWW-2146 guest nuage"}},
		{"template", obstacle(doctor.Template, "template"), []string{"ERROR WWW-2147 guest nuage"}},
		{"firewall", obstacle(doctor.Firewall, "net0"), []string{"INFO WWW-2186 guest nuage"}},
		{"unread line", obstacle(doctor.UnreadLine, ""), []string{"INFO WWW-2148 guest nuage"}},
		{"target storage gone", func(b *bench) { delete(b.facts.Entries, "local-zfs") }, []string{"ERROR WWW-2127 storage local-zfs"}},
		{"target storage off", func(b *bench) { b.entry("local-zfs", func(e *doctor.Entry) { e.Disabled = true }) }, []string{"ERROR WWW-2127 storage local-zfs"}},
		{"target without containers", func(b *bench) { b.entry("local-zfs", func(e *doctor.Entry) { e.Content = []string{"images"} }) }, []string{"ERROR WWW-2128 storage local-zfs"}},
		{"HA in the range", func(b *bench) { b.facts.HA = []string{"vm:91005"} }, []string{"ERROR WWW-2149 vm:91005"}},
		{"HA of the range's end, no guest", func(b *bench) { b.facts.HA = []string{"ct:91099"} }, []string{"ERROR WWW-2149 ct:91099"}},
		{"HA outside the range", func(b *bench) { b.facts.HA = []string{"vm:1201", "vm:91100", "group:x"} }, nil},
		{"bridge missing", func(b *bench) { delete(b.facts.Bridges, "vmbr0") }, []string{"ERROR WWW-2180 bridge vmbr0"}},
		{"bridge down", func(b *bench) { b.bridge(func(x *doctor.Bridge) { x.Active = false }) }, []string{"ERROR WWW-2181 bridge vmbr0"}},
		{"bridge not aware, no port", func(b *bench) {
			b.bridge(func(x *doctor.Bridge) { x.VLANAware, x.Ports, x.Addresses = false, nil, []string{"10.0.0.1/24"} })
		}, []string{"ERROR WWW-2182 bridge vmbr0"}},
		{"bridge not aware", func(b *bench) { b.bridge(func(x *doctor.Bridge) { x.VLANAware = false }) }, []string{"WARNING WWW-2183 bridge vmbr0"}},
		{"bridge not aware, with an address", func(b *bench) {
			b.bridge(func(x *doctor.Bridge) { x.VLANAware, x.Addresses = false, []string{"10.0.0.1/24"} })
		}, []string{"ERROR WWW-2184 bridge vmbr0"}},
		{"VLAN outside the bridge's", func(b *bench) { b.bridge(func(x *doctor.Bridge) { x.VIDs = "10 20-119 121" }) }, []string{"ERROR WWW-2185 bridge vmbr0"}},
		{"VLAN among the bridge's", func(b *bench) { b.bridge(func(x *doctor.Bridge) { x.VIDs = "10,100-120" }) }, nil},
		{"a vnet is its VLAN", func(b *bench) { b.bridge(func(x *doctor.Bridge) { *x = doctor.Bridge{Active: true, VNet: true} }) }, nil},
		{"bridges not read", func(b *bench) { b.facts.Bridges = nil }, nil},
		{"machine too new", func(b *bench) { b.facts.Archives[0].Machine = "pc-q35-11.0" }, []string{"ERROR WWW-2190 guest nuage"}},
		{"machine of a newer revision", func(b *bench) { b.facts.Archives[0].Machine = "pc-q35-10.1+pve2" }, []string{"ERROR WWW-2190 guest nuage"}},
		{"machine dropped", func(b *bench) { b.facts.Archives[0].Machine = "pc-i440fx-2.4" }, []string{"ERROR WWW-2191 guest nuage"}},
		{"machine of another kind's version", func(b *bench) { b.facts.Archives[0].Machine = "pc-i440fx-10.1" }, []string{"ERROR WWW-2190 guest nuage"}},
		{"machine known", func(b *bench) {
			b.facts.Archives[0].Machine = "type=pc-q35-10.1,viommu=virtio"
			b.facts.Archives[0].Warnings = []doctor.Obstacle{{What: doctor.HostBound, Key: "machine", Text: "pinned"}}
		}, nil},
		{"machine unpinned", func(b *bench) { b.facts.Archives[0].Machine = "q35" }, nil},
		{"machines not read", func(b *bench) {
			b.facts.Archives[0].Machine = "pc-q35-11.0"
			b.facts.Hardware.Machines = nil
			b.facts.Archives[0].Warnings = []doctor.Obstacle{{What: doctor.HostBound, Key: "machine", Text: "pinned"}}
		}, []string{"INFO WWW-2146 guest nuage"}},
		{"processor unknown", func(b *bench) { b.facts.Archives[0].CPU = "Icelake-Server,flags=+aes" }, []string{"ERROR WWW-2192 guest nuage"}},
		{"processor lacks flags", func(b *bench) { b.facts.Archives[0].CPU = "cputype=x86-64-v4" }, []string{"ERROR WWW-2193 guest nuage"}},
		{"processor has the flags", func(b *bench) { b.facts.Archives[0].CPU = "x86-64-v3" }, nil},
		{"processor of another vendor", func(b *bench) { b.facts.Archives[0].CPU = "EPYC" }, []string{"WARNING WWW-2194 guest nuage"}},
		{"processor of this vendor", func(b *bench) { b.facts.Archives[0].CPU = "Haswell" }, nil},
		{"processor custom", func(b *bench) { b.facts.Archives[0].CPU = "custom-ours" }, []string{"WARNING WWW-2195 guest nuage"}},
		{"processor of the host itself", func(b *bench) { b.facts.Archives[0].CPU = "host" }, nil},
		// Backups.
		{"no copy", func(b *bench) {
			delete(b.state.Readiness["quai"].Ready.Points, "nuage")
			delete(b.state.Readiness["halle"].Ready.Points, "nuage")
		}, []string{"ERROR WWW-2130 guest nuage"}},
		{"one copy", func(b *bench) { delete(b.state.Readiness["halle"].Ready.Points, "site") }, []string{"WARNING WWW-2131 guest site"}},
		{"not rescued on purpose", func(b *bench) {
			g := b.state.Network.Guests["site"]
			g.Priority = 4
			b.state.Network.Guests["site"] = g
			delete(b.state.Readiness["halle"].Ready.Points, "site")
		}, nil},
		{"copies too old", func(b *bench) {
			for _, s := range []failover.SiteID{"quai", "halle"} {
				b.point(s, "nuage", func(p *failover.RestorePoint) { p.Time = now.Add(-9*time.Hour - 12*time.Minute) })
				b.point(s, "site", func(p *failover.RestorePoint) { p.Time = now.Add(-90 * time.Hour) }) // promises nothing
			}
		}, []string{"ERROR WWW-2104 guest nuage"}},
		{"one copy is fresh", func(b *bench) {
			b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Time = now.Add(-9 * time.Hour) })
		}, nil},
		{"plain", func(b *bench) { b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Key = "" }) }, []string{"ERROR WWW-2132 guest nuage"}},
		{"plain and refused", func(b *bench) {
			b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Unusable = "not encrypted" })
		}, []string{"ERROR WWW-2132 guest nuage", "WARNING WWW-2131 guest nuage"}},
		{"unverified", func(b *bench) { b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Verified = false }) }, []string{"INFO WWW-2133 root namespace"}},
		{"unverified in a namespace", func(b *bench) {
			for _, g := range []failover.GuestID{"nuage", "site"} {
				b.point("quai", g, func(p *failover.RestorePoint) { p.Verified, p.Namespace = false, "moulin" })
			}
		}, []string{"INFO WWW-2133 namespace moulin"}},
		{"newest unusable", func(b *bench) {
			list := b.state.Readiness["quai"].Ready.Points["nuage"]
			b.state.Readiness["quai"].Ready.Points["nuage"] = []failover.RestorePoint{{Time: now, Unusable: "verify failed", Key: key}, list[0]}
		}, []string{"ERROR WWW-2134 guest nuage"}},
		{"from the future", func(b *bench) {
			b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Time = now.Add(time.Hour) })
		}, []string{"WARNING WWW-2138 guest nuage"}},
		{"sync failed", func(b *bench) { b.facts.Jobs[0].LastState = "connection refused" }, []string{"ERROR WWW-2135 sync job pull-moulin"}},
		{"sync never ran", func(b *bench) { b.facts.Jobs[0].LastState = "" }, []string{"WARNING WWW-2136 sync job pull-moulin"}},
		{"sync deletes", func(b *bench) { b.facts.Jobs[0].RemoveVanished = true }, []string{"WARNING WWW-2137 sync job pull-moulin"}},
		{"readiness old", func(b *bench) { b.now = now.Add(31 * time.Minute) }, []string{"ERROR WWW-2106 site halle", "ERROR WWW-2106 site moulin", "ERROR WWW-2106 site quai"}},
		{"readiness never told", func(b *bench) { delete(b.state.Readiness, "moulin") }, []string{"ERROR WWW-2106 site moulin"}},
		// Guests.
		{"undeclared", func(b *bench) {
			b.facts.Residents["ct"] = []doctor.Resident{{Kind: "ct", ID: 555, Name: "forgotten"}}
		}, []string{"WARNING WWW-2150 ct:555 forgotten"}},
		{"undeclared template", func(b *bench) { b.facts.Residents["ct"] = []doctor.Resident{{Kind: "ct", ID: 555, Template: true}} }, nil},
		{"the id with another kind", func(b *bench) {
			b.facts.Residents = map[doctor.Kind][]doctor.Resident{"vm": {}, "ct": {{Kind: "ct", ID: 1201}}}
		}, []string{"ERROR WWW-2151 guest quais", "WARNING WWW-2150 ct:1201"}},
		{"absent", func(b *bench) { b.facts.Residents["vm"] = nil }, []string{"ERROR WWW-2151 guest quais"}},
		{"absent, for it is away", func(b *bench) {
			b.facts.Residents["vm"] = nil
			b.state.Guests["quais"] = failover.Placement{Phase: failover.PhaseAway, Owner: "halle"}
		}, nil},
		{"absence not known", func(b *bench) { b.facts.Residents = nil }, nil},
		{"another PVE not asked", func(b *bench) { b.inventory(nil) }, []string{"INFO WWW-2155 host pve-assos"}},
		{"another PVE unreadable", func(b *bench) { b.inventory(&doctor.OtherPVE{Host: "pve-assos", Access: "token file: mode is 0644"}) }, []string{"WARNING WWW-2156 host pve-assos"}},
		{"another PVE shows nothing", func(b *bench) { b.inventory(&doctor.OtherPVE{Host: "pve-assos", Blind: true}) }, []string{"WARNING WWW-2154 host pve-assos"}},
		{"another PVE's guests", func(b *bench) {
			b.inventory(&doctor.OtherPVE{Host: "pve-assos", Residents: map[doctor.Kind][]doctor.Resident{
				"vm": {{Kind: "vm", ID: 91001, Name: "of theirs"}}, "ct": {{Kind: "ct", ID: 1301}},
			}})
		}, []string{"WARNING WWW-2150 vm:91001 of theirs"}},
		{"another PVE's guest is absent", func(b *bench) {
			b.inventory(&doctor.OtherPVE{Host: "pve-assos", Residents: map[doctor.Kind][]doctor.Resident{"vm": {}, "ct": {}}})
		}, []string{"ERROR WWW-2151 guest assos"}},
		{"foreign in the range", func(b *bench) {
			b.facts.Residents["vm"] = append(b.facts.Residents["vm"], doctor.Resident{Kind: "vm", ID: 91001, Examined: true})
		}, []string{"WARNING WWW-2152 vm:91001"}},
		{"ours in the range", func(b *bench) {
			b.facts.Residents["vm"] = append(b.facts.Residents["vm"], doctor.Resident{Kind: "vm", ID: 91001, Examined: true, Marker: "test"})
		}, nil},
		{"another network's in the range", func(b *bench) {
			b.facts.Residents["vm"] = append(b.facts.Residents["vm"], doctor.Resident{Kind: "vm", ID: 91001, Examined: true, Marker: "theirs"})
		}, []string{"WARNING WWW-2152 vm:91001"}},
		{"backed up, not declared", func(b *bench) {
			b.facts.Strangers = []doctor.Stranger{{Source: "moulin", Namespace: "moulin", Kind: "vm", ID: 1999, Newest: now}}
		}, []string{"WARNING WWW-2153 vm:1999"}},
		{"backed up under an id that its guest had", func(b *bench) {
			b.facts.Strangers = []doctor.Stranger{{Source: "moulin", Namespace: "moulin", Kind: "vm", ID: 1999, Newest: now}}
			b.state.Lineages["nuage@0-0"] = failover.Lineage{Guest: "nuage", Home: "moulin", Site: "moulin", Host: "pve-moulin", VMID: 1999, Group: "vm/1999"}
		}, nil},
		{"backed up under an id that a fork has", func(b *bench) {
			b.facts.Strangers = []doctor.Stranger{{Source: "moulin", Namespace: "moulin", Kind: "vm", ID: 1999, Newest: now}}
			b.state.Lineages["nuage@0-0"] = failover.Lineage{Guest: "nuage", Home: "moulin", Site: "moulin", Host: "pve-moulin", VMID: 1999, Group: "vm/1999", Forked: failover.Stamp{Index: 7}}
		}, []string{"WARNING WWW-2153 vm:1999"}},
		{"a copy that its guest has left", func(b *bench) {
			b.facts.Residents["vm"] = append(b.facts.Residents["vm"], doctor.Resident{Kind: "vm", ID: 1999})
			p := b.state.Guests["quais"]
			p.Epoch, p.Host, p.VMID = failover.Epoch{Generation: 1, Index: 9}, "pve-quai", 1201
			p.Former = []failover.Place{{Site: "quai", Host: "pve-quai", VMID: 1999}}
			b.state.Guests["quais"] = p
		}, nil},
		{"the list may be short", func(b *bench) {
			delete(b.facts.Permissions["/vms"], "VM.Audit")
			b.facts.Residents["vm"] = nil
		}, []string{"ERROR WWW-2110 token wwwd@pve!agent", "WARNING WWW-2154 token wwwd@pve!agent"}},
		// The machine.
		{"plain disk", func(b *bench) { b.facts.Disk.Encrypted = doctor.EncryptedNo }, []string{"ERROR WWW-2401 /var/lib/www"}},
		{"plain disk of a lab", func(b *bench) { b.facts.Disk.Encrypted, b.facts.Disk.Worthless = doctor.EncryptedNo, true }, nil},
		{"disk not known", func(b *bench) { b.facts.Disk.Encrypted, b.facts.Disk.Why = doctor.EncryptedUnknown, "ZFS" }, []string{"INFO WWW-2403 /var/lib/www"}},
		{"clock", func(b *bench) { b.facts.ClockOff = -7 * time.Second }, []string{"WARNING WWW-2404 clock"}},
		{"unwell", func(b *bench) { b.local.Unwell = []string{"uplink"} }, []string{"WARNING WWW-2406 agent of quai"}},
		{"a channel that fails", func(b *bench) { b.local.Channels[0].Failing = "HTTP 402" }, []string{"ERROR WWW-2407 channel mail"}},
		{"no channel", func(b *bench) { b.local.Channels = nil }, []string{"INFO WWW-2408 notify"}},
		// DNS and agreement.
		{"long ttl", func(b *bench) {
			b.state.Network.Zones["test.example"] = network.Zone{Backend: "embedded", TTL: network.Duration(301 * time.Second)}
		}, []string{"WARNING WWW-2170 zone test.example"}},
		{"server out of sync", func(b *bench) { b.state.Zones["test.example"].Servers["192.0.2.1:53"] = false }, []string{"WARNING WWW-2171 zone test.example"}},
		{"zone never verified", func(b *bench) { delete(b.state.Zones, "test.example") }, []string{"WARNING WWW-2172 zone test.example"}},
		{"two voters", func(b *bench) { delete(b.state.Members, "halle") }, []string{"WARNING WWW-2160"}},
		{"a third without a vote", func(b *bench) { b.state.Members["halle"] = failover.Member{} }, []string{"WARNING WWW-2160"}},
		{"four voters", func(b *bench) { b.state.Members["x"] = failover.Member{Voter: true} }, []string{"WARNING WWW-2161"}},
	} {
		t.Run(tt.name, tt.run)
	}
}

// spoilt is a bench with one thing wrong.
type spoilt struct {
	name  string
	spoil func(*bench)
	want  []string
}

// run checks that exactly that is told, and what to do.
func (tt spoilt) run(t *testing.T) {
	b := newBench()
	tt.spoil(b)
	r := b.examine()
	if d := cmp.Diff(tt.want, told(r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, f := range r.Items {
		if f.Severity != doctor.OK && f.Remedy == "" {
			t.Errorf("%s %s: no remedy", f.Code, f.Subject)
		}
		if f.Text == "" || strings.Contains(f.Text+f.Remedy, "?") {
			t.Errorf("%s: an argument is missing: %q, %q", f.Code, f.Text, f.Remedy)
		}
	}
}

func TestPrivilegedBeforeTheUpgrade(t *testing.T) {
	b := newBench()
	b.facts.Release = "8.4.1"
	b.facts.Archives[0].Warnings = []doctor.Obstacle{{What: doctor.Privileged, Key: "unprivileged"}}
	if got := told(b.examine()); !slices.Contains(got, "INFO WWW-2142 guest nuage") {
		t.Errorf("got %q, want that the upgrade will break it", got)
	}
}

func TestNetworkWarningsArePassedOn(t *testing.T) {
	b := newBench()
	want := 0
	for _, p := range b.state.Network.Validate() {
		if p.Code != network.CodeTTL {
			want++
		}
	}
	got := 0
	for _, f := range b.examine().Items {
		if f.Category == doctor.Network && f.Severity != doctor.OK && f.Text != "" && strings.HasPrefix(f.Code, "WWW-01") {
			got++
		}
	}
	if got != want || want == 0 {
		t.Errorf("%d warnings of the network, want %d, more than none", got, want)
	}
	b.state.Network = nil
	if r := b.examine(); !slices.Contains(codes(r), doctor.CodeNotDeclared) {
		t.Errorf("without a network: %q", codes(r))
	}
}

func codes(r doctor.Report) []string {
	var out []string
	for _, f := range r.Items {
		out = append(out, f.Code)
	}
	return out
}

// TestCopiesAreCounted: per guest the number and age of its off-site copies (R35).
func TestCopiesAreCounted(t *testing.T) {
	b := newBench()
	b.point("halle", "nuage", func(p *failover.RestorePoint) { p.Time = now.Add(-3*time.Hour - 20*time.Minute) })
	got := map[string]string{}
	for _, f := range b.examine().Items {
		if f.Code == doctor.CodeCopies {
			got[f.Subject] = f.Text
		}
	}
	want := map[string]string{
		"guest nuage": "2 site(s) hold a copy: halle 3h20m, quai 1h0m",
		"guest site":  "2 site(s) hold a copy: halle 1h0m, quai 1h0m",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReportIsSortedWorstFirst(t *testing.T) {
	b := newBench()
	b.facts.Jobs[0].RemoveVanished = true
	b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Verified = false })
	b.point("quai", "site", func(p *failover.RestorePoint) { p.Key = "" })
	var got []doctor.Severity
	for _, f := range b.examine().Items {
		if f.Category == doctor.Backups {
			got = append(got, f.Severity)
		}
	}
	if d := cmp.Diff([]doctor.Severity{doctor.Error, doctor.Warning, doctor.Info, doctor.OK, doctor.OK}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSubjectsCannotMoveACursor: names come from other machines.
func TestSubjectsCannotMoveACursor(t *testing.T) {
	b := newBench()
	b.facts.Residents["ct"] = []doctor.Resident{{Kind: "ct", ID: 555, Name: "a\x1b[2Jb"}}
	for _, f := range b.examine().Items {
		if message.Clean(f.Subject) != f.Subject || message.Clean(f.Text) != f.Text {
			t.Errorf("%s: %q %q", f.Code, f.Subject, f.Text)
		}
	}
}
