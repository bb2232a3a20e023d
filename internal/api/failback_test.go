package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

// TestFailback: a name means what lives away of a site, a structure or a guest; the plan has
// both copies; which of them goes on is said each time.
func TestFailback(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	for _, name := range []string{"nuage", "guest:nuage", "site:moulin"} {
		plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: name, Keep: failover.KeepAway})
		if err != nil || len(plan.Assignments) != 1 || len(plan.Branches) != 1 || plan.Confirm != "" {
			t.Fatalf("PlanByHand(%s): got %+v, %v", name, plan, err)
		}
		v := plan.Branches[0]
		if v.Serves.Site != "quai" || v.Left == nil || v.Left.VMID != 1101 || v.Sealed != nil || v.Propose != failover.KeepAway || v.Parted.IsZero() {
			t.Errorf("branches of %s: %+v", name, v)
		}
	}
	for _, bad := range []api.FailoverRequest{
		{Failback: "nuage"},
		{Failback: "nuage", Keep: "both"},
		{Failback: "nowhere", Keep: failover.KeepAway},
		{Failback: "structure:nuage", Keep: failover.KeepAway},
		{Failback: "site:quai", Keep: failover.KeepAway},
		{Failback: "nuage", Keep: failover.KeepAway, To: "quai"},
		{Failback: "nuage", Keep: failover.KeepAway, Switchover: "nuage"},
		{Failback: "nuage", Keep: failover.KeepAway, At: b.Now().Add(-time.Hour)},
		{Failback: "nuage", Keep: failover.KeepAway, Stop: []failover.GuestID{"nobody"}},
		{Failback: "site:moulin", Keep: failover.KeepAway, Only: []failover.GuestID{"wiki"}},
		{Failback: "nuage", Keep: failover.KeepAway, Replace: []string{"pve-moulin/1102"}},
		{Failback: "nuage", Keep: failover.KeepHome, Replace: []string{"pve-moulin/1101"}},
		{Failback: "nuage", Undo: true},
		{Failback: "nobody", Undo: true},
	} {
		if _, err := c.Failover(t.Context(), bad); err == nil {
			t.Errorf("Failover(%+v): accepted", bad)
		}
	}
	copied := b.State().HomePlace("nuage")
	named := api.FailoverRequest{Failback: "nuage", Keep: failover.KeepAway, Replace: []string{fmt.Sprintf("%s/%d", copied.Host, copied.VMID)}}
	if plan, err := c.PlanByHand(t.Context(), named); err != nil || plan.Assignments[0].Replace != 1101 {
		t.Errorf("PlanByHand(%+v): got %+v, %v, want it in place of 1101", named, plan.Assignments, err)
	}
	if _, err := c.AckSeal(t.Context(), "nuage"); err == nil {
		t.Error("AckSeal of a guest that is away: accepted")
	}
	if _, err := c.AckSeal(t.Context(), "nobody"); err == nil {
		t.Error("AckSeal of nobody: accepted")
	}
	done, err := c.Failover(t.Context(), api.FailoverRequest{Failback: "nuage", Keep: failover.KeepHome})
	if err != nil {
		t.Fatal(err)
	}
	op := b.State().Ops[done.Op]
	if op.Kind != failover.KindFailback || op.Phase != failover.OpCommitted || op.Plan.Loss.Keep != failover.KeepHome || op.Guests["nuage"].Source.Site != "quai" {
		t.Errorf("operation %+v, want a failback under way", op)
	}
}

