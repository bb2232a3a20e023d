// Package apitest is an agent for tests of the API and of the command line: a
// real failover.State in memory, commands applied to it as the log would.
package apitest

import (
	"context"
	_ "embed" // the network
	"fmt"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// NetworkYAML declares three briques, three guests of moulin and one zone.
//
//go:embed network.yaml
var NetworkYAML []byte

// Start is the wall clock of a fresh Backend.
func Start() time.Time { return time.Date(2026, 11, 22, 2, 58, 11, 0, time.UTC) }

// Backend is the agent of fabrique, in memory. Fields ending in Func replace a
// behaviour when they are set.
type Backend struct {
	ProposeFunc func(failover.Command) (failover.Stamp, error)
	LocalFunc   func() failover.LocalView

	mu    sync.Mutex
	state *failover.State
	now   time.Time
	actor []string
}

var _ api.Backend = (*Backend)(nil)

// New returns an agent at fabrique of a group of three that all see each other; the
// network of NetworkYAML is declared and every guest has off-site copies.
func New() (*Backend, error) {
	b := Empty()
	spec, problems := netyaml.Parse("network.yaml", NetworkYAML)
	if spec == nil {
		return nil, fmt.Errorf("read test network: %s", netyaml.Format(problems))
	}
	cmds := []failover.Command{failover.ApplyNetwork{Spec: spec}}
	for _, id := range spec.SiteIDs() {
		cmds = append(cmds, failover.SetMember{Site: id, ServerID: "id-" + string(id), Address: spec.Sites[id].Mesh.String(), Voter: true})
	}
	for _, observer := range spec.SiteIDs() {
		cmds = append(cmds, Report(spec, observer, 1, nil))
		cmds = append(cmds, failover.ReportReadiness{Ready: readiness(spec, observer, b.now)})
	}
	for _, id := range spec.SiteIDs() {
		cmds = append(cmds, failover.Assess{Domain: failover.SiteDomain(id), Cause: failover.CauseUp})
		for _, h := range spec.Sites[id].HostIDs() {
			cmds = append(cmds, failover.Assess{Domain: failover.HostDomain(h), Cause: failover.CauseUp})
		}
	}
	cmds = append(cmds, failover.VerifyZone{
		Zone: "assos.example", Changed: 3, Servers: map[string]bool{"198.51.100.17:53": true, "203.0.113.17:53": true},
	})
	return b, b.Apply(cmds...)
}

// Empty returns an agent whose log has just begun: no network is declared.
func Empty() *Backend {
	b := &Backend{state: failover.NewState(), now: Start()}
	// A fresh log takes its first two entries.
	if err := b.Apply(failover.Bootstrap{Network: "assos", Generation: 1}, failover.BeginTerm{Leader: "moulin"}); err != nil {
		panic(err)
	}
	return b
}

// Report is what an observer sees of the others when the sites in dark have
// been silent that long.
func Report(spec *network.Spec, observer failover.SiteID, seq uint64, dark map[failover.SiteID]time.Duration) failover.Report {
	r := failover.Report{Observer: observer, Boot: "boot-1", Seq: seq, Version: "0.1.0"}
	for _, id := range spec.SiteIDs() {
		if id == observer {
			continue
		}
		targets := []failover.Observation{{Target: "agent", Path: failover.PathMesh}, {Target: "entry", Path: failover.PathPublic}}
		for _, h := range spec.Sites[id].HostIDs() {
			targets = append(targets, failover.Observation{Target: "pve:" + string(h), Path: failover.PathMesh})
		}
		for _, o := range targets {
			o.Site, o.Seen, o.For = id, failover.SeenUp, time.Hour
			if silence, ok := dark[id]; ok {
				o.Seen, o.For = failover.SeenDown, silence
			}
			r.Observations = append(r.Observations, o)
		}
	}
	return r
}

// readiness gives a site copies of every guest that is at home elsewhere.
func readiness(spec *network.Spec, site failover.SiteID, now time.Time) failover.Readiness {
	out := failover.Readiness{
		Site: site, MemoryTotal: 64 << 30, MemoryFree: 32 << 30, StorageFree: 2 << 40, Rate: 180 << 20,
		Points: map[failover.GuestID][]failover.RestorePoint{},
	}
	for i, g := range spec.GuestIDs() {
		if spec.Home(g) == site {
			continue
		}
		at := now.Add(-time.Hour - time.Duration(i)*time.Minute)
		out.Points[g] = []failover.RestorePoint{{
			Storage: "pbs-moulin", Volid: fmt.Sprintf("pbs-moulin:backup/%s/%s", g, at.Format(time.RFC3339)),
			Time: at, Size: int64(20*(i+1)) << 30, Memory: 4 << 30, Verified: true,
		}}
	}
	return out
}

// Lose makes both others report moulin silent for six minutes, and records it.
func (b *Backend) Lose() error {
	spec := b.State().Network
	dark := map[failover.SiteID]time.Duration{"moulin": 6 * time.Minute}
	b.mu.Lock()
	b.now = b.now.Add(6 * time.Minute)
	b.mu.Unlock()
	return b.Apply(
		failover.BeginTerm{Leader: "fabrique"},
		Report(spec, "fabrique", 2, dark), Report(spec, "quai", 2, dark),
		failover.Assess{Domain: "site:moulin", Cause: failover.CauseLost, Level: failover.LevelPrepareB, Silence: 6 * time.Minute},
	)
}

// Apply puts commands into the log; the first that is refused is an error.
func (b *Backend) Apply(cmds ...failover.Command) error {
	for _, c := range cmds {
		if _, err := b.apply(context.Background(), c); err != nil {
			return fmt.Errorf("apply %T: %w", c, err)
		}
	}
	return nil
}

func (b *Backend) apply(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.state.Clone()
	st := failover.Stamp{Index: b.state.Index + 1, Term: 42, At: b.now, Actor: failover.ActorOf(ctx)}
	err := next.Apply(st, c)
	b.state = next
	b.actor = append(b.actor, st.Actor)
	return st, err
}

// Actors returns who was behind each entry so far.
func (b *Backend) Actors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.actor...)
}

// Local implements api.Backend.
func (b *Backend) Local() failover.LocalView {
	if b.LocalFunc != nil {
		return b.LocalFunc()
	}
	return failover.LocalView{
		Site: "fabrique", Version: "0.1.0", IsLeader: true, HasLeader: true, Reachable: []failover.SiteID{"moulin", "quai"},
	}
}

// State implements api.Backend.
func (b *Backend) State() *failover.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Propose implements api.Backend.
func (b *Backend) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	if b.ProposeFunc != nil {
		return b.ProposeFunc(c)
	}
	return b.apply(ctx, c)
}

// Node implements api.Backend.
func (b *Backend) Node() api.Node {
	s := b.State()
	return api.Node{Boot: "boot-1", Revision: "abc1234", Role: "leader", Term: s.Term, Commit: s.Index, Applied: s.Index}
}

// Now implements api.Backend.
func (b *Backend) Now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// Advance moves the wall clock.
func (b *Backend) Advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}
