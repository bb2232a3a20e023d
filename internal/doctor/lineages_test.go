package doctor_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// job adds a pull job of everything, and prune changes the one prune job.
func (b *bench) job(j doctor.SyncJob) {
	j.ID, j.LastState, j.Pull, j.Scheduled = "x", "OK", true, true
	b.facts.Jobs = append(b.facts.Jobs, j)
}

func (b *bench) prune(keep doctor.Keep) { b.facts.Prunes[0].Keep = keep }

// tell changes what an agent tells of its backup server.
func (b *bench) tell(site failover.SiteID, change func(*doctor.LocalFile)) {
	change(b.files[site].File)
}

// TestLineageChecks spoils what keeps later lines of backups apart and whole.
func TestLineageChecks(t *testing.T) {
	hourly := func(b *bench) { b.state.Network.Policy.AwayBackup = network.Duration(3600e9) }
	for _, tt := range []spoilt{
		{"no entries for later lines", func(b *bench) { b.declare(func(h *network.Host) { h.Lineages = nil }) }, []string{"WARNING WWW-2187 site moulin"}},
		{"entry of another namespace", func(b *bench) {
			b.entry("pbs-away-moulin", func(e *doctor.Entry) { e.Namespace = "sealed/moulin" })
		}, []string{"ERROR WWW-2188 storage pbs-away-moulin"}},
		{"a source's entry of a later line", func(b *bench) {
			b.entry("pbs-moulin", func(e *doctor.Entry) { e.Namespace = "away/moulin" })
			b.facts.Jobs[0].NS, b.facts.Jobs[0].RemoteNS = "away/moulin", "away/moulin"
		}, []string{"ERROR WWW-2188 storage pbs-moulin"}},
		{"later lines are pulled", func(b *bench) {
			b.facts.Jobs = append(b.facts.Jobs, doctor.SyncJob{ID: "pull-away", NS: "away/moulin", RemoteNS: "away/moulin", LastState: "OK", Pull: true, Scheduled: true})
		}, nil},
		{"home's backups are pulled among later ones", func(b *bench) {
			b.facts.Jobs = append(b.facts.Jobs, doctor.SyncJob{ID: "pull-away", NS: "away/moulin", LastState: "OK", Pull: true, Scheduled: true})
		}, []string{"ERROR WWW-2189 sync job pull-away"}},
		{"later ones among home's", func(b *bench) { b.facts.Jobs[0].RemoteNS = "sealed/moulin" }, []string{"ERROR WWW-2189 sync job pull-moulin"}},
		{"sync deletes sealed branches", func(b *bench) {
			b.facts.Jobs = append(b.facts.Jobs, doctor.SyncJob{ID: "x", NS: "sealed/moulin", RemoteNS: "sealed/moulin", LastState: "OK", Pull: true, Scheduled: true, RemoveVanished: true})
		}, []string{"ERROR WWW-2196 sync job x"}},
		{"sync of named groups leaves sealed branches out", func(b *bench) {
			b.facts.Jobs = append(b.facts.Jobs, doctor.SyncJob{ID: "x", NS: "sealed/moulin", RemoteNS: "sealed/moulin", LastState: "OK", Pull: true, Scheduled: true, GroupFilter: []string{"group:vm/1101"}})
		}, []string{"ERROR WWW-2620 sync job x"}},
		{"sync of named groups of home's backups", func(b *bench) { b.facts.Jobs[0].GroupFilter = []string{"type:vm"} }, nil},
		{"another key for sealed branches", func(b *bench) {
			b.entry("pbs-sealed-moulin", func(e *doctor.Entry) { e.Key = "00:" + key[3:] })
		}, []string{"ERROR WWW-2621 storage pbs-sealed-moulin"}},
		{"sync of everything deletes", func(b *bench) {
			b.facts.Jobs = append(b.facts.Jobs, doctor.SyncJob{ID: "x", LastState: "OK", Pull: true, Scheduled: true, MaxDepth: doctor.AllDepths, RemoveVanished: true})
		}, []string{"ERROR WWW-2196 sync job x"}},
		{"ids of another site", func(b *bench) { b.declare(func(h *network.Host) { h.Restore.IDs.Last = 92000 }) }, []string{"ERROR WWW-2197 ids 91000-92000"}},
		{"ids of home's guests", func(b *bench) { b.declare(func(h *network.Host) { h.Restore.IDs.First = 1102 }) }, []string{"ERROR WWW-2197 ids 1102-91099"}},
		// Prune jobs that reach into their namespaces.
		{"prune keeps one", func(b *bench) { b.prune(doctor.Keep{Yearly: 1}) }, []string{"WARNING WWW-2622 prune job all"}},
		{"prune keeps hours", func(b *bench) { hourly(b); b.prune(doctor.Keep{Last: 7}) }, []string{"WARNING WWW-2622 prune job all"}},
		{"prune keeps a day of hours", func(b *bench) { hourly(b); b.prune(doctor.Keep{Last: 24}) }, nil},
		{"prune keeps hours and days", func(b *bench) { hourly(b); b.prune(doctor.Keep{Last: 7, Hourly: 12, Daily: 2}) }, nil},
		{"prune of less than home's", func(b *bench) {
			b.facts.Prunes = []doctor.PruneJob{{ID: "home", NS: "moulin", Keep: doctor.Keep{Daily: 14}}, {ID: "later", MaxDepth: 2, NS: "away", Keep: doctor.Keep{Daily: 3}}, {ID: "sealed", NS: "sealed/moulin", Keep: doctor.Keep{Last: 1}}}
		}, []string{"WARNING WWW-2622 prune job later"}},
		{"prune of more than home's", func(b *bench) {
			b.facts.Prunes = []doctor.PruneJob{{ID: "home", NS: "moulin", Keep: doctor.Keep{Daily: 7}}, {ID: "later", MaxDepth: doctor.AllDepths, NS: "away", Keep: doctor.Keep{Weekly: 3}}, {ID: "sealed", NS: "sealed", MaxDepth: 1, Keep: doctor.Keep{Last: 1}}}
		}, nil},
		{"prune above them", func(b *bench) { b.facts.Prunes[0].MaxDepth = 1 }, []string{"INFO WWW-2623 namespace away/moulin", "INFO WWW-2623 namespace sealed/moulin"}},
		{"prune of another namespace", func(b *bench) { b.facts.Prunes[0].NS = "aw" }, []string{"INFO WWW-2623 namespace away/moulin", "INFO WWW-2623 namespace sealed/moulin"}},
		{"prune disabled", func(b *bench) { b.facts.Prunes[0].Disabled = true }, []string{"INFO WWW-2623 namespace away/moulin", "INFO WWW-2623 namespace sealed/moulin"}},
		{"prune that keeps all", func(b *bench) { b.prune(doctor.Keep{}) }, []string{"INFO WWW-2623 namespace away/moulin", "INFO WWW-2623 namespace sealed/moulin"}},
		{"prune of sealed branches keeps one", func(b *bench) {
			b.facts.Prunes = append(b.facts.Prunes, doctor.PruneJob{ID: "sealed", NS: "sealed/moulin", Keep: doctor.Keep{Last: 1}})
		}, nil},
		{"prune jobs not read", func(b *bench) { b.facts.Prunes, b.facts.Store.PrunesRead = nil, false }, nil},
		{"prune jobs not to be seen", func(b *bench) {
			b.facts.Prunes = nil
			delete(b.facts.Store.Permissions["/datastore/backups"], "Datastore.Audit")
		}, []string{"ERROR WWW-2113 token wwwd@pbs!agent"}},
		// What the PVE prunes and writes.
		{"entry prunes", func(b *bench) {
			b.entry("pbs-away-moulin", func(e *doctor.Entry) { e.Prune = "keep-last=3" })
		}, []string{"WARNING WWW-2628 storage pbs-away-moulin"}},
		{"entry of home's prunes", func(b *bench) { b.entry("pbs-moulin", func(e *doctor.Entry) { e.Prune = "keep-last=3" }) }, nil},
		{"backup job writes among sealed branches", func(b *bench) {
			b.facts.BackupJobs = []doctor.BackupJob{{ID: "nightly", Storage: "pbs-sealed-moulin", Prune: "keep-last=3"}}
		}, []string{"ERROR WWW-2629 backup job nightly"}},
		{"backup job of this node writes among away guests'", func(b *bench) {
			b.facts.BackupJobs = []doctor.BackupJob{{ID: "nightly", Storage: "pbs-away-moulin", Node: "pve-quai"}}
		}, []string{"ERROR WWW-2629 backup job nightly"}},
		{"backup jobs elsewhere, off, and of another node", func(b *bench) {
			b.facts.BackupJobs = []doctor.BackupJob{{ID: "a", Storage: "pbs-quai"}, {ID: "b", Storage: "pbs-away-moulin", Disabled: true}, {ID: "c", Storage: "pbs-away-moulin", Node: "other"}}
		}, nil},
		// Jobs that are to bring them here.
		{"sync of the newest only", func(b *bench) { b.facts.Jobs[1].TransferLast = 1 }, []string{"WARNING WWW-2626 sync job halle-away/moulin"}},
		{"sync of the verified only", func(b *bench) { b.facts.Jobs[2].VerifiedOnly = true }, []string{"WARNING WWW-2626 sync job halle-sealed/moulin"}},
		{"sync of everything takes the newest only", func(b *bench) { b.job(doctor.SyncJob{MaxDepth: 2, TransferLast: 3}) }, []string{"WARNING WWW-2626 sync job x"}},
		{"sync above them takes the newest only", func(b *bench) { b.job(doctor.SyncJob{MaxDepth: 1, TransferLast: 3}) }, nil},
		{"sync above them deletes", func(b *bench) { b.job(doctor.SyncJob{MaxDepth: 1, RemoveVanished: true}) }, []string{"WARNING WWW-2137 sync job x"}},
		{"sync of all that is away deletes", func(b *bench) {
			b.job(doctor.SyncJob{NS: "away", RemoteNS: "away", MaxDepth: 1, RemoveVanished: true})
		}, []string{"ERROR WWW-2196 sync job x"}},
		{"sync stops above them", func(b *bench) {
			b.facts.Jobs[1].NS, b.facts.Jobs[1].RemoteNS = "away", "away"
		}, []string{"WARNING WWW-2625 sync job halle-away/moulin"}},
		{"sync without a schedule", func(b *bench) { b.facts.Jobs[1].Scheduled = false }, []string{"WARNING WWW-2630 sync job halle-away/moulin"}},
		{"sync without a schedule, beside one of everything that has one", func(b *bench) {
			b.facts.Jobs[1].Scheduled = false
			b.job(doctor.SyncJob{Remote: "halle", RemoteStore: "backups", MaxDepth: doctor.AllDepths})
		}, nil},
		{"sync without a schedule, beside one from elsewhere", func(b *bench) {
			b.facts.Jobs[1].Scheduled = false
			b.job(doctor.SyncJob{Remote: "moulin", RemoteStore: "backups", MaxDepth: doctor.AllDepths})
		}, []string{"WARNING WWW-2630 sync job halle-away/moulin"}},
		{"sync without a schedule, beside one that pushes", func(b *bench) {
			b.facts.Jobs[1].Scheduled = false
			b.job(doctor.SyncJob{Remote: "halle", RemoteStore: "backups", MaxDepth: doctor.AllDepths})
			b.facts.Jobs[3].Pull = false
		}, []string{"WARNING WWW-2630 sync job halle-away/moulin"}},
		{"no job of one", func(b *bench) { b.facts.Jobs = b.facts.Jobs[:2] }, []string{"WARNING WWW-2627 namespace sealed/moulin"}},
		{"a job of all in place of those of each", func(b *bench) {
			b.facts.Jobs = b.facts.Jobs[:1]
			b.job(doctor.SyncJob{MaxDepth: doctor.AllDepths})
		}, []string{"WARNING WWW-2627 namespace away/moulin", "WARNING WWW-2627 namespace sealed/moulin"}},
		{"no job, and nobody who keeps any", func(b *bench) {
			b.facts.Jobs = b.facts.Jobs[:1]
			h := b.state.Network.Sites["halle"].Hosts["pve-halle"]
			h.Lineages = nil
			b.state.Network.Sites["halle"].Hosts["pve-halle"] = h
		}, nil},
		{"jobs not read", func(b *bench) { b.facts.Jobs, b.facts.Store.JobsRead = nil, false }, nil},
		// Jobs that are to bring them to any other site.
		{"nobody takes what halle keeps", func(b *bench) {
			b.tell("moulin", func(f *doctor.LocalFile) { f.Copies = f.Copies[:2] }) // of quai
			b.tell("quai", func(f *doctor.LocalFile) { f.Copies = f.Copies[:1] })   // away/moulin of halle
		}, []string{"ERROR WWW-2624 namespace sealed/moulin"}},
		{"one who may take it does not tell", func(b *bench) {
			b.tell("moulin", func(f *doctor.LocalFile) { f.CopiesRead, f.Copies = false, nil })
			b.tell("quai", func(f *doctor.LocalFile) { f.Copies = f.Copies[:1] })
		}, []string{"WARNING WWW-2624 namespace sealed/moulin"}},
		{"one takes it, the other does not tell", func(b *bench) {
			b.tell("moulin", func(f *doctor.LocalFile) { f.CopiesRead, f.Copies = false, nil })
		}, nil},
		{"halle pushes it", func(b *bench) {
			b.tell("moulin", func(f *doctor.LocalFile) { f.Copies = f.Copies[:2] })
			b.tell("quai", func(f *doctor.LocalFile) { f.Copies = f.Copies[:1] })
			b.tell("halle", func(f *doctor.LocalFile) {
				f.Copies = append(f.Copies, doctor.Copied{From: "halle", NS: "sealed/moulin"})
			})
		}, nil},
		{"a remote of another name", func(b *bench) {
			b.tell("moulin", func(f *doctor.LocalFile) { f.Copies = f.Copies[:2] })
			b.tell("quai", func(f *doctor.LocalFile) { f.Copies[0].From, f.Copies[1].From = "pbs9", "pbs9" })
		}, nil},
		{"nobody was asked", func(b *bench) { b.files = nil }, nil},
	} {
		t.Run(tt.name, tt.run)
	}
}

