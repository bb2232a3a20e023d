package failover_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// generator draws the next entry of a random log: what a leader, an executor, an
// observer or a person would propose on the state as it is, or nonsense.
type generator struct {
	*rand.Rand
	t      testing.TB
	s      *failover.State
	now    time.Time
	term   uint64
	lost   map[failover.SiteID]time.Time // since when a site is dark, in truth
	tokens []failover.Token              // kept by executors that were held up
	ids    int
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) next() failover.Command {
	if g.s.Network == nil || len(g.s.Network.Sites) == 0 { // nonsense may declare nothing at all
		if g.IntN(4) == 0 {
			return g.nonsense()
		}
		return pick[failover.Command](g, failover.Bootstrap{Network: "assos", Generation: 1},
			failover.BeginTerm{Leader: "quai"}, failover.ApplyNetwork{Spec: fiveSitesDefault(), IfVersion: g.s.NetworkVersion})
	}
	g.now = g.now.Add(time.Duration(g.IntN(4000)) * time.Millisecond)
	switch n := g.IntN(100); {
	case n < 34:
		return g.report()
	case n < 58:
		return g.decision()
	case n < 76:
		return g.executor()
	case n < 84:
		return g.person()
	case n < 87:
		return g.admin()
	case n < 88:
		g.term++
		return failover.BeginTerm{Leader: g.site()}
	}
	return g.nonsense()
}

func fiveSitesDefault() *network.Spec {
	spec := fiveSites()
	spec.Policy.Commit = network.Duration(20 * time.Second)
	spec.Policy.PrepareB = network.Duration(10 * time.Second)
	spec.Policy.PrepareA = network.Duration(7 * time.Second)
	spec.Policy.Alert = network.Duration(8 * time.Second)
	spec.Policy.Block = network.Duration(5 * time.Minute)
	spec.Policy.KeepPrepared = network.Duration(2 * time.Minute)
	spec.Policy.ReturnAfter = network.Duration(5 * time.Second)
	for id, g := range spec.Guests {
		if id == "nextcloud-moulin" || id == "wiki-atelier" || id == "site-fabrique" {
			g.Standby = network.WarmStandby
			spec.Guests[id] = g
		}
	}
	for _, site := range []network.SiteID{"moulin", "fabrique", "quai"} {
		id := network.HostID("raoull-" + string(site))
		h := spec.Sites[site].Hosts[id]
		h.Lineages = map[network.SiteID]network.LineageStorages{}
		for _, home := range []network.SiteID{"moulin", "fabrique", "quai"} {
			if home != site {
				h.Lineages[home] = network.LineageStorages{Away: "pbs-away-" + string(home), Sealed: "pbs-sealed-" + string(home)}
			}
		}
		spec.Sites[site].Hosts[id] = h
	}
	return spec.WithDefaults()
}

// report is what an agent sees: the truth, in which sites are cut off for a
// while, or now and then anything.
func (g *generator) report() failover.Command {
	if g.lost == nil {
		g.lost = map[failover.SiteID]time.Time{}
	}
	if g.IntN(25) == 0 {
		site := pick[failover.SiteID](g, "moulin", "fabrique", "quai")
		if _, ok := g.lost[site]; ok {
			delete(g.lost, site)
		} else if len(g.lost) == 0 || g.IntN(6) == 0 {
			g.lost[site] = g.now
		}
	}
	for _, id := range slices.Sorted(maps.Keys(g.s.Ops)) {
		// A site whose countdown was cancelled is silent again: the copies are still there.
		if op := g.s.Ops[id]; op.Resumable() && len(g.lost) == 0 && g.IntN(3) == 0 {
			g.lost[op.Plan.Loss.Site] = g.now
		}
	}
	observer := pick(g, g.s.Network.SiteIDs()...)
	if _, ok := g.s.Members[observer]; !ok || g.IntN(60) == 0 {
		return member(observer, g.IntN(30) > 0)
	}
	if g.IntN(5) == 0 {
		return failover.ReportReadiness{Ready: g.readiness()}
	}
	if _, ok := g.lost[observer]; ok {
		observer = "temoin"
	}
	r := report(g.s, observer, func(o *failover.Observation) {
		if since, ok := g.lost[o.Site]; ok {
			o.Seen, o.For = failover.SeenDown, g.now.Sub(since)
		} else if g.IntN(300) == 0 {
			o.Seen, o.For = g.seen(), g.duration()
		}
	})
	if g.IntN(80) == 0 {
		r.Unwell = []string{"uplink"}
	}
	return r
}

