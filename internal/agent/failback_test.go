package agent_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// backRig is a network in which a guest of moulin was failed over to quai and both copies
// were written to: the structure's host and Raoull's at home, each site's PBS, two agents.
type backRig struct {
	*moveRig
	homeOwn *lab.PVE // Raoull's at home
	live    bool     // the guest is restored live
}

const (
	nsAway, nsSealed       = "away/moulin", "sealed/moulin"
	entryAway, entrySealed = "pbs-away-moulin", "pbs-sealed-moulin"
	awayID                 = vmid // of the copy at quai
	backID                 = 1500 // of the copy that comes home
)

func backSpec() *network.Spec {
	s := spec()
	lineages := map[network.SiteID]network.LineageStorages{home: {Away: entryAway, Sealed: entrySealed}}
	atHome := s.Sites[home].Hosts["pve-moulin"]
	atHome.Lineages = lineages
	atHome.Restore = &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: backID, Last: backID + 9}, Parallel: 1}
	s.Sites[home].Hosts["pve-moulin"] = atHome
	s.Sites[home].Hosts["raoull-moulin"] = network.Host{
		Owner: network.OwnerRaoull, Lineages: lineages,
		PVE:     &network.PVE{URL: "https://10.10.1.20:8006", Node: "raoull-moulin"},
		PBS:     &network.PBS{URL: "https://10.10.1.20:8007", Datastore: "backups"},
		Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 94000, Last: 94009}, Parallel: 1},
	}
	there := s.Sites[away].Hosts["pve-quai"]
	there.Lineages = lineages
	s.Sites[away].Hosts["pve-quai"] = there
	return s
}

func newBackRig(t *testing.T) *backRig {
	t.Helper()
	return newKeyedBackRig(t, nil)
}

// newKeyedBackRig is one in which the entries of the nodes for sealed branches have these keys.
func newKeyedBackRig(t *testing.T, keys map[string]*lab.Key) *backRig {
	t.Helper()
	b := newHomeRig(t, keys)
	b.failOver()
	if op := b.op(); op.Phase != failover.OpDone {
		t.Fatalf("the failover ended %s: %s", op.Phase, b.note())
	}
	return b
}

