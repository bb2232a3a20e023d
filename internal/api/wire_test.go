package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func TestWireForm(t *testing.T) {
	paris := time.FixedZone("CET", 3600)
	st := failover.Status{
		Network: "assos", At: time.Date(2026, 11, 22, 3, 58, 11, 0, paris),
		Local: failover.LocalView{LastContact: 1500 * time.Millisecond},
		Sites: []failover.SiteView{{Site: "moulin", Level: failover.LevelAlert, Silence: 90 * time.Second}},
	}
	b, err := api.Marshal(api.KindStatus, st)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"apiVersion":"www/v1","kind":"Status","network":"assos"`, `"at":"2026-11-22T02:58:11Z"`,
		`"last_contact":1.5`, `"silence":90`, `"level":"alert"`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("Marshal: got %s, want it to contain %s", b, want)
		}
	}
	var back failover.Status
	if err := api.Unmarshal(b, api.KindStatus, &back); err != nil {
		t.Fatal(err)
	}
	st.At = st.At.UTC()
	if diff := cmp.Diff(st, back); diff != "" {
		t.Errorf("round trip (-sent +got):\n%s", diff)
	}
}

func TestRoundTripOfEveryView(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	s, now := b.State(), b.Now()
	st := failover.Explain(s, b.Local(), now)
	plan := api.Plan{Meta: api.Meta{At: now, Index: s.Index, From: "quai"}, Plan: failover.PlanFor(s, failover.Loss{Site: "moulin"}, now)}
	roundTrip(t, st)
	roundTrip(t, plan)
	roundTrip(t, api.GuestList{Items: failover.ExplainGuests(s, now)})
	roundTrip(t, api.Network{Spec: s.Network, Version: 4})
	if len(plan.Assignments) == 0 || plan.Assignments[0].Loss == 0 {
		t.Fatal("the plan holds no duration: this test proves nothing")
	}
}

func roundTrip[T any](t *testing.T, v T) {
	t.Helper()
	b, err := api.Marshal("Test", v)
	if err != nil {
		t.Fatalf("Marshal(%T): %v", v, err)
	}
	var back T
	if err := api.Unmarshal(b, "Test", &back); err != nil {
		t.Fatalf("Unmarshal(%T): %v", v, err)
	}
	again, err := api.Marshal("Test", back)
	if err != nil || string(again) != string(b) {
		t.Errorf("%T does not survive the wire: %v\n sent %s\n again %s", v, err, b, again)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":           ``,
		"html":            `<html>502</html>`,
		"cut":             `{"apiVersion":"www/v1","kind":"Status","sites":[`,
		"other kind":      `{"apiVersion":"www/v1","kind":"Plan"}`,
		"other version":   `{"apiVersion":"www/v2","kind":"Status"}`,
		"wrong type":      `{"apiVersion":"www/v1","kind":"Status","sites":"many"}`,
		"huge duration":   `{"apiVersion":"www/v1","kind":"Status","local":{"last_contact":1e300}}`,
		"text duration":   `{"apiVersion":"www/v1","kind":"Status","local":{"last_contact":"1s"}}`,
		"array":           `[]`,
		"null":            `null`,
		"deep":            strings.Repeat(`{"a":`, 20000),
		"two values":      `{"apiVersion":"www/v1","kind":"Status"} {}`,
		"unknown level":   `{"apiVersion":"www/v1","kind":"Status","sites":[{"level":"panic"}]}`,
		"duration object": `{"apiVersion":"www/v1","kind":"Status","local":{"last_contact":{}}}`,
	} {
		var st failover.Status
		if err := api.Unmarshal([]byte(in), api.KindStatus, &st); err == nil {
			t.Errorf("%s: Unmarshal accepted %.60s", name, in)
		}
	}
	var st failover.Status
	newer := `{"apiVersion":"www/v1","kind":"Status","network":"assos","added_later":{"x":[1,{"y":2}]}}`
	if err := api.Unmarshal([]byte(newer), api.KindStatus, &st); err != nil || st.Network != "assos" {
		t.Errorf("a key that a newer agent added: got %+v, %v, want it ignored", st, err)
	}
}

// FuzzUnmarshal feeds hostile answers to a client: an error or a value that
// can be written again, never a panic.
func FuzzUnmarshal(f *testing.F) {
	b, err := apitest.New()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := api.Marshal(api.KindStatus, failover.Explain(b.State(), b.Local(), b.Now()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"apiVersion":"www/v1","kind":"Status","local":{"last_contact":-1.5e-9}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var st failover.Status
		if err := api.Unmarshal(in, api.KindStatus, &st); err != nil {
			return
		}
		if _, err := api.Marshal(api.KindStatus, st); err != nil {
			t.Errorf("value read from %q cannot be written: %v", in, err)
		}
	})
}
