package agent_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

func (r *rig) readiness() *agent.Readiness {
	return &agent.Readiness{
		Site: away, Log: r.log, PVE: r.executor.PVE, PBS: r.executor.PBS, PBSNode: "pbs-quai", Every: 30 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// pass has a stepper take its steps for a time.
func (r *rig) pass(s agent.Stepper, d time.Duration) {
	next := r.now
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(500 * time.Millisecond) {
		r.log.now = r.now
		for !next.After(r.now) {
			if next = s.Step(r.t.Context(), r.now); next.Equal(r.now) {
				continue
			}
			break
		}
	}
}

func (r *rig) told() (n int) {
	for _, c := range r.log.made {
		if _, ok := c.(failover.ReportReadiness); ok {
			n++
		}
	}
	return n
}

func declared(t *testing.T) *rig {
	r := newRigOf(t, "9.2.1", encrypted)
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: spec()})
	return r
}

func TestReadinessTellsWhatCouldBeRestored(t *testing.T) {
	r := declared(t)
	r.pass(r.readiness(), 5*time.Second)
	ready := r.log.state.Readiness[away].Ready
	points := ready.Points[guest]
	if len(points) != 1 || points[0].Unusable != "" || points[0].Memory != 512<<20 || points[0].Namespace != "moulin" || points[0].Size == 0 {
		t.Fatalf("points %+v, want one usable of 512 MiB in moulin", points)
	}
	if ready.MemoryFree <= 0 || ready.StorageFree <= 0 || ready.Host != "pve-quai" {
		t.Errorf("readiness %+v, want memory, storage and host", ready)
	}
}

func TestReadinessTellsChangesOnly(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, 3*time.Minute)
	if n := r.told(); n != 1 {
		t.Fatalf("told %d times without a change, want once", n)
	}
	r.pass(s, 8*time.Minute)
	if n := r.told(); n != 2 {
		t.Errorf("told %d times in eleven minutes, want twice: it is refreshed every ten", n)
	}
	if err := r.pve.Backup(1101, "pbs-moulin", r.now); err != nil {
		t.Fatal(err)
	}
	r.pass(s, time.Minute)
	if n := len(r.log.state.Readiness[away].Ready.Points[guest]); n != 2 {
		t.Errorf("%d points after another backup, want 2", n)
	}
}

func TestFailedReadErasesNothing(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, time.Minute)
	if err := r.faults.Add(lab.Fault{Where: "pbs", Effect: lab.EffectStatus, Status: 500, Text: "got timeout"}); err != nil {
		t.Fatal(err)
	}
	r.pass(s, 20*time.Minute)
	if n := len(r.log.state.Readiness[away].Ready.Points[guest]); n != 1 {
		t.Errorf("%d points while the PBS fails, want the one that was known", n)
	}
	told := r.told()
	r.faults.Clear()
	r.pass(s, time.Minute)
	if r.told() == told {
		t.Error("nothing was told after the PBS was back")
	}
}

// TestUnusableArchivesAreSeenBefore: the listing can look right and the archive
// be shut. Once the key is mended the same backup is usable again.
func TestUnusableArchivesAreSeenBefore(t *testing.T) {
	r := declared(t)
	fault := lab.Fault{Where: "pve", Match: lab.Match{Path: "*extractconfig*"}, Effect: lab.EffectWrongKey, Times: 1}
	if err := r.faults.Add(fault); err != nil {
		t.Fatal(err)
	}
	s := r.readiness()
	r.pass(s, 10*time.Second)
	points := r.log.state.Readiness[away].Ready.Points[guest]
	if len(points) != 1 || !strings.Contains(points[0].Unusable, "key") {
		t.Fatalf("points %+v, want one that the key does not open", points)
	}
	if v := failover.ExplainGuests(r.log.state, r.now); v[0].Ready || len(v[0].Copies) != 1 || v[0].Copies[0].Unusable == "" {
		t.Errorf("guest %+v, want it not ready and its copy with the reason", v[0])
	}
	r.pve.Heal()
	r.pass(s, time.Minute)
	if points = r.log.state.Readiness[away].Ready.Points[guest]; len(points) != 1 || points[0].Unusable != "" {
		t.Errorf("points %+v after the key was mended, want one usable", points)
	}
}

