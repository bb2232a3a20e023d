package main

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

func TestPlanExitCode(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	if got := wwwctl(t.Context(), socket, "plan moulin --exit-code"); got.code != exitOK {
		t.Errorf("everything can be saved: exit %d\n%s", got.code, got.errOut)
	}
	for _, site := range []failover.SiteID{"fabrique", "quai"} {
		if err := b.Apply(failover.ReportReadiness{Ready: failover.Readiness{Site: site, MemoryFree: 32 << 30, StorageFree: 1 << 40}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := wwwctl(t.Context(), socket, "plan moulin --exit-code"); got.code != exitNotSaved {
		t.Errorf("no copy left: exit %d, want %d\n%s", got.code, exitNotSaved, got.out)
	}
}

// TestPlanOfAnything: a site, a host and a guest are told apart by their names; what automation
// would do for a structure's dead host is a rescue.
func TestPlanOfAnything(t *testing.T) {
	socket := agentOf(t, newBackend(t))
	for _, c := range []struct {
		line string
		code int
		want []string
	}{
		{"plan moulin", exitOK, []string{"If moulin were lost now", "By hand: wwwctl failover moulin"}},
		{"plan nuage", exitOK, []string{"If guest nuage were lost now", "By hand: wwwctl failover --guest nuage"}},
		{"plan pve-moulin", exitOK, []string{"If host pve-moulin were lost now", "By hand: wwwctl"}},
		{"plan nowhere", exitFailure, []string{"WWW-3005", "site, host or guest nowhere"}},
		{"plan --host nowhere", exitFailure, []string{"WWW-3005", "host nowhere"}},
	} {
		got := wwwctl(t.Context(), socket, c.line)
		for _, want := range c.want {
			if got.code != c.code || !strings.Contains(got.out+got.errOut, want) {
				t.Errorf("%s: exit %d, want %d and %q:\n%s%s", c.line, got.code, c.code, want, got.out, got.errOut)
			}
		}
	}
}