// TestFailbackWaitsForItsTime: it holds no guest until then.
func TestFailbackWaitsForItsTime(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	later, err := c.Failover(t.Context(), api.FailoverRequest{Failback: "nuage", Keep: failover.KeepAway, At: b.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if op := b.State().Ops[later.Op]; op.Kind != failover.KindFailback || op.Phase != failover.OpScheduled || b.State().Guests["nuage"].Op != "" {
		t.Errorf("%s is %s %s, want it to wait", op.ID, op.Kind, op.Phase)
	}
}

// TestUndoByName: what came home of a site, a structure or by its own name goes back to where it served, for a day.
func TestUndoByName(t *testing.T) {
	b, err := apitest.BackHome(failover.KeepAway)
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	structure := b.State().Network.Guests["nuage"].Structure
	for _, name := range []string{"nuage", "guest:nuage", "site:moulin", "structure:" + string(structure)} {
		plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: name, Undo: true})
		if err != nil || len(plan.Assignments) != 1 || plan.Assignments[0].Guest != "nuage" || plan.Assignments[0].Target != "quai" {
			t.Errorf("undo %s: got %+v, %v; want nuage back at quai", name, plan.Assignments, err)
		}
	}
	for _, name := range []string{"nobody", "site:quai", "structure:nuage"} {
		if _, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: name, Undo: true}); err == nil {
			t.Errorf("undo %s: planned", name)
		}
	}
	b.Advance(failover.CommitWindow + time.Hour)
	if err := b.Apply(failover.SetPause{Reason: "the log's time goes on"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: "nuage", Undo: true}); err == nil || !strings.Contains(err.Error(), failover.CodeUndoLate) {
		t.Errorf("a day later: %v, want %s", err, failover.CodeUndoLate)
	}
}

// TestUndoOfKeepHome: the copy that was left away serves again, by any of its names, however late; what is described are the
// two copies. A guest whose undo is another one is named by itself.
func TestUndoOfKeepHome(t *testing.T) {
	b, err := apitest.BackHome(failover.KeepHome)
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	b.Advance(failover.CommitWindow + time.Hour)
	if err := b.Apply(failover.SetPause{Reason: "the log's time goes on"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nuage", "site:moulin"} {
		plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: name, Undo: true})
		if err != nil || len(plan.Assignments) != 1 || plan.Assignments[0].Keep != failover.KeepBack || plan.Assignments[0].Target != "quai" {
			t.Fatalf("undo %s: %+v, %v", name, plan.Assignments, err)
		}
		if len(plan.Branches) != 1 || plan.Branches[0].Left == nil || plan.Branches[0].Left.VMID != 91000 || plan.Branches[0].Sealed == nil || plan.Branches[0].Serves.Site != "moulin" {
			t.Errorf("undo %s: described as %+v", name, plan.Branches)
		}
	}
	if _, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: "nuage", Keep: failover.KeepBack}); err == nil {
		t.Error("a failback that keeps back is planned: that is an undo")
	}
}

// TestWhoIsCutOffSaysSo: an agent that reaches too few others answers at once that nobody leads. It knows nothing of
// where guests live by now, and what it forwards is heard by nobody, or is not known to be.
func TestWhoIsCutOffSaysSo(t *testing.T) {
	b := awayBackend(t)
	b.LocalFunc = func() failover.LocalView { return failover.LocalView{Site: "moulin"} }
	b.ProposeFunc = func(c failover.Command) (failover.Stamp, error) {
		t.Errorf("%T is proposed", c)
		return failover.Stamp{}, failover.ErrUnknown
	}
	c := serve(t, &root, api.Options{Backend: b})
	for name, ask := range map[string]func() error{
		"plan": func() error {
			_, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: "moulin", Keep: failover.KeepAway})
			return err
		},
		"run": func() error {
			_, err := c.Failover(t.Context(), api.FailoverRequest{Failback: "moulin", Keep: failover.KeepAway})
			return err
		},
		"ack":   func() error { _, err := c.AckSeal(t.Context(), "nuage"); return err },
		"pause": func() error { _, err := c.Pause(t.Context(), api.PauseRequest{Reason: "night"}); return err },
	} {
		if err := ask(); !errors.Is(err, failover.ErrNoLeader) {
			t.Errorf("%s: got %v, want %v", name, err, failover.ErrNoLeader)
		}
	}
	b.LocalFunc = func() failover.LocalView { // an election is under way
		return failover.LocalView{Site: "moulin", Reachable: []failover.SiteID{"quai"}}
	}
	if _, err := c.PlanByHand(t.Context(), api.FailoverRequest{Failback: "moulin", Keep: failover.KeepAway}); err != nil {
		t.Errorf("plan while the others vote: %v", err)
	}
}

