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
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

const (
	key   = "aa:bb:cc"
	other = "dd:ee:ff"
)

var now = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// bench is an input in which nothing is wrong; tests spoil it. The agent is quai's.
type bench struct {
	state *failover.State
	facts *doctor.Facts
	local failover.LocalView
	now   time.Time
}

func brique(host network.HostID, first int, sources ...network.SiteID) network.Site {
	h := network.Host{
		Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://10.0.0.1:8006", Node: string(host)},
		PBS:     &network.PBS{URL: "https://10.0.0.1:8007", Datastore: "backups"},
		Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: first, Last: first + 99}},
		Sources: map[network.SiteID][]string{},
	}
	for _, s := range sources {
		h.Sources[s] = []string{"pbs-" + string(s)}
	}
	return network.Site{Kind: network.Brique, Hosts: map[network.HostID]network.Host{host: h}}
}

func newBench() *bench {
	b := &bench{state: failover.NewState(), now: now, local: failover.LocalView{Site: "quai", HasLeader: true}}
	spec := network.Spec{
		Network: "test",
		Zones:   map[string]network.Zone{"test.example": {Backend: "embedded", TTL: network.Duration(time.Minute)}},
		Sites: map[network.SiteID]network.Site{
			"moulin": brique("pve-moulin", 90000), "quai": brique("pve-quai", 91000, "moulin"), "halle": brique("pve-halle", 92000, "moulin"),
		},
		Structures: map[network.StructureID]network.Structure{"s": {Home: "moulin", VLAN: 120, OffSite: network.OffSite{Policy: network.ConsentAllowed}}},
		Guests: map[network.GuestID]network.Guest{
			"nuage": {ID: 1101, Type: network.VM, Structure: "s", Host: "pve-moulin", Priority: 1, MaxLoss: network.Duration(4 * time.Hour)},
			"site":  {ID: 1102, Type: network.CT, Structure: "s", Host: "pve-moulin", Priority: 2},
			"quais": {ID: 1201, Type: network.VM, Structure: "s", Host: "pve-quai", Priority: 4},
		},
	}.WithDefaults()
	b.state.Network = spec
	for id := range spec.Guests {
		b.state.Guests[id] = failover.Placement{Phase: failover.PhaseHome, Owner: spec.Home(id)}
	}
	for _, id := range []failover.SiteID{"moulin", "quai", "halle"} {
		b.state.Members[id] = failover.Member{Voter: true}
		ready := failover.Readiness{Site: id, Points: map[failover.GuestID][]failover.RestorePoint{}}
		if id != "moulin" {
			for _, g := range []failover.GuestID{"nuage", "site"} {
				ready.Points[g] = []failover.RestorePoint{{Volid: "v", Time: now.Add(-time.Hour), Size: 1 << 30, Key: key, Verified: true}}
			}
		}
		b.state.Readiness[id] = failover.StoredReady{Ready: ready, Stamp: failover.Stamp{At: now.Add(-time.Minute)}}
	}
	b.state.Zones["test.example"] = failover.ZoneState{Changed: 3, Verified: 3, Servers: map[string]bool{"192.0.2.1:53": true}}
	b.facts = goodFacts(spec)
	return b
}

func goodFacts(spec *network.Spec) *doctor.Facts {
	f := &doctor.Facts{
		Ended: now, Node: "pve-quai", Token: "wwwd@pve!agent", Release: "9.2.1", Permissions: map[string]map[string]bool{},
		Disk: doctor.Disk{Dir: "/var/lib/www", Device: "/dev/mapper/x", Encrypted: doctor.EncryptedYes},
		Entries: map[string]doctor.Entry{
			"local-zfs":  {ID: "local-zfs", Type: "zfspool", Content: []string{"images", "rootdir"}},
			"pbs-moulin": {ID: "pbs-moulin", Type: "pbs", Datastore: "backups", Namespace: "moulin", Key: key},
		},
		Residents: map[doctor.Kind][]doctor.Resident{"vm": {{Kind: "vm", ID: 1201, Name: "quais"}}, "ct": {}},
		Jobs:      []doctor.SyncJob{{ID: "pull-moulin", Remote: "moulin", LastState: "OK"}},
	}
	for _, g := range []failover.GuestID{"nuage", "site"} {
		f.Snapshots = append(f.Snapshots, doctor.Snapshot{Guest: g, Source: "moulin", Storage: "pbs-moulin", Key: key})
		f.Archives = append(f.Archives, doctor.Archive{Guest: g, Storage: "pbs-moulin", Volid: "pbs-moulin:backup/" + string(g)})
	}
	grants, err := doctor.Grants(spec, "quai", f.Release)
	if err != nil {
		panic(err)
	}
	grant(f, grants, privileges.Grant{})
	return f
}