// newHomeRig is the same before anything has moved.
func newHomeRig(t *testing.T, keys map[string]*lab.Key) *backRig {
	t.Helper()
	b := &backRig{moveRig: newMoveRig(t)}
	clock := func() time.Time { return b.now }
	chunks := lab.NewMemStore()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var err error
	store := func(node string) *lab.PBS {
		remote := map[string]string{"pbs-moulin": "quai", "pbs-quai": "moulin"}[node]
		var jobs []lab.SyncJob
		for _, ns := range []string{nsAway, nsSealed, "moulin"} {
			if ns == "moulin" && node == "pbs-moulin" {
				continue
			}
			jobs = append(jobs, lab.SyncJob{ID: "pull-" + strings.ReplaceAll(ns, "/", "-"), NS: ns, FromNS: ns, Remote: remote, RemoteStore: "backups", Owner: token})
		}
		p, err := lab.NewPBS(lab.PBSConfig{
			Node: node, Version: "4.2.0", Datastore: "backups", Clock: clock, Namespaces: []string{"moulin", nsAway, nsSealed},
			Tokens: map[string]string{token: pass}, Jobs: jobs, Store: chunks,
			Remote: func(string) lab.SyncSource {
				if node == "pbs-moulin" {
					return b.pbs
				}
				return b.homePBS
			},
		})
		must(err)
		return p
	}
	b.homePBS, b.pbs = store("pbs-moulin"), store("pbs-quai")
	entries := func(node string) []lab.StorageConfig {
		out := []lab.StorageConfig{{ID: "local-zfs", Type: "zfspool", Size: 1 << 30}}
		for id, ns := range map[string]string{"pbs-moulin": "moulin", entryAway: nsAway, entrySealed: nsSealed} {
			out = append(out, lab.StorageConfig{ID: id, Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: ns, Username: token, Password: pass})
			if id == entrySealed {
				out[len(out)-1].Key = keys[node]
			}
		}
		return out
	}
	host := func(site failover.SiteID, node string, pbs **lab.PBS, acl map[string]map[string][]string) *lab.PVE {
		p, err := lab.NewPVE(lab.PVEConfig{
			Site: string(site), Node: node, Version: "9.2.1", Clock: clock, RestoreRate: 64 << 10, Tokens: map[string]string{token: pass}, WriteEvery: time.Second,
			Storages: entries(node), Bridges: []lab.BridgeConfig{{Name: "vmbr0", Ports: "eno1", VLANAware: true}}, DialPBS: func(string) *lab.PBS { return *pbs }, ACL: acl,
		})
		must(err)
		p.Advance(b.now)
		return p
	}
	b.homePVE = host(home, "pve-moulin", &b.homePBS, map[string]map[string][]string{token: privileges.ACL(privileges.NeededToComeHome(9, privileges.Paths{
		Node: "pve-moulin", Storages: []string{"local-zfs"}, Backups: []string{"pbs-moulin", entryAway, entrySealed}, Networks: []privileges.NIC{{Bridge: "vmbr0"}},
	}))})
	b.homeOwn, b.pve = host(home, "raoull-moulin", &b.homePBS, nil), host(away, "pve-quai", &b.pbs, nil)
	b.more = []interface{ Advance(time.Time) }{b.homeOwn, b.homePBS}
	must(b.homePVE.AddGuest(lab.GuestSpec{
		ID: homeID, Kind: "vm", Name: "nuage", DiskSize: 1 << 18, Onboot: 1, Storage: "local-zfs",
		Nets: map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120"}, Addresses: map[string]string{"net0": "10.10.120.5/24"},
	}, nil))
	must(b.homePVE.StartGuest(homeID, b.now))
	must(b.homePVE.Backup(homeID, "pbs-moulin", b.now))
	_, _, err = b.pbs.Sync(b.homePBS, lab.SyncJob{ID: "x", NS: "moulin", FromNS: "moulin", Owner: token}, b.now)
	must(err)
	b.checked = func(string) error {
		if g := slices.Concat(b.pve.Guests(), b.homePVE.Guests()); slices.ContainsFunc(g, func(g lab.GuestView) bool { return g.Serving && g.ID == b.run().VMID }) {
			return nil
		}
		return errors.New("connection refused")
	}
	b.restart()
	return b
}

// RoundTrip implements http.RoundTripper over all machines.
func (b *backRig) RoundTrip(req *http.Request) (*http.Response, error) {
	where, h := "", http.Handler(nil)
	switch req.URL.Host {
	case "10.10.1.20:8006":
		where, h = "pve:raoull-moulin", b.homeOwn
	case "10.10.1.20:8007":
		where, h = "pbs:moulin", b.homePBS
	default:
		return b.moveRig.RoundTrip(req)
	}
	res, err := lab.InProcess(lab.WithFaults(where, h, b.faults)).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	hint := lab.TakeHint(res.Header)
	b.requests = append(b.requests, request{req.Method, where + strings.TrimPrefix(req.URL.Path, "/api2/json"), res.StatusCode})
	if hint.Reply != lab.ReplyArrives {
		return nil, io.ErrUnexpectedEOF
	}
	return res, nil
}

// restart makes both agents anew.
func (b *backRig) restart() {
	b.t.Helper()
	open := func(url, node string) proxmox.Config {
		return proxmox.Config{URL: url, Node: node, TokenID: token, Secret: proxmox.NewSecret(pass), Transport: b}
	}
	pve := func(url, node string) *proxmox.PVE {
		p, err := proxmox.NewPVE(open(url, node))
		if err != nil {
			b.t.Fatal(err)
		}
		return p
	}
	pbs := func(url string) *proxmox.PBS {
		p, err := proxmox.NewPBS(open(url, ""), "backups")
		if err != nil {
			b.t.Fatal(err)
		}
		return p
	}
	quiet := slog.New(slog.DiscardHandler)
	b.executor = &agent.Executor{
		Site: away, Log: b.log, PVE: pve("https://10.30.1.20:8006", "pve-quai"), PBS: pbs("https://10.30.1.20:8007"),
		Checker: b, Clock: &agent.LogClock{}, Logger: quiet,
	}
	b.there = &agent.Executor{
		Site: home, Log: b.log, PVE: pve("https://10.10.1.20:8006", "raoull-moulin"), PBS: pbs("https://10.10.1.20:8007"),
		Checker: b, Clock: &agent.LogClock{}, Logger: quiet,
		Hands: map[failover.HostID]agent.Hand{"pve-moulin": {PVE: pve("https://10.10.1.10:8006", "pve-moulin"), Backup: "pbs-moulin"}},
	}
}