func (g *generator) readiness() failover.Readiness {
	r := failover.Readiness{
		Site: g.site(), Host: "raoull", MemoryFree: int64(g.IntN(20)) * gib, StorageFree: int64(g.IntN(300)) * gib,
		Rate: int64(g.IntN(3)) << 26, Points: map[failover.GuestID][]failover.RestorePoint{},
	}
	for range g.IntN(3) {
		r.UsedIDs = append(r.UsedIDs, 90000+g.IntN(5))
	}
	if r.AsOf = g.s.Index; g.IntN(8) > 0 { // what stands there is seen, and now and then that somebody started it
		for _, id := range g.s.WarmIDs(r.Site) {
			if r.UsedIDs = append(r.UsedIDs, id); g.IntN(20) == 0 {
				r.Started = append(r.Started, id)
			}
		}
	}
	for _, id := range g.s.Network.GuestIDs() {
		for range g.IntN(3) {
			r.Points[id] = append(r.Points[id], restorePoint(id, g.now.Add(-time.Duration(g.IntN(100))*time.Hour), int64(g.IntN(40))*gib))
		}
	}
	return r
}

// decision is what the leader proposes, or its proposal of some time ago.
func (g *generator) decision() failover.Command {
	d := failover.Decide(g.s, g.now)
	if len(d.Commands) == 0 {
		return g.executor()
	}
	return d.Commands[0]
}

func (g *generator) executor() failover.Command {
	var all []failover.Token
	for _, site := range g.s.Network.SiteIDs() {
		all = append(all, failover.Runnable(g.s, site, g.now)...)
	}
	if len(all) == 0 {
		if g.IntN(5) == 0 {
			return g.awayBackup()
		}
		return g.report()
	}
	token := pick(g, all...)
	if g.IntN(10) == 0 {
		g.tokens = append(g.tokens, token)
	}
	if len(g.tokens) > 0 && g.IntN(12) == 0 {
		token = pick(g, g.tokens...)
	}
	return g.moved(token)
}

// awayBackup is an agent's word on a backup of a guest that may live at its site.
func (g *generator) awayBackup() failover.Command {
	guest := g.guest()
	if g.IntN(4) == 0 {
		return failover.BeginWake{Guest: guest}
	}
	return failover.AwayBackup{
		Guest: guest, Epoch: g.s.Guests[guest].Epoch,
		To: pick(g, failover.StatusRunning, failover.StatusRunning, failover.StatusFailed, failover.StatusDone),
	}
}

// moved is an executor's word, mostly one that fits.
func (g *generator) moved(token failover.Token) failover.StepMoved {
	step, _, _ := g.s.Ops[token.Op].Guests[token.Guest].Current()
	m := failover.StepMoved{Token: token, Attempt: step.Attempt, To: failover.StatusDone, Bytes: g.size(), UPID: "UPID"}
	switch {
	case step.Status == failover.StatusPending:
		m.Attempt, m.To = step.Attempt+1, failover.StatusRunning
	case g.IntN(4) == 0:
		m.To = failover.StatusFailed
		m.Failure = pick(g, failover.FailTransient, failover.FailPoint, failover.FailPoint, failover.FailTarget, failover.FailTarget, failover.FailFatal, failover.FailStarted)
		switch { // nobody starts what is not a warm copy
		case m.Failure == failover.FailStarted && step.ID == failover.StepStart:
			m.Failure = failover.FailGone
		case m.Failure == failover.FailStarted && g.s.Ops[token.Op].Guests[token.Guest].Assignment.Warm == "":
			m.Failure = failover.FailTaken
		}
	case g.IntN(6) == 0:
		m.To = failover.StatusRunning
	}
	return m
}

func (g *generator) person() failover.Command {
	switch g.IntN(12) {
	case 8:
		return failover.BeginMaintenance{Domain: g.domain(), For: time.Duration(g.IntN(90)) * time.Second, Boot: pick(g, "", "boot", "another")}
	case 9:
		return failover.EndMaintenance{Domain: g.domain()}
	case 10:
		return pick[failover.Command](g, failover.ExcludeObserver{Site: g.site(), For: time.Duration(g.IntN(40)) * time.Second},
			failover.IncludeObserver{Site: g.site()})
	case 0:
		return failover.SetPause{Site: g.site(), For: time.Duration(g.IntN(30)) * time.Second}
	case 1, 2:
		return failover.EndPause{Site: g.site()}
	case 3:
		return failover.Ack{Domain: g.domain()}
	case 4:
		id := g.op()
		return failover.Approve{Op: id, Hash: g.s.OfferOf(id, g.someTime()).Hash}
	case 5, 6:
		return failover.RetryOp{Op: g.op()}
	case 7:
		return failover.CancelOp{Op: g.op(), Reason: failover.Reason{Code: "WWW-1409"}}
	}
	loss := g.loss()
	loss.ByHand = true
	return failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(loss.Site), Plan: failover.PlanFor(g.s, loss, g.now), Forced: true,
	}
}

