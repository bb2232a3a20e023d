package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestSiteRetire: the screen says what is lost, and the site's name has to be typed.
func TestSiteRetire(t *testing.T) {
	b, err := apitest.Away()
	if err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	if r := wwwctl(t.Context(), socket, "site retire moulin --confirm=moulin"); r.code != exitRefused || !strings.Contains(r.errOut, "is not lost") {
		t.Errorf("of a site that lives: code %d\n%s", r.code, r.errOut)
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
	if r := wwwctl(t.Context(), socket, "site retire moulin --dry-run"); r.code != 0 || !strings.Contains(r.out, "is lost with its disks") || !strings.Contains(r.out, "la-cave has no guests: moulin stays its home") {
		t.Errorf("dry run: code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if r := wwwctl(t.Context(), socket, "site retire moulin --yes"); r.code != exitUnconfirmed {
		t.Errorf("without the name: code %d", r.code)
	}
	if r := wwwctl(t.Context(), socket, "site raise moulin"); r.code != exitUsage {
		t.Errorf("another verb: code %d", r.code)
	}
	r := wwwctl(t.Context(), socket, "site retire moulin", input("moulin\n"))
	if r.code != 0 || !strings.Contains(r.errOut, "backup job of their new host") || !strings.Contains(r.errOut, "give la-cave another home:") || b.State().Network.Home("nuage") != "quai" {
		t.Errorf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
}
