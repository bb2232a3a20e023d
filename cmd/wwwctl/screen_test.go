package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// showing is an agent whose status is st.
func showing(t *testing.T, st failover.Status) string {
	t.Helper()
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := api.Marshal(api.KindStatus, st)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}))
}

func at(clock string) time.Time {
	v, err := time.Parse("2006-01-02 15:04:05", "2026-11-22 "+clock)
	if err != nil {
		panic(err)
	}
	return v
}

// healthy is the network of ux.md 3.4: three briques, a parpaing, a witness.
func healthy() failover.Status {
	st := failover.Status{
		Network: "assos", Headline: failover.HeadHealthy, At: at("02:58:11"), Leader: "fabrique", Term: 42, Index: 18204, Armed: true,
		Local:  failover.LocalView{Site: "fabrique", Version: "0.1.0", IsLeader: true, HasLeader: true},
		Quorum: failover.Quorum{Voters: 5, Present: 5, Needed: 3},
		Counts: failover.Counts{Protected: 14, Ready: 14, Excluded: 1},
		Zones:  []failover.ZoneView{{Zone: "assos.example", Serial: 18204, InSync: true}},
		Todo:   []failover.Reason{},
	}
	for _, s := range []struct {
		id, kind, public string
		guests           int
		rpo              time.Duration
	}{
		{"fabrique", "brique", "ok", 4, 72 * time.Minute},
		{"halle", "parpaing", "ok", 0, 0},
		{"moulin", "brique", "ok", 5, 103 * time.Minute},
		{"quai", "brique", "ok", 5, 123 * time.Minute},
		{"temoin", "witness", "-", 0, 0},
	} {
		st.Sites = append(st.Sites, failover.SiteView{
			Site: failover.SiteID(s.id), Kind: s.kind, State: "up", Cause: failover.CauseUp, SeenBy: 4, Observers: 4, PublicOK: s.public,
			Voter: true, Ready: s.guests, Guests: s.guests, OffsiteRPO: s.rpo,
		})
	}
	return st
}

func site(st *failover.Status, id failover.SiteID) *failover.SiteView {
	for i := range st.Sites {
		if st.Sites[i].Site == id {
			return &st.Sites[i]
		}
	}
	panic("no site " + id)
}

// lostMoulin marks the site as gone.
func lostMoulin(st *failover.Status) {
	m := site(st, "moulin")
	m.State, m.Cause, m.SeenBy, m.PublicOK, m.Since = "lost", failover.CauseLost, 0, "dead", at("03:02:14")
	m.Silence = st.At.Sub(at("03:02:09"))
	st.Quorum.Present = 4
	for i := range st.Sites {
		if st.Sites[i].Site != "moulin" {
			st.Sites[i].SeenBy, st.Sites[i].Observers = 3, 3
		}
	}
}

const gib = 1 << 30

func operation(now time.Time) failover.OpView {
	run := func(name string, p int, target failover.SiteID, step failover.StepID, done, total int64) failover.OpGuestView {
		return failover.OpGuestView{
			Guest: failover.GuestID(name), Priority: p, Target: target, VMID: 91001, State: failover.RunActive, Step: step,
			Status: failover.StatusRunning, Attempt: 1, Bytes: done * gib, Total: total * gib, Loss: 107 * time.Minute,
		}
	}
	served := run("site-moulin", 1, "quai", failover.StepRelease, 8, 8)
	served.Served, served.Took = at("03:09:31"), 7*time.Minute+22*time.Second
	waits := run("peertube", 3, "fabrique", failover.StepRestore, 0, 200)
	waits.Status, waits.Waits = failover.StatusPending, failover.Reason{Code: failover.CodeQueued, Args: map[string]string{"site": "fabrique"}}
	op := failover.OpView{
		ID: "op-18210", Kind: failover.KindFailover, Phase: failover.OpCommitted, Domain: "site:moulin", Begun: at("03:02:54"),
		Committed: at("03:07:09"), PlanHash: "p-8021aa10", Bytes: 93 * gib, Total: 312 * gib, Remaining: 25 * time.Minute,
		Guests: []failover.OpGuestView{
			served,
			run("nextcloud-moulin", 1, "quai", failover.StepRestore, 45, 60),
			run("compta-moulin", 2, "fabrique", failover.StepRestore, 35, 40),
			waits,
		},
		LeftOut: []failover.LeftOut{{Guest: "archives-moulin", Priority: 4, Reason: failover.Reason{Code: failover.CodePriority4}}},
	}
	return op
}