// admin declares the network anew, sometimes without some of its parts.
func (g *generator) admin() failover.Command {
	spec := *fiveSitesDefault()
	for range g.IntN(3) {
		switch g.IntN(6) {
		case 0:
			delete(spec.Guests, g.guest())
		case 1:
			delete(spec.Sites, g.site())
		case 2:
			delete(spec.Structures, "atelier")
		default:
			word := pick(g, "le-moulin.mode=ask", "le-moulin.mode=manual", "atelier.vlan=7", "atelier.off_site=forbidden", "quai.ids=90000-90003",
				"le-moulin.split=never", "wiki-atelier.priority=4", "compta-moulin.host=pve-quai", "policy.max_domains=2", "fabrique.restore=none",
				"nextcloud-moulin.standby=cold", "compta-moulin.standby=warm")
			_ = tweak(&spec, word) // its thing may be gone
		}
	}
	return failover.ApplyNetwork{Spec: &spec, IfVersion: g.s.NetworkVersion}
}

// nonsense is any command with anything in it.
func (g *generator) nonsense() failover.Command {
	plan := failover.Plan{Loss: g.loss()}
	if g.s.Network != nil && g.IntN(2) == 0 {
		plan = failover.PlanFor(g.s, g.loss(), g.someTime())
	}
	for range g.IntN(3) {
		plan.Assignments = append(plan.Assignments, g.assignment())
	}
	return pick[failover.Command](g,
		failover.Bootstrap{Generation: g.Uint64N(3)},
		failover.SetMember{Site: g.site(), ServerID: pick(g, "", "x"), Voter: g.IntN(2) == 0},
		failover.RemoveMember{Site: g.site()},
		failover.ApplyNetwork{IfVersion: g.Uint64N(3)},
		failover.ApplyNetwork{Spec: &network.Spec{}, IfVersion: pick(g, 0, g.s.NetworkVersion+1)},
		failover.Report{Observer: g.site(), Seq: g.Uint64(), Observations: []failover.Observation{{Site: g.site(), Target: "x", Seen: g.seen(), For: g.duration()}}},
		failover.ReportReadiness{Ready: failover.Readiness{Site: g.site(), MemoryFree: math.MaxInt64, StorageFree: math.MinInt64, UsedIDs: []int{0, -1}}},
		failover.Assess{Domain: g.domain(), Cause: pick(g, "", failover.CauseUp, failover.CauseLost, failover.CauseHostDown), Level: failover.Level(g.IntN(6))},
		failover.BeginOp{Kind: "", Domain: g.domain(), Plan: plan, Forced: g.IntN(2) == 0},
		failover.CommitOp{Op: g.op(), Guests: []failover.GuestID{g.guest(), g.guest()}[:g.IntN(3)], Votes: g.votes()},
		failover.CommitOp{Op: g.op(), Guests: g.s.Ops[g.op()].Cancellable(), Votes: g.votes()},
		failover.CancelOp{Op: g.op(), Reason: failover.Reason{Code: failover.CodeBack}},
		failover.ResumeOp{Op: g.op()},
		failover.BeginWarm{Assignment: g.assignment()},
		failover.DropWarm{Guest: g.guest(), Of: g.op()},
		g.moved(g.token()),
		failover.StepMoved{Token: g.token(), Attempt: g.IntN(3), To: pick(g, failover.StatusDone, failover.StatusRunning, "")},
		failover.RetryStep{Token: g.token(), Wait: g.duration()},
		failover.Retarget{Op: g.op(), Guest: g.guest(), Assignment: g.assignment()},
		failover.Stick{Op: g.op(), Guest: g.guest(), Reason: failover.Reason{Code: "WWW-1326"}},
		failover.RetryOp{Op: g.op()},
		failover.Own{Token: g.token()},
		failover.Serve{Token: g.token()},
		failover.EndOp{Op: g.op()},
		failover.Approve{Op: g.op(), Hash: pick(g, "", "p-1")},
		failover.SetPause{Site: g.site(), For: g.duration()},
		failover.EndPause{Site: g.site()},
		failover.BeginMaintenance{Domain: g.domain(), For: g.duration()},
		failover.EndMaintenance{Domain: g.domain(), If: g.Uint64N(g.s.Index + 2)},
		failover.ExcludeObserver{Site: g.site(), For: g.duration()},
		failover.IncludeObserver{Site: g.site(), If: g.Uint64N(g.s.Index + 2)},
		failover.Ack{Domain: g.domain()},
		failover.MarkDiverged{Guest: g.guest()},
		failover.VerifyZone{Zone: pick(g, "", "assos.example"), Changed: g.Uint64N(g.s.Index + 2), Servers: map[string]bool{"a": g.IntN(2) == 0}},
	)
}

