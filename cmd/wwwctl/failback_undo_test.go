package main

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// TestUndoTellsWhichDataServes: after --keep home it is the branch that was left away, after --keep away all that the guest has.
func TestUndoTellsWhichDataServes(t *testing.T) {
	home, away := agentOf(t, backHome(t, failover.KeepHome)), agentOf(t, backHome(t, failover.KeepAway))
	for _, tt := range []struct {
		socket, what  string
		screen, asked []string
		not           string
	}{
		{home, "keep home", []string{
			"To have nuage serve again from what its failback has left elsewhere", "quai:91000", "moulin:1101", "quai,moulin",
			"with what was written there, and without what was written at moulin since",
		}, []string{"Shut down and seal nuage at moulin, and have its copy at quai serve again?"}, "COPY AT"},
		{
			away, "keep away",
			[]string{"To move nuage back to where it served before its failback", "nuage goes back to quai with all that was written since"},
			[]string{"Shut nuage down and move it back to quai, with what was written since?"},
			"serve again",
		},
	} {
		for _, width := range []int{48, 80} {
			r := wwwctl(t.Context(), tt.socket, "failback undo nuage --dry-run", screen(width, 24))
			got := strings.Join(strings.Fields(r.out), " ")
			for _, want := range tt.screen {
				if !strings.Contains(got, want) {
					t.Errorf("%s, %d columns: no %q:\n%s%s", tt.what, width, want, r.out, r.errOut)
				}
			}
			if strings.Contains(r.out, "…") || strings.Contains(r.out, tt.not) || !strings.Contains(r.out, "wwwctl failback undo nuage\n") {
				t.Errorf("%s, %d columns:\n%s", tt.what, width, r.out)
			}
		}
		r := wwwctl(t.Context(), tt.socket, "failback undo nuage", input("n\n"))
		for _, want := range tt.asked {
			if !strings.Contains(r.errOut, want) {
				t.Errorf("%s: asked\n%s, want %q", tt.what, r.errOut, want)
			}
		}
	}
}

// TestUndoOfKeepHomeIsBegun: it is a failback in the log, of the very copy that was left.
func TestUndoOfKeepHomeIsBegun(t *testing.T) {
	b := backHome(t, failover.KeepHome)
	if r := wwwctl(t.Context(), agentOf(t, b), "failback undo nuage --yes --detach"); r.code != 0 {
		t.Fatalf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
	s := b.State()
	op := s.Ops[s.Guests["nuage"].Op]
	run := op.Guests["nuage"]
	if op.Kind != failover.KindFailback || run.Assignment.Keep != failover.KeepBack || run.Assignment.Target != "quai" || run.VMID != 91000 {
		t.Errorf("%s begun with %+v", op.Kind, run)
	}
}

// TestAfterAnUndo: what is sealed at home can be chosen after all, and is acknowledged when the guest is home; of an undo that cannot
// be, nothing is said of what would serve.
func TestAfterAnUndo(t *testing.T) {
	b := backHome(t, failover.KeepHome)
	socket := agentOf(t, b)
	if r := wwwctl(t.Context(), socket, "failback undo nuage --yes --detach"); r.code != 0 {
		t.Fatalf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
	op := b.State().Guests["nuage"].Op
	if err := b.Finish("nuage"); err != nil {
		t.Fatal(err)
	}
	r := wwwctl(t.Context(), socket, "op follow "+string(op))
	if !strings.Contains(r.errOut, "the other one after all? wwwctl failback run nuage --keep home\n") || !strings.Contains(r.errOut, "wwwctl failback diff nuage\n") ||
		strings.Contains(r.errOut, "failback ack") || strings.Contains(r.errOut, "failback undo") {
		t.Errorf("after an undo:\n%s", r.errOut)
	}
	plan := api.Plan{}
	plan.Loss.Keep = failover.KeepBack
	if got := (&app{show: style{zone: time.UTC}}).planScreen(plan, api.FailoverRequest{Failback: "nuage", Undo: true}); strings.Contains(got, "serve again, with") {
		t.Errorf("nothing moves, and it is said what would serve:\n%s", got)
	}
}

// TestUndoQuestion: of several guests the screen above it tells each.
func TestUndoQuestion(t *testing.T) {
	plan := api.Plan{}
	plan.Loss.Site = "moulin"
	plan.Assignments = []failover.Assignment{{Guest: "nuage", Target: "quai"}, {Guest: "site", Target: "quai"}}
	if got, want := undoQuestion(plan), "Shut 2 guests down and move them as above?"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	plan.Loss.Keep = failover.KeepBack
	if got, want := undoQuestion(plan), "Shut down and seal 2 guests at moulin, and have their other copies serve again as above?"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}