// TestCopiesOfSyncJobs: what a site's jobs bring of later lineages, by the depth that they go.
func TestCopiesOfSyncJobs(t *testing.T) {
	b := newBench()
	b.facts.Jobs = []doctor.SyncJob{
		{Remote: "halle", RemoteNS: "away/moulin", NS: "away/moulin", Pull: true},
		{Remote: "nord", RemoteNS: "sealed", NS: "sealed", MaxDepth: 1, Pull: true},
		{Remote: "sud", MaxDepth: 1, Pull: true},
		{Remote: "halle", NS: "sealed/quai"},
	}
	got, ok := doctor.Copies(b.state.Network, "quai", b.facts)
	want := []doctor.Copied{{From: "nord", NS: "sealed/halle"}, {From: "halle", NS: "away/moulin"}, {From: "nord", NS: "sealed/moulin"}, {From: "nord", NS: "sealed/quai"}, {From: "quai", NS: "sealed/quai"}}
	if d := cmp.Diff(want, got); d != "" || !ok {
		t.Errorf("read: %v (-want +got):\n%s", ok, d)
	}
	b.facts.Store.JobsRead = false
	if got, ok := doctor.Copies(b.state.Network, "quai", b.facts); ok {
		t.Errorf("of jobs that were not read: %v", got)
	}
}