func (g *generator) id() string {
	switch g.IntN(20) {
	case 0:
		return fmt.Sprintf("id-%d", g.ids) // once more
	case 1:
		g.ids++
		return fmt.Sprintf("id-%d", g.ids)
	}
	return ""
}

func (g *generator) site() failover.SiteID {
	return pick[failover.SiteID](g, "moulin", "fabrique", "quai", "moulin", "fabrique", "quai", "halle", "temoin", "", "nowhere")
}

func (g *generator) guest() failover.GuestID {
	return pick[failover.GuestID](g, "nextcloud-moulin", "compta-moulin", "wiki-atelier", "site-fabrique", "erp-quai", "", "nobody")
}

func (g *generator) domain() failover.DomainID {
	return pick(g, failover.SiteDomain(g.site()), failover.SiteDomain(g.site()), failover.HostDomain("pve-moulin"), "", "site:", "x")
}

func (g *generator) op() failover.OpID {
	ids := slices.Sorted(maps.Keys(g.s.Ops))
	if len(ids) == 0 || g.IntN(10) == 0 {
		return pick[failover.OpID](g, "", "op-0", "op-18446744073709551615")
	}
	return pick(g, ids...)
}

func (g *generator) token() failover.Token {
	if len(g.tokens) > 0 && g.IntN(3) == 0 {
		return pick(g, g.tokens...)
	}
	op := g.s.Ops[g.op()]
	token := op.TokenOf(g.guest())
	if g.IntN(5) == 0 {
		token.Index += g.Uint64N(3)
	}
	if g.IntN(5) == 0 {
		token.Step = pick(g, failover.StepOwn, failover.StepStart, failover.StepCleanup, "")
	}
	return token
}

func (g *generator) loss() failover.Loss {
	l := failover.Loss{Site: g.site(), ByHand: g.IntN(3) == 0}
	if g.IntN(4) == 0 {
		l.Guests = []failover.GuestID{g.guest()}
	}
	if g.IntN(4) == 0 {
		l.Target = g.site()
	}
	return l
}

func (g *generator) assignment() failover.Assignment {
	target := g.site()
	return failover.Assignment{
		Guest: g.guest(), Structure: pick[failover.StructureID](g, "le-moulin", "atelier", "la-fabrique", ""), Target: target,
		Host: failover.HostID("raoull-" + string(target)), VLAN: pick(g, 120, 121, 130, 0, -1), Automatic: g.IntN(2) == 0,
		Point: failover.RestorePoint{Volid: pick(g, "", "v1", "v2"), Size: g.size()}, Memory: g.size(), Warm: pick(g, "", "", "", g.op()),
	}
}

func (g *generator) votes() []failover.Vote {
	var out []failover.Vote
	for _, id := range []failover.SiteID{"moulin", "fabrique", "quai", "halle", "temoin"} {
		if g.IntN(4) > 0 {
			out = append(out, failover.Vote{
				Observer: id, Voter: true, Dark: g.IntN(8) > 0, Silence: g.duration(), Age: time.Duration(g.IntN(20)) * time.Second,
				Paths: []failover.Path{failover.PathMesh, failover.PathPublic}[:1+g.IntN(2)],
			})
		}
	}
	return out
}

func (g *generator) seen() failover.Seen {
	return pick(g, failover.SeenUp, failover.SeenDown, failover.SeenRefused, failover.SeenUnknown, "", "?")
}

func (g *generator) duration() time.Duration {
	return pick(g, 0, -time.Hour, time.Second, time.Hour, time.Duration(math.MaxInt64), time.Duration(math.MinInt64))
}

func (g *generator) size() int64 { return pick(g, 0, -1, gib, 20*gib, math.MaxInt64) }
