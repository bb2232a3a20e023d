package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// probe is a root helper that can be asked only.
type probe func(id int) error

var _ agent.HelperProbe = probe(nil)

// Probe implements agent.HelperProbe.
func (p probe) Probe(_ context.Context, id int) error { return p(id) }

func privilegesOf(r doctor.Report) []string {
	var out []string
	for _, f := range r.Items {
		if f.Category == doctor.Privileges && f.Severity != doctor.OK {
			out = append(out, strings.TrimSpace(string(f.Severity)+" "+f.Code+" "+f.Subject))
		}
	}
	return out
}

// TestDoctorAsksTheRootHelper about an id for restored guests that no guest has.
func TestDoctorAsksTheRootHelper(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: vmid + 9, Kind: "ct", Name: "squatter"})
	var asked []int
	var answer error
	c.doctor.Helper = probe(func(id int) error { asked = append(asked, id); return answer })
	if got := privilegesOf(c.round()); len(got) != 0 || !slices.Equal(asked, []int{vmid + 8}) {
		t.Errorf("asked about %v and told %q, want about %d and nothing to tell", asked, got, vmid+8)
	}
	answer = errors.New("no root helper: dial unix /run/www/helper.sock: no such file")
	r := c.round()
	if d := cmp.Diff([]string{"WARNING WWW-2116 root helper"}, privilegesOf(r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, f := range r.Items {
		if f.Code == doctor.CodeNoHelper && (!strings.Contains(f.Text, "(asked about id 90008): no root helper: dial") || !strings.Contains(f.Remedy, "90000-90009 at ids")) {
			t.Errorf("text %q, remedy %q: want the cause and the ids to write down", f.Text, f.Remedy)
		}
	}
}

// TestDoctorAsksNoHelperBlindly: without the list of guests no id is known to be free.
func TestDoctorAsksNoHelperBlindly(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.doctor.Helper = probe(func(id int) error { t.Errorf("asked about %d", id); return nil })
	if err := c.faults.Add(lab.Fault{Match: lab.Match{Path: "*/lxc"}, Effect: lab.EffectStatus, Status: 500, Text: "got timeout"}); err != nil {
		t.Fatal(err)
	}
	c.round()
}

// TestMachineThatServesNobodyIsAnError, whatever else could not be read of it.
func TestMachineThatServesNobodyIsAnError(t *testing.T) {
	for where, want := range map[string]string{"pve": "ERROR WWW-2117 pve pve-quai", "pbs": "ERROR WWW-2117 pbs backups"} {
		for _, status := range []int{401, 503} {
			c := newClinic(t, "9.2.1")
			if err := c.faults.Add(lab.Fault{Where: where, Effect: lab.EffectStatus, Status: status, Text: "no"}); err != nil {
				t.Fatal(err)
			}
			if got := privilegesOf(c.round()); !slices.Contains(got, want) {
				t.Errorf("%s answers %d: told %q, want %q", where, status, got, want)
			}
		}
	}
}
