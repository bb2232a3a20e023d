package main

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func awayBackend(t *testing.T) *apitest.Backend {
	t.Helper()
	b, err := apitest.Away()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFailbackUsage: a line that says what nobody can have meant is a matter of usage, and names what may stand there.
func TestFailbackUsage(t *testing.T) {
	socket := agentOf(t, awayBackend(t))
	for line, want := range map[string]string{
		"failback":                                       "plan, run, undo, diff, ack",
		"failback gone nuage":                            `not "gone"`,
		"failback plan nuage --keep foo":                 `want away or home, not "foo"`,
		"failback run nuage --keep foo":                  `want away or home, not "foo"`,
		"failback run nuage":                             "--keep away or --keep home",
		"failback plan nuage --at 2h":                    "--at goes with failback run, not with failback plan",
		"failback ack nuage --keep home":                 "--keep goes with failback plan, run, not with failback ack",
		"failback undo nuage --only nuage":               "--only goes with",
		"failback remove nuage --path /x":                "--path goes with failback diff",
		"failback plan moulin --only nuage,site":         "site does not live away from moulin; these do: nuage",
		"failback run moulin --keep away --only nobody":  "nobody does not live away from moulin; these do: nuage",
		"failback run moulin --keep away --at yesterday": "is no time such as",
	} {
		r := wwwctl(t.Context(), socket, line)
		if r.code != exitUsage || !strings.Contains(r.errOut, want) || strings.Contains(r.errOut, "same version") {
			t.Errorf("%s: code %d, want %d and %q:\n%s%s", line, r.code, exitUsage, want, r.out, r.errOut)
		}
	}
	if r := wwwctl(t.Context(), socket, "failback --help"); !strings.Contains(r.out, "undo|diff|ack") {
		t.Errorf("the usage lacks diff:\n%s", r.out)
	}
}

// TestNamedConfirmation: whoever is asked for a name is told of no --yes that does not do.
func TestNamedConfirmation(t *testing.T) {
	socket := agentOf(t, backHome(t, failover.KeepAway))
	r := wwwctl(t.Context(), socket, "failback remove nuage --yes")
	if r.code != exitUnconfirmed || !strings.Contains(r.errOut, "--confirm=pve-quai/91000") || strings.Contains(r.errOut, "or use --yes") {
		t.Errorf("code %d:\n%s", r.code, r.errOut)
	}
}

// TestScheduledFailback: when it begins, how it is taken back, and where its guests go are told in the one form of
// times, and the line that is told to type has the time, too.
func TestScheduledFailback(t *testing.T) {
	b := awayBackend(t)
	socket := agentOf(t, b)
	for _, line := range []string{"failback run nuage --keep away --at 2h --dry-run", "switchover nuage --to moulin --at 2h --dry-run"} {
		if r := wwwctl(t.Context(), socket, line); strings.HasPrefix(line, "failback") && !strings.Contains(r.out, "--keep away --at 2026-11-22T04:58:11Z\n") {
			t.Errorf("%s: as it is told, it would begin at once:\n%s%s", line, r.out, r.errOut)
		}
	}
	r := wwwctl(t.Context(), socket, "failback run nuage --keep away --at 2026-11-22T04:58:11Z --yes")
	op, _, _ := strings.Cut(r.out[strings.Index(r.out, "op-"):], " ")
	if want := "it begins at 2026-11-22 04:58:11; to take it back: wwwctl op cancel " + op; r.code != 0 || !strings.Contains(r.errOut, want) {
		t.Fatalf("code %d, want %q:\n%s%s", r.code, want, r.out, r.errOut)
	}
	if r = wwwctl(t.Context(), socket, "events"); !strings.Contains(r.out, "1 guest(s) of moulin move at 2026-11-22 04:58:11") {
		t.Errorf("events:\n%s", r.out)
	}
	if r = wwwctl(t.Context(), socket, "op cancel "+op+" --yes"); r.code != 0 {
		t.Fatalf("cancel: code %d\n%s", r.code, r.errOut)
	}
	if r = wwwctl(t.Context(), socket, "events"); strings.Contains(r.out, "stay at home") {
		t.Errorf("what serves elsewhere is said to stay at home:\n%s", r.out)
	}
}

// TestAfterAFailback: at most three lines say what comes next, with the time in which it can be taken back.
func TestAfterAFailback(t *testing.T) {
	b := backHome(t, failover.KeepAway)
	socket := agentOf(t, b)
	var op failover.OpID
	for id, o := range b.State().Ops {
		if o.Kind == failover.KindFailback {
			op = id
		}
	}
	r := wwwctl(t.Context(), socket, "op follow "+string(op))
	for _, want := range []string{
		"until 2026-11-23 02:58:11: wwwctl failback undo nuage\n", "wwwctl failback diff nuage\n", "wwwctl failback ack nuage\n",
	} {
		if !strings.Contains(r.errOut, want) {
			t.Errorf("no %q:\n%s", want, r.errOut)
		}
	}
	away := failover.Lineage{Site: "quai", From: failover.Stamp{Index: 3}, To: failover.Stamp{Index: 7, At: at("03:00:00")}}
	now := failover.Lineage{Site: "moulin", From: failover.Stamp{Index: 7, At: at("03:00:00")}}
	away.Moved = true
	never, rescued, branch := away, away, away
	never.Unstarted, rescued.Site, branch.Moved = true, "moulin", false
	for name, tt := range map[string]struct {
		lines    []failover.Lineage
		can, day bool
	}{
		"came home": {[]failover.Lineage{away, now}, true, true}, "never left": {[]failover.Lineage{now}, false, false}, "not known": {nil, false, false},
		"a copy that never ran": {[]failover.Lineage{never, now}, false, false}, "a rescue": {[]failover.Lineage{rescued, now}, false, false},
		"another branch is left": {[]failover.Lineage{branch, now}, true, false},
	} {
		g := api.Guest{Guest: failover.GuestView{Home: "moulin"}, Lineages: tt.lines}
		got, can := undoable(g)
		if can != tt.can || got.IsZero() == tt.day || tt.day && !got.Equal(at("03:00:00").AddDate(0, 0, 1)) {
			t.Errorf("%s: %t until %s, want %t, for a day %t", name, can, got, tt.can, tt.day)
		}
	}
}
