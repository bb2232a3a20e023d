package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// soundWithin is how long a new lab has for its first copies, and every agent for a fresh look at its machines.
const soundWithin = 90 * time.Second

// TestDoctorHasNothingToMendInASoundLab: what `wwwctl doctor` says at each site of a new network, as soon as its first
// backups are at the other sites, calls for nobody.
func TestDoctorHasNothingToMendInASoundLab(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("takes half a minute: set WWW_E2E=1")
	}
	r := realRoom(t, build(t), site.Embedded)
	ctx, cancel := context.WithTimeout(t.Context(), soundWithin)
	defer cancel()
	for _, name := range r.lab.Names() {
		client := r.agent(name)
		defer client.Close()
		for {
			report, err := client.Doctor(ctx, api.DoctorQuery{Fresh: api.NewRound})
			mend := toMend(report.Report)
			if err == nil && len(mend) == 0 && len(report.Items) >= len(doctor.Categories()) {
				r.say("%s: nothing to mend in %d findings", name, len(report.Items))
				break
			}
			if site.Sleep(ctx, time.Second) != nil {
				t.Errorf("at %s a person would have to mend, %v:", name, err)
				for _, f := range mend {
					t.Errorf("  %s %s %s at %s: %s", f.Severity, f.Code, f.Subject, f.Site, f.Text)
				}
				break
			}
		}
	}
}

// toMend are the findings that call for a person.
func toMend(r doctor.Report) (out []doctor.Finding) {
	for _, f := range r.Items {
		if f.Severity == doctor.Warning || f.Severity == doctor.Error {
			out = append(out, f)
		}
	}
	return out
}
