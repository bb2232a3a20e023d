package api_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestRetireSite: only a lost site, whose guests all live elsewhere, and only by its name.
func TestRetireSite(t *testing.T) {
	b := awayBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	if _, err := c.RetireSite(t.Context(), "moulin", api.RetireRequest{Confirm: "moulin"}); err == nil {
		t.Error("RetireSite of one that lives: accepted")
	}
	spec := *b.State().Network
	spec.Guests = map[failover.GuestID]network.Guest{"nuage": spec.Guests["nuage"]}
	spec.Structures = maps.Clone(spec.Structures)
	cellar := spec.Structures["le-moulin"]
	cellar.VLAN += 500
	spec.Structures["la-cave"] = cellar
	if err := b.Apply(failover.ApplyNetwork{Spec: &spec, IfVersion: b.State().NetworkVersion}); err != nil {
		t.Fatal(err)
	}
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	before := b.State().NetworkVersion
	plan, err := c.RetireSite(t.Context(), "moulin", api.RetireRequest{DryRun: true})
	if err != nil || len(plan.Guests) != 1 || len(plan.Changes) == 0 || b.State().NetworkVersion != before || !slices.Equal(plan.Empty, []failover.StructureID{"la-cave", "les-archives"}) {
		t.Fatalf("dry run: %+v, %v", plan, err)
	}
	for _, bad := range []api.RetireRequest{{}, {Confirm: "quai"}} {
		if _, err := c.RetireSite(t.Context(), "moulin", bad); err == nil {
			t.Errorf("RetireSite(%+v): accepted", bad)
		}
	}
	if _, err := c.RetireSite(t.Context(), "nowhere", api.RetireRequest{Confirm: "nowhere"}); err == nil {
		t.Error("RetireSite of no site: accepted")
	}
	done, err := c.RetireSite(t.Context(), "moulin", api.RetireRequest{Confirm: "moulin"})
	if err != nil || done.Version == before || b.State().Network.Home("nuage") != "quai" {
		t.Errorf("RetireSite: %+v, %v; home %s", done, err, b.State().Network.Home("nuage"))
	}
}