func during() failover.Status {
	st := healthy()
	st.Headline, st.At = failover.HeadFailover, at("03:11:40")
	lostMoulin(&st)
	st.Ops = []failover.OpView{operation(st.At)}
	st.Zones[0].InSync = false
	return st
}

func waiting() failover.Status {
	st := healthy()
	st.Headline, st.At = failover.HeadLoss, at("03:04:00")
	lostMoulin(&st)
	site(&st, "moulin").CommitAt = 3*time.Minute + 9*time.Second
	op := operation(st.At)
	op.Phase, op.Committed = failover.OpPreparing, time.Time{}
	op.Guests = op.Guests[1:]
	st.Ops = []failover.OpView{op}
	st.Armed = false
	st.Pauses = []failover.PauseView{{Until: at("05:10:00"), Reason: "router update", By: "unix:lea"}}
	st.Held = []failover.HeldView{{Domain: "site:moulin", Reason: failover.Reason{Code: failover.CodePaused, Args: map[string]string{"site": "moulin", "reason": "router update"}}}}
	st.Todo = []failover.Reason{st.Held[0].Reason}
	return st
}

func after() failover.Status {
	st := healthy()
	st.Headline, st.At = failover.HeadAway, at("04:05:02")
	lostMoulin(&st)
	op := operation(st.At)
	op.Phase, op.Ended = failover.OpDone, at("03:38:02")
	for i := range op.Guests {
		op.Guests[i].Served = at("03:38:00")
	}
	st.Ops = []failover.OpView{op}
	st.Counts.Away = 4
	site(&st, "quai").Hosting, site(&st, "fabrique").Hosting = 2, 2
	return st
}

func leaderless() failover.Status {
	st := healthy()
	st.Headline, st.At = failover.HeadIsolated, at("03:15:02")
	st.Local = failover.LocalView{Site: "moulin", LastContact: 12*time.Minute + 56*time.Second, Unwell: []string{"no anchor answers"}}
	st.Local.House = &failover.House{At: at("03:14:50"), Running: 4, Guests: 5, Off: []failover.GuestID{"agenda"}, Store: true, Silent: []failover.HostID{"pve-atelier"}}
	st.Isolation = &failover.Isolation{
		Since: at("03:02:06"), TakeOver: at("03:07:06"), Possible: true,
		Structures: []failover.HouseRule{{Structure: "le-moulin", Isolation: "keep-local", Mode: "auto"}},
	}
	st.Quorum.Present = 1
	for i := range st.Sites {
		st.Sites[i].State, st.Sites[i].Cause, st.Sites[i].SeenBy, st.Sites[i].PublicOK = "unknown", failover.CauseUnknown, 0, "?"
	}
	return st
}

// crowded is the worst case for a small terminal: many sites, many guests.
func crowded() failover.Status {
	st := during()
	for _, id := range []failover.SiteID{"aa", "bb", "cc", "dd"} {
		row := *site(&st, "quai")
		row.Site = id
		st.Sites = append(st.Sites, row)
	}
	for range 3 {
		st.Ops[0].Guests = append(st.Ops[0].Guests, st.Ops[0].Guests...)
	}
	for range 8 {
		st.Notices = append(st.Notices, failover.Reason{Code: failover.CodeNoPoint, Args: map[string]string{"guest": strings.Repeat("x", len(st.Notices)+1)}})
		st.Todo = append(st.Todo, failover.Reason{Code: failover.CodeStuck, Args: map[string]string{"guest": strings.Repeat("y", len(st.Todo)+1)}})
	}
	return st
}

