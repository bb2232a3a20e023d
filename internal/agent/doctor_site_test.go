package agent_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// declare applies a changed declaration.
func (c *clinic) declare(s *network.Spec) {
	c.t.Helper()
	if _, err := c.log.Propose(c.t.Context(), failover.ApplyNetwork{Spec: s.WithDefaults(), IfVersion: c.log.state.NetworkVersion}); err != nil {
		c.t.Fatal(err)
	}
}

// TestDoctorOpensLineages: the newest backup of each line of away and sealed
// copies is opened, with the key of its own entry.
func TestDoctorOpensLineages(t *testing.T) {
	c := newClinic(t, "9.2.1", func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		other := lab.NewKey(rand.New(rand.NewPCG(9, 9)))
		for _, s := range []lab.StorageConfig{{ID: "pbs-away", Namespace: "away/moulin"}, {ID: "pbs-sealed", Namespace: "sealed/moulin", Key: other}} {
			s.Type, s.Server, s.Datastore, s.Username, s.Password = "pbs", "10.30.1.20", "backups", token, pass
			p.Storages = append(p.Storages, s)
		}
		p.Storages[2].Key = p.Storages[1].Key
	})
	s := clinicSpec()
	h := s.Sites[away].Hosts["pve-quai"]
	h.Lineages = map[network.SiteID]network.LineageStorages{home: {Away: "pbs-away", Sealed: "pbs-sealed"}}
	s.Sites[away].Hosts["pve-quai"] = h
	c.declare(s)
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	c.backupTo("away/moulin", lab.GuestSpec{ID: 90001, Kind: "vm", Name: "nuage"})
	c.backupTo("sealed/moulin", lab.GuestSpec{ID: 90002, Kind: "vm", Name: "nuage"})
	if d := cmp.Diff([]string{"WWW-2125 backups vm:90002 in sealed/moulin"}, tells(c.round())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if c.opened != 1 {
		t.Errorf("%d archives were opened, want that of the away copy", c.opened)
	}
	want := map[string][]doctor.Kept{"sealed/moulin": {{Group: "vm/90002", Reason: doctor.ReasonWrongKey}}}
	got := c.doctor.Facts().Kept
	for _, list := range got {
		for i := range list {
			list[i].Time = time.Time{}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kept as sealed (-want +got):\n%s", d)
	}
}

// TestDoctorReadsTheJobs of backup server and host that could drop or mix lines of backups.
func TestDoctorReadsTheJobs(t *testing.T) {
	jobs := func(p *lab.PVEConfig, b *lab.PBSConfig) {
		for _, kind := range []string{"away", "sealed"} {
			p.Storages = append(p.Storages, lab.StorageConfig{ID: "pbs-" + kind, Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: kind + "/moulin", Username: token, Password: pass, Key: p.Storages[1].Key})
		}
		p.Storages[2].Prune = "keep-last=2"
		p.BackupJobs = []lab.BackupJob{{ID: "nightly", Storage: "pbs-moulin"}, {ID: "wrong", Storage: "pbs-sealed", Keep: lab.Keep{Last: 3}}}
		b.PruneJobs = []lab.MaintenanceJob{{ID: "all", Below: true, Keep: lab.Keep{Daily: 1}}, {ID: "root", Keep: lab.Keep{Last: 1}}}
		b.Jobs = append(b.Jobs, lab.SyncJob{ID: "away", Remote: "moulin", RemoteStore: "src", FromNS: "away/moulin", NS: "away/moulin", Owner: token, TransferLast: 4, VerifiedOnly: true})
	}
	c := newClinic(t, "9.2.1", jobs)
	s := clinicSpec()
	for site, host := range map[network.SiteID]network.HostID{away: "pve-quai", home: "pve-moulin"} {
		h := s.Sites[site].Hosts[host]
		h.Lineages = map[network.SiteID]network.LineageStorages{home: {Away: "pbs-away", Sealed: "pbs-sealed"}}
		s.Sites[site].Hosts[host] = h
	}
	c.declare(s)
	var got []string
	for _, f := range c.round().Items {
		if strings.HasPrefix(f.Code, "WWW-262") {
			got = append(got, f.Code+" "+f.Subject+": "+f.Text)
		}
	}
	want := []string{
		"WWW-2629 backup job wrong: it writes into sealed/moulin by pbs-sealed, and prunes: keep-last=3",
		"WWW-2622 prune job all: leaves at most 1 of each line in away/moulin, 24h0m back (keep-daily=1, one every 24h0m); 2 and 24h0m are to be kept",
		"WWW-2626 sync job away: transfer-last 4 (from moulin)",
		"WWW-2626 sync job away: verified-only true (from moulin)",
		"WWW-2627 namespace sealed/moulin: no pull job of just sealed/moulin is seen here",
		"WWW-2628 storage pbs-away: pbs-away prunes at each backup: keep-last=2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDoctorListsTheSitesOtherPVE: with a token of its own, its undeclared and
// its absent guests are named; what cannot be listed is said, with its host.
func TestDoctorListsTheSitesOtherPVE(t *testing.T) {
	theirs, err := lab.NewPVE(lab.PVEConfig{
		Site: string(away), Node: "pve-assos", Tokens: map[string]string{token: pass}, ACL: map[string]map[string][]string{token: {"/vms": {"VM.Audit"}}},
		Storages: []lab.StorageConfig{{ID: "local-zfs", Type: "zfspool", Size: 1 << 30}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []lab.GuestSpec{{ID: 1301, Kind: "ct", Name: "assos"}, {ID: 1302, Kind: "vm", Name: "compta"}} {
		if err := theirs.AddGuest(g, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := newClinic(t, "9.2.1")
	s := clinicSpec()
	s.Sites[away].Hosts["pve-assos"] = network.Host{Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.30.1.10:8006", Node: "pve-assos"}}
	s.Guests["assos"] = network.Guest{ID: 1301, Type: network.CT, Structure: "le-moulin", Host: "pve-assos", Priority: 4}
	s.Guests["gone"] = network.Guest{ID: 1303, Type: network.VM, Structure: "le-moulin", Host: "pve-assos", Priority: 4}
	c.declare(s)
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	ask := func(secret string) agent.Other {
		pve, err := proxmox.NewPVE(proxmox.Config{
			URL: "https://10.30.1.10:8006", Node: "pve-assos", TokenID: token, Secret: proxmox.NewSecret(secret), Transport: lab.InProcess(theirs),
		})
		return agent.Other{Host: "pve-assos", PVE: pve, Err: err}
	}
	for _, tt := range []struct {
		name   string
		others []agent.Other
		want   []string
	}{
		{"no token", nil, []string{"WWW-2155 host pve-assos"}},
		{"a token", []agent.Other{ask(pass)}, []string{"WWW-2151 guest gone", "WWW-2150 vm:1302 compta"}},
		{"a bad token", []agent.Other{ask("not-the-secret")}, []string{"WWW-2156 host pve-assos"}},
		{"an unusable file", []agent.Other{{Host: "pve-assos", Err: fmt.Errorf("read token file: mode is 0644")}}, []string{"WWW-2156 host pve-assos"}},
	} {
		c.machines.Others = tt.others
		r := c.round()
		if d := cmp.Diff(tt.want, tells(r)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		for _, f := range r.Items {
			if strings.Contains(f.Text+f.Remedy, "not-the-secret") || strings.Contains(f.Text+f.Remedy, pass) {
				t.Errorf("%s: %s shows the secret: %s", tt.name, f.Code, f.Text)
			}
		}
	}
}

// TestDoctorListsGuestsWithoutATarget: a site that restores nothing may list
// the guests of its structure all the same.
func TestDoctorListsGuestsWithoutATarget(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.doctor.Site = home // whose only PVE is the structure's
	if err := c.pve.AddGuest(lab.GuestSpec{ID: 1105, Kind: "vm", Name: "forgotten"}, nil); err != nil {
		t.Fatal(err)
	}
	pve, err := proxmox.NewPVE(proxmox.Config{URL: "https://10.10.1.10:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: http.RoundTripper(c)})
	c.machines = agent.Machines{Others: []agent.Other{{Host: "pve-moulin", PVE: pve, Err: err}}}
	r := c.examineAt(home)
	want := []string{"WWW-2105", "WWW-2105", "WWW-2105", "WWW-2151 guest nuage", "WWW-2151 guest web", "WWW-2150 vm:1105 forgotten"}
	if d := cmp.Diff(want, tells(r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDoctorNamesForeignOwners: what the token does not own it cannot protect.
func TestDoctorNamesForeignOwners(t *testing.T) {
	const stranger = "www@pbs!other"
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	c.backup(lab.GuestSpec{ID: 1101, Kind: "vm", Name: "nuage"})
	c.least("9.2.1")
	conf := proxmox.Config{URL: "https://10.30.1.20:8007", TokenID: stranger, Secret: proxmox.NewSecret(pass), Transport: c}
	other, err := proxmox.NewPBS(conf, "backups")
	if err != nil {
		t.Fatal(err)
	}
	c.storeACL[stranger] = c.storeACL[token]
	c.machines.PBS = other
	if d := cmp.Diff([]string{"WWW-2114 token " + stranger}, tells(c.round())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	snaps, err := other.Snapshots(t.Context(), "moulin", "", 0)
	if err != nil || len(snaps) != 1 {
		t.Fatalf("%d snapshots, %v", len(snaps), err)
	}
	if err := other.Protect(t.Context(), snaps[0]); err == nil {
		t.Error("the backup of another owner was protected: the finding would be wrong")
	}
}
