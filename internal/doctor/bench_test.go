package doctor_test

import (
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// bench is an input in which nothing is wrong; tests spoil it. The agent is quai's.
type bench struct {
	state *failover.State
	facts *doctor.Facts
	local failover.LocalView
	now   time.Time
	files map[failover.SiteID]doctor.Told
	leads []doctor.Lead
}

func brique(host network.HostID, first int, sources ...network.SiteID) network.Site {
	h := network.Host{
		Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://10.0.0.1:8006", Node: string(host)},
		PBS:     &network.PBS{URL: "https://10.0.0.1:8007", Datastore: "backups"},
		Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: first, Last: first + 99}},
		Sources: map[network.SiteID][]string{}, Lineages: map[network.SiteID]network.LineageStorages{},
	}
	for _, s := range sources {
		h.Sources[s] = []string{"pbs-" + string(s)}
		h.Lineages[s] = network.LineageStorages{Away: "pbs-away-" + string(s), Sealed: "pbs-sealed-" + string(s)}
	}
	return network.Site{Kind: network.Brique, Hosts: map[network.HostID]network.Host{host: h}}
}

func newBench() *bench {
	b := &bench{state: failover.NewState(), now: now, local: failover.LocalView{Site: "quai", HasLeader: true, Channels: []failover.ChannelView{{Name: "mail"}}}}
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
	b.files = map[failover.SiteID]doctor.Told{}
	for _, site := range spec.SiteIDs() {
		f := &doctor.LocalFile{Site: site, PVE: true, PBS: true, CopiesRead: true}
		for _, from := range []string{"quai", "halle"} { // that receive guests of moulin
			if from != string(site) {
				f.Copies = append(f.Copies, doctor.Copied{From: from, NS: "away/moulin"}, doctor.Copied{From: from, NS: "sealed/moulin"})
			}
		}
		b.files[site] = doctor.Told{File: f}
	}
	return b
}

// laterPulls are the jobs that `wwwctl gen lineages quai` prints.
func laterPulls() (out []doctor.SyncJob) {
	for _, ns := range []string{"away/moulin", "sealed/moulin"} {
		out = append(out, doctor.SyncJob{ID: "halle-" + ns, Remote: "halle", RemoteStore: "backups", RemoteNS: ns, NS: ns, LastState: "OK", Pull: true, Scheduled: true})
	}
	return out
}

func goodFacts(spec *network.Spec) *doctor.Facts {
	f := &doctor.Facts{
		Ended: now, Node: "pve-quai", Token: "wwwd@pve!agent", Release: "9.2.1", Permissions: map[string]map[string]bool{},
		Disk: doctor.Disk{Dir: "/var/lib/www", Device: "/dev/mapper/x", Encrypted: doctor.EncryptedYes},
		Entries: map[string]doctor.Entry{
			"local-zfs":         {ID: "local-zfs", Type: "zfspool", Content: []string{"images", "rootdir"}},
			"pbs-away-moulin":   {ID: "pbs-away-moulin", Type: "pbs", Datastore: "backups", Namespace: "away/moulin", Key: key},
			"pbs-sealed-moulin": {ID: "pbs-sealed-moulin", Type: "pbs", Datastore: "backups", Namespace: "sealed/moulin", Key: key},
			"pbs-moulin":        {ID: "pbs-moulin", Type: "pbs", Datastore: "backups", Namespace: "moulin", Key: key},
		},
		Residents: map[doctor.Kind][]doctor.Resident{"vm": {{Kind: "vm", ID: 1201, Name: "quais"}}, "ct": {}},
		Jobs:      append([]doctor.SyncJob{{ID: "pull-moulin", Remote: "moulin", RemoteStore: "backups", NS: "moulin", LastState: "OK", Pull: true, Scheduled: true}}, laterPulls()...),
		Prunes:    []doctor.PruneJob{{ID: "all", MaxDepth: doctor.AllDepths, Keep: doctor.Keep{Daily: 7, Weekly: 4}}},
		HA:        []string{},
		Bridges:   map[string]doctor.Bridge{"vmbr0": {Active: true, VLANAware: true, Ports: []string{"eno1"}}},
		Hardware: doctor.Hardware{
			CPU: "Intel(R) Xeon(R) CPU E5-2640 v4", Machines: []string{"pc-i440fx-10.0", "pc-q35-10.1+pve1", "pc-q35-10.1", "pc-q35-9.2"},
			Flags:  strings.Fields("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 aes avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
			Models: map[string]string{"x86-64-v3": "default", "x86-64-v4": "default", "Haswell": "GenuineIntel", "EPYC": "AuthenticAMD"},
		},
		Store: doctor.StoreFacts{
			Token: "wwwd@pbs!agent", Release: "4.2.0", Datastore: "backups", JobsRead: true, PrunesRead: true,
			Owners: []doctor.Owner{{Namespace: "moulin", Name: "wwwd@pbs!agent", Groups: 2, Example: "vm/1101"}},
		},
	}
	for _, g := range []failover.GuestID{"nuage", "site"} {
		f.Snapshots = append(f.Snapshots, doctor.Snapshot{Guest: g, Source: "moulin", Storage: "pbs-moulin", Key: key})
		f.Archives = append(f.Archives, doctor.Archive{Guest: g, Storage: "pbs-moulin", Volid: "pbs-moulin:backup/" + string(g)})
	}
	grants, err := doctor.Grants(spec, "quai", f.Release)
	if err != nil {
		panic(err)
	}
	f.Permissions = granted(grants, privileges.Grant{})
	_, host, _ := spec.Target("quai")
	f.Store.Permissions = granted(doctor.StoreGrants(host, *f), privileges.Grant{})
	return f
}

// granted are the rights of a token that has every privilege but one.
func granted(grants []privileges.Grant, gone privileges.Grant) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, g := range grants {
		if out[g.Path] == nil {
			out[g.Path] = map[string]bool{}
		}
		if g.Path != gone.Path || g.Privilege != gone.Privilege {
			out[g.Path][g.Privilege] = true
		}
	}
	return out
}
