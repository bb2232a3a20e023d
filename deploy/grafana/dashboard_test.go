// Package grafana_test checks the dashboard: its form, and every expression of it against a
// real Prometheus that scrapes agents.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

type target struct {
	RefID      string `json:"refId"`
	Expr       string `json:"expr"`
	Datasource source `json:"datasource"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Targets     []target `json:"targets"`
	GridPos     struct{ X, Y, W, H int }
}

type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Annotations struct{ List []struct{ Name, Expr string } }
}

func read(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("wwwd.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expressions returns what the dashboard asks of Prometheus, by the place of it, with
// Grafana's variables as they would be.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	d := read(t)
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", "wwwd")
	out := map[string]string{}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			out[p.Title+" "+q.RefID] = fill.Replace(q.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		out["annotation "+a.Name] = fill.Replace(a.Expr)
	}
	if len(out) < 30 {
		t.Fatalf("%d expressions were found: this is not the dashboard", len(out))
	}
	return out
}

// TestDashboardHasItsForm: what Grafana would take without a word and show wrongly.
func TestDashboardHasItsForm(t *testing.T) {
	d := read(t)
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if d.UID == "" || d.SchemaVersion < 30 || !slices.Equal(variables, []string{"datasource", "job"}) {
		t.Errorf("uid %q, schema %d, variables %v", d.UID, d.SchemaVersion, variables)
	}
	ids, taken := map[int]bool{}, map[string]string{}
	for _, p := range d.Panels {
		name := fmt.Sprintf("panel %d (%s)", p.ID, p.Title)
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%s: its number is none, or another's", name)
		}
		ids[p.ID] = true
		if p.Type != "row" && p.Type != "text" && (p.Title == "" || p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%s says nothing of itself, or asks nothing", name)
		}
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s stands outside: %+v", name, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				at := fmt.Sprint(x, " ", y)
				if other := taken[at]; other != "" {
					t.Fatalf("%s stands on %s", name, other)
				}
				taken[at] = name
			}
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Expr == "" || q.Datasource != (source{"prometheus", "${datasource}"}) {
				t.Errorf("%s: query %+v", name, q)
			}
			refs[q.RefID] = true
		}
	}
}