// grant gives the token every privilege but one.
func grant(f *doctor.Facts, grants []privileges.Grant, gone privileges.Grant) {
	f.Permissions = map[string]map[string]bool{}
	for _, g := range grants {
		if f.Permissions[g.Path] == nil {
			f.Permissions[g.Path] = map[string]bool{}
		}
		if g.Path != gone.Path || g.Privilege != gone.Privilege {
			f.Permissions[g.Path][g.Privilege] = true
		}
	}
}

func (b *bench) examine() doctor.Report {
	return doctor.Examine(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Now: b.now})
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

// TestChecks spoils one thing at a time: exactly that is told, and what to do.
func TestChecks(t *testing.T) {
	obstacle := func(what doctor.ObstacleKind, name string) func(*bench) {
		return func(b *bench) {
			b.facts.Archives[0].Warnings = []doctor.Obstacle{{What: what, Key: name, Text: "mounts /srv of the source host"}}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*bench)
		want  []string
	}{
		// The agent and its machines.
		{"no facts yet", func(b *bench) { b.facts = nil }, []string{"INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103", "INFO WWW-2103"}},
		{"Proxmox unusable", func(b *bench) { b.facts.Access = "open token: no such file" }, []string{"ERROR WWW-2102", "ERROR WWW-2102", "ERROR WWW-2102", "ERROR WWW-2102"}},
		{"a call failed", func(b *bench) { b.facts.Failed = []doctor.Failure{{doctor.Guests, "got timeout"}} }, []string{"WARNING WWW-2101"}},
		{"a site without a target", func(b *bench) { b.local.Site = "elsewhere" }, []string{"INFO WWW-2105", "INFO WWW-2105", "INFO WWW-2105", "INFO WWW-2105"}},
		// Privileges.
		{"old release", func(b *bench) { b.facts.Release = "7.4-1" }, []string{"ERROR WWW-2111 node pve-quai"}},
		{"release 8 wants another", func(b *bench) { b.facts.Release = "8.4.1" }, []string{"ERROR WWW-2110 token wwwd@pve!agent"}},
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
		{"archive shut", func(b *bench) { b.facts.Archives[1].Shut = "wrong key" }, []string{"ERROR WWW-2126 guest site"}},
		// Restore.
		{"bind mount", obstacle(doctor.BindMount, "mp0"), []string{"ERROR WWW-2140 guest nuage"}},
		{"privileged", obstacle(doctor.Privileged, "unprivileged"), []string{"ERROR WWW-2141 guest nuage"}},
		{"not saved", obstacle(doctor.NotSaved, "scsi1"), []string{"WARNING WWW-2143 guest nuage"}},
		{"root only", obstacle(doctor.RootOnly, "args"), []string{"WARNING WWW-2144 guest nuage"}},
		{"device of the host", obstacle(doctor.HostBound, "hostpci0"), []string{"WARNING WWW-2145 guest nuage"}},
		{"processor of the host", obstacle(doctor.HostBound, "cpu"), []string{"INFO WWW-2146 guest nuage"}},
		{"template", obstacle(doctor.Template, "template"), []string{"ERROR WWW-2147 guest nuage"}},
		{"unread line", obstacle(doctor.UnreadLine, ""), []string{"INFO WWW-2148 guest nuage"}},
		{"target storage gone", func(b *bench) { delete(b.facts.Entries, "local-zfs") }, []string{"ERROR WWW-2127 storage local-zfs"}},
		{"target storage off", func(b *bench) { b.entry("local-zfs", func(e *doctor.Entry) { e.Disabled = true }) }, []string{"ERROR WWW-2127 storage local-zfs"}},
		{"target without containers", func(b *bench) { b.entry("local-zfs", func(e *doctor.Entry) { e.Content = []string{"images"} }) }, []string{"ERROR WWW-2128 storage local-zfs"}},
		{"HA in the range", func(b *bench) {
			b.facts.Residents["vm"] = append(b.facts.Residents["vm"], doctor.Resident{Kind: "vm", ID: 91005, Examined: true, Marker: "test", HA: true})
		}, []string{"ERROR WWW-2149 vm:91005"}},
		{"HA outside the range", func(b *bench) { b.facts.Residents["vm"][0].HA = true }, nil},
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
		{"unverified", func(b *bench) { b.point("quai", "nuage", func(p *failover.RestorePoint) { p.Verified = false }) }, []string{"INFO WWW-2133 guest nuage"}},
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
		{"the list may be short", func(b *bench) {
			delete(b.facts.Permissions["/vms"], "VM.Audit")
			b.facts.Residents["vm"] = nil
		}, []string{"ERROR WWW-2110 token wwwd@pve!agent", "WARNING WWW-2154 token wwwd@pve!agent"}},
		// The machine.
		{"plain disk", func(b *bench) { b.facts.Disk.Encrypted = doctor.EncryptedNo }, []string{"ERROR WWW-2401 /var/lib/www"}},
		{"disk not known", func(b *bench) { b.facts.Disk.Encrypted, b.facts.Disk.Why = doctor.EncryptedUnknown, "ZFS" }, []string{"INFO WWW-2403 /var/lib/www"}},
		{"clock", func(b *bench) { b.facts.ClockOff = -7 * time.Second }, []string{"WARNING WWW-2404 clock"}},
		{"unwell", func(b *bench) { b.local.Unwell = []string{"uplink"} }, []string{"WARNING WWW-2406 agent of quai"}},
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
		t.Run(tt.name, func(t *testing.T) {
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
		})
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

// TestEachMissingPrivilegeIsNamed: with path, and with the command that gives it.
func TestEachMissingPrivilegeIsNamed(t *testing.T) {
	for _, release := range []string{"8.4.1", "9.2.1"} {
		b := newBench()
		b.facts.Release = release
		grants, err := doctor.Grants(b.state.Network, "quai", release)
		if err != nil || len(grants) < 15 {
			t.Fatalf("Grants: %d, %v", len(grants), err)
		}
		for _, gone := range grants {
			grant(b.facts, grants, gone)
			var got []doctor.Finding
			for _, f := range b.examine().Items {
				if f.Code == doctor.CodeMissingPrivilege {
					got = append(got, f)
				}
			}
			if len(got) != 1 || got[0].Args["privilege"] != gone.Privilege || got[0].Args["path"] != gone.Path || got[0].Severity != doctor.Error {
				t.Errorf("%s without %s on %s: got %+v, want it named once", release, gone.Privilege, gone.Path, got)
				continue
			}
			if !strings.Contains(got[0].Remedy, "--privs "+gone.Privilege) || !strings.Contains(got[0].Remedy, "acl modify "+gone.Path+" ") {
				t.Errorf("%s: remedy %q does not give it", gone.Privilege, got[0].Remedy)
			}
		}
	}
}

// TestUnreadPathIsNotHeldAgainstTheToken: a question without an answer is told
// as such, and not as missing rights.
func TestUnreadPathIsNotHeldAgainstTheToken(t *testing.T) {
	b := newBench()
	delete(b.facts.Permissions, "/vms")
	b.facts.Failed = []doctor.Failure{{doctor.Privileges, "got timeout"}}
	if d := cmp.Diff([]string{"WARNING WWW-2101"}, told(b.examine())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
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
	if d := cmp.Diff([]doctor.Severity{doctor.Error, doctor.Warning, doctor.Info}, got); d != "" {
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