// failOver brings the guest to quai while its copy at home runs on, cut off.
func (b *backRig) failOver() {
	b.t.Helper()
	b.must(failover.Bootstrap{Generation: 1})
	declared := backSpec()
	g := declared.Guests[guest]
	g.LiveRestore = b.live
	declared.Guests[guest] = g
	b.must(failover.ApplyNetwork{Spec: declared})
	snaps := b.pbs.Snapshots("moulin")
	b.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: away, Host: "pve-quai", MemoryFree: 1 << 40, StorageFree: 1 << 40, Points: map[failover.GuestID][]failover.RestorePoint{guest: {{
			Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + time.Unix(snaps[0].Time, 0).UTC().Format(time.RFC3339), Namespace: "moulin", Time: time.Unix(snaps[0].Time, 0), Size: 1 << 18,
		}}},
	}})
	plan := failover.PlanFor(b.log.state, failover.Loss{Site: home, ByHand: true}, b.now)
	b.must(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Plan: plan, Forced: true})
	b.apart = true
	b.ended()
	for range 20 {
		b.step()
	}
}

// failback begins one.
func (b *backRig) failback(keep failover.Keep) {
	b.t.Helper()
	plan := failover.PlanFor(b.log.state, failover.Loss{Site: home, Guests: []failover.GuestID{guest}, Planned: true, ByHand: true, Keep: keep}, b.now)
	if len(plan.Assignments) != 1 {
		b.t.Fatalf("not planned: %+v", plan.LeftOut)
	}
	b.must(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
}

// last is the last line that was written in a copy.
func last(t *testing.T, p *lab.PVE, id int) string {
	t.Helper()
	g, ok := p.Guest(id)
	if !ok || len(g.Data()) == 0 {
		t.Fatalf("no guest %d with data on %s", id, p.Node())
	}
	return g.Data()[len(g.Data())-1]
}

// sealedAt fails the test unless the last backup of a copy lies sealed at both sites.
func (b *backRig) sealedAt(id int) {
	b.t.Helper()
	for name, pbs := range map[string]*lab.PBS{"moulin": b.homePBS, "quai": b.pbs} {
		ok := slices.ContainsFunc(pbs.Snapshots(nsSealed), func(s lab.Snapshot) bool { return s.ID == fmt.Sprint(id) && s.Protected })
		if !ok {
			b.t.Errorf("no protected backup of %d in %s at %s: %v", id, nsSealed, name, pbs.Snapshots(nsSealed))
		}
	}
}

// TestFailbackBringsTheAwayCopyHome: what was written there is at home under a new id, and
// what was written at home meanwhile is sealed at two sites.
func TestFailbackBringsTheAwayCopyHome(t *testing.T) {
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s; stuck %v; back %v", op.Phase, b.status(), b.note(), b.run().Stuck, b.run().Back)
	}
	back, ok := b.homePVE.Guest(backID)
	if !ok || !back.Running || back.Config["onboot"] != "1" {
		t.Fatalf("at home: there %t, running %t, onboot %q", ok, back.Running, back.Config["onboot"])
	}
	if line := last(t, b.pve, awayID); !slices.Contains(back.Data(), line) {
		t.Errorf("%q, the last that was written at quai, is not at home", line)
	}
	if g, _ := b.pve.Guest(awayID); g.Running {
		t.Error("the copy at quai runs")
	}
	parked, _ := b.homePVE.Guest(homeID)
	if parked.Running || parked.Config["onboot"] != "0" || parked.Config["protection"] != "1" || !strings.Contains(parked.Config["net0"], "link_down=1") {
		t.Errorf("the copy that was left runs %t, with %v, want it parked", parked.Running, parked.Config)
	}
	b.sealedAt(homeID)
	if p := b.log.state.Guests[guest]; p.Owner != home || p.Serving != home || p.VMID != backID || p.Phase != failover.PhaseHome || b.log.state.Network.Guests[guest].ID != backID {
		t.Errorf("placement %+v", p)
	}
}