// TestUnusablePointsAreTold: what cannot be restored is left out of plans and
// told with its reason; an older one takes its place.
func TestUnusablePointsAreTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*lab.Snapshot)
		want  string
	}{
		{"unfinished", func(s *lab.Snapshot) { s.Unfinished = true }, "unfinished"},
		{"without its manifest", func(s *lab.Snapshot) { drop(s, "index.json.blob") }, "unfinished"},
		{"without its configuration", func(s *lab.Snapshot) { drop(s, "qemu-server.conf.blob") }, "missing data"},
		{"without a disk", func(s *lab.Snapshot) { drop(s, "drive-scsi0.img.fidx") }, "missing data"},
		{"failed verification", func(s *lab.Snapshot) {
			s.Verification = &lab.Verification{State: "failed", UPID: "UPID:far:1:1:1:1:verify:x:a@pbs:"}
		}, "verify failed"},
		{"another key", func(s *lab.Snapshot) { s.Fingerprint = "aa:bb" }, "wrong key"},
		{"plain", func(s *lab.Snapshot) {
			for i := range s.Files {
				s.Files[i].CryptMode = "none"
			}
			s.Fingerprint = ""
		}, "not encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := declared(t)
			r.now = r.now.Add(time.Minute)
			newer := r.pbs.Snapshots("moulin")[0]
			newer.Time, newer.Files = r.now.Unix(), slices.Clone(newer.Files)
			tt.spoil(&newer)
			if err := r.pbs.AddSnapshot(newer); err != nil {
				t.Fatal(err)
			}
			r.pass(r.readiness(), 10*time.Second)
			points := r.log.state.Readiness[away].Ready.Points[guest]
			if len(points) != 2 || points[0].Unusable != tt.want || points[1].Unusable != "" {
				t.Fatalf("points %+v, want the newest with reason %q, then a usable one", points, tt.want)
			}
			plan := failover.PlanFor(r.log.state, failover.Loss{Site: home, ByHand: true}, r.now)
			if len(plan.Assignments) != 1 || plan.Assignments[0].Point.Volid != points[1].Volid {
				t.Errorf("plan %+v, want the older point", plan)
			}
		})
	}
}

func drop(s *lab.Snapshot, file string) {
	s.Files = slices.DeleteFunc(s.Files, func(f lab.SnapshotFile) bool { return f.Name == file })
}

func TestSuspicionHurriesReadiness(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	r.pass(s, 10*time.Second)
	before := len(r.requests)
	r.must(failover.Assess{Domain: failover.SiteDomain(home), Cause: failover.CauseLost, Level: failover.LevelSuspect})
	s.Step(t.Context(), r.now) // the change of State wakes it
	if len(r.requests) == before {
		t.Error("nothing was read at once when a site is suspected")
	}
}

// TestPointsAreVerifiedFromPrepareA: the points that a failover would take are
// verified by this site's own PBS, and one that is bad gives way to an older one.
func TestPointsAreVerifiedFromPrepareA(t *testing.T) {
	r := declared(t)
	newer := r.pbs.Snapshots("moulin")[0]
	newer.Time = r.now.Unix() + 60
	newer.Files = slices.Clone(newer.Files)
	newer.Verification = &lab.Verification{State: "ok", UPID: "UPID:pbs-moulin:0000C0DE:0001E240:00000007:65A0B1C2:verificationjob:x:a@pbs:"}
	for i, f := range newer.Files {
		if strings.HasSuffix(f.Name, ".img.fidx") {
			newer.Files[i].Chunks = []lab.ChunkID{{1, 2, 3}} // lost
		}
	}
	if err := r.pbs.AddSnapshot(newer); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(2 * time.Minute)
	s := r.readiness()
	r.pass(s, 10*time.Second)
	points := func() []failover.RestorePoint { return r.log.state.Readiness[away].Ready.Points[guest] }
	if p := points(); len(p) != 2 || p[0].Verified || p[0].Unusable != "" {
		t.Fatalf("points %+v, want two that were not verified here", p)
	}
	assess := func(level failover.Level) {
		r.must(failover.Assess{Domain: failover.SiteDomain(home), Cause: failover.CauseLost, Level: level})
	}
	assess(failover.LevelSuspect)
	r.pass(s, 10*time.Second)
	if n := r.count("POST", "/verify"); n != 0 {
		t.Fatalf("%d verifications before prepare A", n)
	}
	assess(failover.LevelPrepareA)
	r.pass(s, 20*time.Second)
	p := points()
	if len(p) != 2 || p[0].Unusable != "verify failed" || !p[1].Verified {
		t.Fatalf("points %+v, want the newest found bad and the older one verified", p)
	}
	r.pass(s, time.Minute)
	if n := r.count("POST", "/verify"); n != 2 {
		t.Errorf("%d verifications, want one of each point", n)
	}
	plan := failover.PlanFor(r.log.state, failover.Loss{Site: home}, r.now)
	if len(plan.Assignments) != 1 || plan.Assignments[0].Point.Volid != p[1].Volid {
		t.Errorf("plan %+v, want the older point", plan)
	}
}

// TestReadinessLearnsTheNameOfItsPBS: without it nothing counts as verified here.
func TestReadinessLearnsTheNameOfItsPBS(t *testing.T) {
	r := declared(t)
	s := r.readiness()
	s.PBSNode = "localhost"
	snap := r.pbs.Snapshots("moulin")[0]
	snap.Time++
	snap.Verification = &lab.Verification{State: "ok", UPID: "UPID:pbs-quai:0000C0DE:0001E240:00000007:65A0B1C2:verificationjob:x:a@pbs:"}
	if err := r.pbs.AddSnapshot(snap); err != nil {
		t.Fatal(err)
	}
	r.pass(s, 10*time.Second)
	newest := func() failover.RestorePoint { return r.log.state.Readiness[away].Ready.Points[guest][0] }
	if newest().Verified {
		t.Error("verified here, and no name is known yet")
	}
	far, err := lab.NewPBS(lab.PBSConfig{Node: "pbs-moulin", Datastore: "backups"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.pbs.Sync(far, pullJob, r.now); err != nil {
		t.Fatal(err)
	}
	r.pass(s, time.Minute)
	if !newest().Verified {
		t.Error("not verified here, though its own sync job tells the name")
	}
}