func TestStatusScreens(t *testing.T) {
	for name, st := range map[string]failover.Status{
		"healthy": healthy(), "during": during(), "waiting": waiting(), "after": after(), "leaderless": leaderless(),
	} {
		socket := showing(t, st)
		for size, width := range map[string]int{"80": 80, "48": 48} {
			got := wwwctl(t.Context(), socket, "status", screen(width, 24))
			golden(t, name+"-"+size, got.out)
			fits(t, name+"-"+size, got.out, width, 24)
		}
	}
	got := wwwctl(t.Context(), showing(t, during()), "status", screen(80, 24), env("LANG", "C"))
	golden(t, "during-ascii", got.out)
	for _, r := range got.out {
		if r > 126 {
			t.Fatalf("the C locale got %q", r)
		}
	}
}

// An agent that never joined misses nobody: it is told how to join, and not to
// look after links and power.
func TestStatusBeforeJoining(t *testing.T) {
	empty := failover.Explain(failover.NewState(), failover.LocalView{Site: "quai"}, at("03:00:00"))
	got := wwwctl(t.Context(), showing(t, empty), "status", screen(80, 24))
	if !strings.Contains(got.out, "quai belongs to no network yet: wwwd join") || strings.Contains(got.out, "check power") {
		t.Errorf("got\n%s\nwant it to say how to join", got.out)
	}
	fits(t, "before joining", got.out, 80, 24)
}

func TestStatusFitsEvenACrowd(t *testing.T) {
	got := wwwctl(t.Context(), showing(t, crowded()), "status", screen(80, 24))
	for _, want := range []string{"op-18210", "more: wwwctl op show op-18210", "moulin", "to do", "quorum"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("crowded screen does not show %q:\n%s", want, got.out)
		}
	}
	fits(t, "crowded", got.out, 80, 24)
	piped := wwwctl(t.Context(), showing(t, crowded()), "status")
	if strings.Contains(piped.out, "…") {
		t.Errorf("piped output is cut:\n%s", piped.out)
	}
}

func TestColour(t *testing.T) {
	socket := showing(t, healthy())
	if got := wwwctl(t.Context(), socket, "status", screen(80, 24)); strings.Contains(got.out, "\x1b") {
		t.Error("NO_COLOR is not honoured")
	}
	if got := wwwctl(t.Context(), socket, "status", screen(80, 24), env("NO_COLOR", "")); !strings.Contains(got.out, "\x1b[32m") {
		t.Error("no colour on a terminal")
	}
	if got := wwwctl(t.Context(), socket, "status", env("NO_COLOR", "")); strings.Contains(got.out, "\x1b") {
		t.Error("colour in a pipe")
	}
	if got := wwwctl(t.Context(), socket, "status --color=always"); !strings.Contains(got.out, "\x1b[32m") {
		t.Error("--color=always is not honoured")
	}
}

func TestStatusExitCode(t *testing.T) {
	if got := wwwctl(t.Context(), showing(t, during()), "status --exit-code"); got.code != exitFailure {
		t.Errorf("exit %d, want %d", got.code, exitFailure)
	}
	if got := wwwctl(t.Context(), showing(t, during()), "status"); got.code != exitOK {
		t.Errorf("without --exit-code: exit %d, want 0: it could tell the truth", got.code)
	}
}

func fits(t *testing.T, name, out string, width, height int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) >= height {
		t.Errorf("%s: %d lines do not fit %d with the prompt:\n%s", name, len(lines), height, out)
	}
	for _, l := range lines {
		if utf8.RuneCountInString(l) > width {
			t.Errorf("%s: line of %d columns: %q", name, utf8.RuneCountInString(l), l)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("golden screen: %v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}