// TestFailbackKeepsTheHomeCopyGoing: it is not touched but for its owner, and the other one
// is sealed at two sites.
func TestFailbackKeepsTheHomeCopyGoing(t *testing.T) {
	b := newBackRig(t)
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("ended %s at %s: %s; stuck %v; back %v", op.Phase, b.status(), b.note(), b.run().Stuck, b.run().Back)
	}
	kept, _ := b.homePVE.Guest(homeID)
	if !kept.Running || kept.Config["onboot"] != "1" || b.count("POST", "pve:moulin/nodes/pve-moulin/qemu/1101/status/start") > 0 {
		t.Errorf("the copy at home runs %t, onboot %q, was started %d times", kept.Running, kept.Config["onboot"], b.count("POST", "qemu/1101/status/start"))
	}
	if g, _ := b.pve.Guest(awayID); g.Running {
		t.Error("the copy at quai runs")
	}
	b.sealedAt(awayID)
	for _, c := range b.log.state.SealOf(guest, failover.Place{Site: away, Host: "pve-quai", VMID: awayID}).Copies {
		if c.Point.Namespace != nsSealed {
			t.Errorf("the sealed backup at %s is said to lie in %q", c.Site, c.Point.Namespace)
		}
	}
}

// TestPullWhoseAnswerIsLostIsPulledOnce: who has asked for a pull and got no answer finds it in
// the list of jobs, and goes on to the next one; he does not read that list for ever.
func TestPullWhoseAnswerIsLostIsPulledOnce(t *testing.T) {
	b := newBackRig(t)
	b.lab(b.faults.Add(lab.Fault{Where: "pbs:moulin", Match: lab.Match{Method: "POST", Path: "*/sync/*/run"}, Effect: lab.EffectDropReply, Times: 2}))
	b.failback(failover.KeepAway)
	for range 4000 {
		b.step()
	}
	if op := b.op(); op.Phase != failover.OpDone {
		t.Fatalf("%s at %s: %s, after %d looks at the jobs", op.Phase, b.status(), b.note(), b.count("GET", "pbs:moulin/admin/sync"))
	}
	if n := b.count("GET", "pbs:moulin/admin/sync"); n > 60 {
		t.Errorf("%d looks at the jobs", n)
	}
}

// TestSealThatNobodyElseCanReadIsNone: a PBS verifies what it has no key for. A branch that was
// backed up with a key which the second site does not have stays where it is, and serves on.
func TestSealThatNobodyElseCanReadIsNone(t *testing.T) {
	ours, other := lab.NewKey(rand.New(rand.NewPCG(1, 1))), lab.NewKey(rand.New(rand.NewPCG(2, 2)))
	for name, keys := range map[string]map[string]*lab.Key{
		"other key": {"pve-moulin": ours, "raoull-moulin": ours, "pve-quai": other},
		"no key":    {"pve-quai": other},
	} {
		b := newKeyedBackRig(t, keys)
		b.failback(failover.KeepHome)
		op := b.ended()
		if op.Phase != failover.OpCancelled || !strings.Contains(b.run().Back.Args["note"], "cannot be read at moulin") {
			t.Fatalf("%s: ended %s, back %v, want it taken back", name, op.Phase, b.run().Back)
		}
		if g, _ := b.pve.Guest(awayID); !g.Running {
			t.Errorf("%s: the copy that serves is off", name)
		}
		if seal := b.log.state.SealOf(guest, failover.Place{Site: away, Host: "pve-quai", VMID: awayID}); seal != nil {
			t.Errorf("%s: the log has it sealed: %+v", name, seal)
		}
	}
	b := newKeyedBackRig(t, map[string]*lab.Key{"pve-moulin": ours, "raoull-moulin": ours, "pve-quai": ours})
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("with one key: ended %s: %s; back %v", op.Phase, b.note(), b.run().Back)
	}
}