// TestSealedBranchesAreSafe: what the log knows as sealed at a site lies there whole and protected, and what
// to type if not is told whole.
func TestSealedBranchesAreSafe(t *testing.T) {
	at := time.Date(2026, 2, 20, 3, 0, 5, 0, time.UTC)
	whole := doctor.Kept{Group: "vm/90001", Time: at, Protected: true}
	with := func(change func(k *doctor.Kept)) []doctor.Kept {
		k := whole
		change(&k)
		return []doctor.Kept{{Group: "vm/90002", Time: at}, k}
	}
	protect := "proxmox-backup-client snapshot protected update vm/90001/2026-02-20T03:00:05Z true --ns sealed/moulin --repository localhost:backups"
	run := "proxmox-backup-manager sync-job run halle-sealed/moulin; "
	for name, tt := range map[string]struct {
		kept      []doctor.Kept
		change    func(b *bench)
		why, mend string
	}{
		"whole":         {kept: []doctor.Kept{whole}},
		"not read":      {},
		"gone":          {kept: []doctor.Kept{}, why: "is not there any more", mend: run + protect},
		"another's":     {kept: with(func(k *doctor.Kept) { k.Time = at.Add(time.Second) }), why: "is not there any more", mend: run + protect},
		"not protected": {kept: with(func(k *doctor.Kept) { k.Protected = false }), why: "is not protected: a prune may take it", mend: protect},
		"gone bad": {
			kept: with(func(k *doctor.Kept) { k.Reason = doctor.ReasonVerifyFailed }), why: "cannot be read (verify failed)",
			mend: "proxmox-backup-manager sync-job update halle-sealed/moulin --resync-corrupt true; " + run + protect,
		},
		"gone, and no job to fetch it": {
			kept: []doctor.Kept{}, change: func(b *bench) { b.facts.Jobs = b.facts.Jobs[:2] }, why: "is not there any more",
			mend: "wwwctl gen lineages quai; " + protect,
		},
		"sealed since it was looked at": {kept: []doctor.Kept{}, change: func(b *bench) { b.seal(at, b.facts.Began.Add(time.Second)) }},
		"given up just now": {kept: []doctor.Kept{}, change: func(b *bench) {
			b.state.Ops["op-9"] = failover.Operation{ID: "op-9", Kind: failover.KindRemoval, Phase: failover.OpReleasing, Guests: map[failover.GuestID]failover.GuestRun{"nuage": {}}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.facts.Began = b.now.Add(-time.Minute)
			b.seal(at, at)
			if tt.kept != nil {
				b.facts.Kept = map[string][]doctor.Kept{"sealed/moulin": tt.kept}
			}
			if tt.change != nil {
				tt.change(b)
			}
			var got []doctor.Finding
			for _, f := range doctor.Examine(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Now: b.now}).Items {
				if f.Code == doctor.CodeSealUnsafe {
					got = append(got, f)
				}
			}
			switch {
			case tt.why == "" && len(got) == 0:
			case len(got) != 1:
				t.Fatalf("found %+v, want %q", got, tt.why)
			case got[0].Remedy != tt.mend || got[0].Text != "its sealed branch (vm/90001/2026-02-20T03:00:05Z in sealed/moulin, of copy 90001 on pve-quai) "+tt.why+"; moulin has it, too":
				t.Errorf("%q, to be mended by %q; want %q, %q", got[0].Text, got[0].Remedy, tt.why, tt.mend)
			}
		})
	}
}