// TestCopiesAreClearedAway: what a guest has left is listed with what may be done with it,
// removed only by a person's word for one copy, and its branch is given up last.
func TestCopiesAreClearedAway(t *testing.T) {
	b, err := apitest.BackHome(failover.KeepHome)
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	left := func() failover.CopyStands {
		g, err := c.Guest(t.Context(), "nuage")
		if err != nil || len(g.Left) != 1 {
			t.Fatalf("left %+v, %v, want the copy at quai", g.Left, err)
		}
		return g.Left[0]
	}
	stands := left()
	if stands.Site != "quai" || stands.Theirs || stands.Sealed == nil || stands.Remove.Code != failover.CodeNotAcked {
		t.Errorf("left %+v, want sealed and not acknowledged", stands)
	}
	this := api.RemoveRequest{Host: stands.Host, VMID: stands.VMID}
	for _, bad := range []api.RemoveRequest{this, {Host: stands.Host, VMID: 1}, {}} {
		if _, err := c.RemoveCopy(t.Context(), "nuage", bad); err == nil {
			t.Errorf("RemoveCopy(%+v): accepted", bad)
		}
	}
	if _, err := c.AckSeal(t.Context(), "nuage"); err != nil {
		t.Fatal(err)
	}
	if stands = left(); !stands.Remove.IsZero() || !stands.Until.Equal(b.Now().Add(failover.KeepSealed)) {
		t.Errorf("acknowledged: %+v, want removable, and kept for 30 days", stands)
	}
	if _, err := c.RemoveCopy(t.Context(), "nobody", this); err == nil {
		t.Error("RemoveCopy of nobody: accepted")
	}
	done, err := c.RemoveCopy(t.Context(), "nuage", this)
	if err != nil || b.State().Ops[done.Op].Kind != failover.KindRemoval {
		t.Fatalf("RemoveCopy: %+v, %v", done, err)
	}
	if err := b.Finish("nuage"); err != nil {
		t.Fatal(err)
	}
	line := api.GiveUpRequest{Lineage: stands.Lineage}
	if _, err := c.GiveUpSeal(t.Context(), "nuage", line); err == nil {
		t.Error("GiveUpSeal before its retention: accepted")
	}
	b.Advance(failover.KeepSealed)
	if err := b.Apply(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", AsOf: b.State().Index}}); err != nil {
		t.Fatal(err)
	}
	if done, err = c.GiveUpSeal(t.Context(), "nuage", line); err != nil || b.Finish("nuage") != nil {
		t.Fatalf("GiveUpSeal: %+v, %v", done, err)
	}
	if left := left(); left.Sealed != nil || !left.Gone {
		t.Errorf("left %+v, want gone and not sealed", left)
	}
}

// TestForkByTheAPI: of a copy that was left alone.
func TestForkByTheAPI(t *testing.T) {
	b, err := apitest.BackHome(failover.KeepAway)
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	if _, err := c.ForkCopy(t.Context(), "nuage", api.RemoveRequest{Host: "asso-moulin", VMID: 7}); err == nil {
		t.Error("ForkCopy of what it has not left: accepted")
	}
	if _, err := c.ForkCopy(t.Context(), "nuage", api.RemoveRequest{Host: "asso-moulin", VMID: 1101}); err != nil || b.Finish("nuage") != nil {
		t.Fatalf("ForkCopy: %v", err)
	}
	if g, err := c.Guest(t.Context(), "nuage"); err != nil || len(g.Left) != 1 || g.Left[0].Site != "quai" {
		t.Errorf("left %+v, %v, want the copy at quai alone", g.Left, err)
	}
}