// TestFailbackTakenBackAnywhere: a cancel after any number of steps before ownership leaves
// both copies as they were.
func TestFailbackTakenBackAnywhere(t *testing.T) {
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		for after := 0; ; after += 29 {
			b := newBackRig(t)
			b.failback(keep)
			for range after {
				b.step()
			}
			if b.run().Owned() {
				break
			}
			at := b.status()
			b.must(failover.CancelOp{Op: b.op().ID, Reason: failover.Reason{Code: "WWW-1409"}})
			if op := b.ended(); op.Phase != failover.OpCancelled {
				t.Fatalf("keep %s, cancelled at %q: ended %s, note %q", keep, at, op.Phase, b.note())
			}
			for name, g := range map[string]func() (lab.GuestView, bool){
				"home": func() (lab.GuestView, bool) { return b.homePVE.Guest(homeID) }, "quai": func() (lab.GuestView, bool) { return b.pve.Guest(awayID) },
			} {
				if v, ok := g(); !ok || !v.Running || name == "home" && v.Config["onboot"] != "1" || strings.Contains(v.Config["net0"], "link_down") || v.Config["protection"] == "1" {
					t.Errorf("keep %s, cancelled at %q: the copy at %s: there %t, runs %t, %v", keep, at, name, ok, v.Running, v.Config)
				}
			}
			if _, left := b.homePVE.Guest(backID); left {
				t.Errorf("keep %s, cancelled at %q: the copy that was to come home is left", keep, at)
			}
			if p := b.log.state.Guests[guest]; p.Owner != away || p.Serving != away || p.Op != "" {
				t.Errorf("keep %s, cancelled at %q: placement %+v", keep, at, p)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// TestFailbackGoesOnAfterCrashes: agents that restart after any number of steps repeat
// nothing and lose nothing.
func TestFailbackGoesOnAfterCrashes(t *testing.T) {
	for _, keep := range []failover.Keep{failover.KeepAway, failover.KeepHome} {
		for after := 0; after < 330; after += 31 {
			b := newBackRig(t)
			b.failback(keep)
			for range after {
				b.step()
			}
			at := b.status()
			b.restart()
			if op := b.ended(); op.Phase != failover.OpDone {
				t.Fatalf("keep %s, restart at %q: ended %s: %v", keep, at, op.Phase, op.Cancelled)
			}
			loser := homeID
			if keep == failover.KeepHome {
				loser = awayID
			}
			if b.sealedAt(loser); t.Failed() {
				t.Fatalf("keep %s, restart at %q", keep, at)
			}
		}
	}
}

// TestFailbackIsUndone: the guest moves back to where it was with what was written at home
// meanwhile; then the copy that was sealed is chosen after all.
func TestFailbackIsUndone(t *testing.T) {
	b := newBackRig(t)
	b.failback(failover.KeepAway)
	b.ended()
	for range 20 {
		b.step()
	}
	snaps := b.homePBS.Snapshots("moulin")
	b.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: away, Host: "pve-quai", MemoryFree: 1 << 40, StorageFree: 1 << 40, UsedIDs: []int{awayID}, Points: map[failover.GuestID][]failover.RestorePoint{guest: {{
			Storage: "pbs-moulin", Volid: "pbs-moulin:backup/vm/1101/" + time.Unix(snaps[0].Time, 0).UTC().Format(time.RFC3339), Namespace: "moulin", Time: time.Unix(snaps[0].Time, 0), Size: 1 << 18,
		}}},
	}})
	b.move()
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("the undo ended %s: %v", op.Phase, b.run().Back)
	}
	again := b.log.state.Guests[guest].VMID
	g, _ := b.pve.Guest(again)
	if line := last(t, b.homePVE, backID); !g.Running || !slices.Contains(g.Data(), line) {
		t.Fatalf("undone: %d runs %t at quai, has what was written at home: %t", again, g.Running, slices.Contains(g.Data(), line))
	}
	b.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: b.log.state.CopiesAt("moulin"), AsOf: b.log.state.Index}})
	b.failback(failover.KeepHome)
	if op := b.ended(); op.Phase != failover.OpDone {
		t.Fatalf("keep home ended %s: %v", op.Phase, b.run().Back)
	}
	kept, _ := b.homePVE.Guest(homeID)
	if !kept.Running || kept.Config["protection"] == "1" || strings.Contains(kept.Config["net0"], "link_down") || kept.Config["onboot"] != "1" {
		t.Errorf("the copy that was parked runs %t with %v, want it as it was", kept.Running, kept.Config)
	}
	b.sealedAt(again)
}