// seal has a branch of a guest of moulin be sealed here and at its home.
func (b *bench) seal(point, at time.Time) {
	copies := []failover.SealCopy{{Site: "quai", Point: failover.RestorePoint{Time: point}}, {Site: "moulin", Point: failover.RestorePoint{Time: point}}}
	b.state.Lineages["nuage@1-9"] = failover.Lineage{
		Guest: "nuage", Home: "moulin", Site: "quai", Host: "pve-quai", VMID: 90001, Group: "vm/90001",
		Sealed: &failover.Seal{Copies: copies, At: failover.Stamp{Index: 20, At: at}},
	}
}

// TestUnscheduledSyncSaysWhatAges: at which site what grows old, and what to type, in one finding.
func TestUnscheduledSyncSaysWhatAges(t *testing.T) {
	for name, tt := range map[string]struct {
		job  doctor.SyncJob
		want string
	}{
		"replicas":       {doctor.SyncJob{ID: "x", Remote: "moulin", NS: "moulin", Pull: true}, "it has no schedule (from moulin): what it brings to quai ages (backups that the home makes, of moulin)"},
		"away":           {doctor.SyncJob{ID: "x", Remote: "halle", NS: "away/moulin", Pull: true}, "it has no schedule (from halle): what it brings to quai ages (backups of guests that live away, of moulin)"},
		"sealed":         {doctor.SyncJob{ID: "x", Remote: "halle", NS: "sealed/moulin", Pull: true}, "it has no schedule (from halle): what it brings to quai ages (sealed branches of guests of moulin)"},
		"everything":     {doctor.SyncJob{ID: "x", Remote: "halle", MaxDepth: doctor.AllDepths, Pull: true}, "it has no schedule (from halle): what it brings to quai ages (backups of guests that live away, of moulin; backups that the home makes, of moulin; sealed branches of guests of moulin)"},
		"pushed":         {doctor.SyncJob{ID: "x", Remote: "halle", NS: "away/moulin"}, "it has no schedule: what it brings to halle ages (backups of guests that live away, of moulin)"},
		"something else": {doctor.SyncJob{ID: "x", Remote: "halle", NS: "photos", Pull: true}, "it has no schedule (from halle): what it brings to quai ages (backups in namespace 'photos')"},
	} {
		b := newBench()
		b.facts.Jobs = []doctor.SyncJob{tt.job}
		var got []doctor.Finding
		for _, f := range doctor.Examine(doctor.Input{State: b.state, Local: b.local, Facts: b.facts, Now: b.now}).Items {
			if f.Code == doctor.CodeSyncUnscheduled || f.Code == doctor.CodeSyncNever {
				got = append(got, f)
			}
		}
		if len(got) != 1 || got[0].Text != tt.want || got[0].Site != "quai" || got[0].Remedy != "proxmox-backup-manager sync-job update x --schedule hourly" {
			t.Errorf("%s: got %+v, want %q", name, got, tt.want)
		}
	}
}
