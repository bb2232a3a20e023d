package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// examiner is what an agent read; refresh runs when a new round is wanted.
type examiner struct {
	facts   *doctor.Facts
	refresh func(context.Context) error
}

func (e *examiner) Facts() *doctor.Facts { return e.facts }

func (e *examiner) Leads(*failover.State) []doctor.Lead {
	return []doctor.Lead{{Name: "nuage.moulin.assos.example", Zone: "assos.example", Site: "moulin"}}
}

func (e *examiner) Refresh(ctx context.Context) error { return e.refresh(ctx) }

func codesOf(d api.Doctor, c doctor.Category) []string {
	var out []string
	for _, f := range d.Items {
		if f.Category == c {
			out = append(out, f.Code)
		}
	}
	return out
}

func TestDoctorAnswers(t *testing.T) {
	b := newBackend(t)
	read := b.Now().Add(-time.Minute)
	e := &examiner{facts: &doctor.Facts{Ended: read, Access: "token file: mode 0644"}}
	e.refresh = func(context.Context) error {
		e.facts = &doctor.Facts{Ended: b.Now(), Node: "pve-fabrique", Release: "7.4", Permissions: map[string]map[string]bool{}}
		return nil
	}
	c := serve(t, &agent, api.Options{Backend: b, Doctor: e, Files: fakeFiles{}})
	d, err := c.Doctor(t.Context(), api.DoctorQuery{})
	if err != nil || d.Site != "fabrique" || !d.ReadAt.Equal(read) || d.Index != b.State().Index || d.Stale {
		t.Fatalf("Doctor: got %+v, %v", d, err)
	}
	if got := codesOf(d, doctor.Privileges); len(got) != 1 || got[0] != doctor.CodeNoAccess {
		t.Errorf("privileges: got %q, want the cause why nothing was read", got)
	}
	for _, category := range doctor.Categories() {
		if len(codesOf(d, category)) == 0 {
			t.Errorf("category %s says nothing", category)
		}
	}
	d, err = c.Doctor(t.Context(), api.DoctorQuery{Category: doctor.Privileges, Fresh: api.NewRound})
	if err != nil || !d.ReadAt.Equal(b.Now()) || len(d.Items) != 1 || d.Items[0].Code != doctor.CodeBadRelease {
		t.Errorf("Doctor(privileges, fresh): got %+v, %v, want the new round's one finding", d, err)
	}
}

// TestDoctorWithoutMachines: State alone answers for every site.
func TestDoctorWithoutMachines(t *testing.T) {
	d, err := serve(t, &root, api.Options{Backend: newBackend(t)}).Doctor(t.Context(), api.DoctorQuery{})
	if err != nil || !d.ReadAt.IsZero() || len(codesOf(d, doctor.Backups)) < 2 {
		t.Errorf("got %+v, %v, want the findings of State", d, err)
	}
	if got := codesOf(d, doctor.Keys); len(got) != 1 || got[0] != doctor.CodeNotYet {
		t.Errorf("keys: got %q, want that nothing was read yet", got)
	}
}

func TestDoctorRefusesNonsense(t *testing.T) {
	c := serve(t, &root, api.Options{Backend: newBackend(t)})
	for _, q := range []api.DoctorQuery{{Category: "fortune"}, {Fresh: "perhaps"}} {
		_, err := c.Doctor(t.Context(), q)
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != 400 {
			t.Errorf("Doctor(%+v): got %v, want it refused", q, err)
		}
	}
}

// TestDoctorWaitsForAFreshRoundWithLimit: a Proxmox that hangs keeps nobody waiting for ever.
func TestDoctorWaitsForAFreshRoundWithLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &examiner{facts: &doctor.Facts{}, refresh: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		h := as(&root, api.NewHandler(api.Options{Backend: newBackend(t), Doctor: e, Log: quiet()}))
		start := time.Now()
		status, body := request(h, "/v1/doctor?fresh=1&category=base")
		var d api.Doctor
		if err := api.Unmarshal(body, api.KindDoctor, &d); status != 200 || err != nil || !d.Stale || len(d.Items) == 0 {
			t.Errorf("status %d, %v, %+v: want the last round, marked stale", status, err, d)
		}
		if took := time.Since(start); took != api.DoctorWait {
			t.Errorf("waited %s, want %s", took, api.DoctorWait)
		}
	})
}

func request(h http.Handler, path string) (int, []byte) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.Bytes()
}
