package mesh_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// switchboard answers the menu /interface/ethernet as RouterOS 7 does: a list filtered by
// name, PATCH on an id answers the changed object.
type switchboard struct {
	disabled map[string]string // by name
	deaf     bool              // takes a change and does not carry it out
	refuse   string            // detail of a refusal of changes
	changes  int
}

func (b *switchboard) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	const menu = "/rest/interface/ethernet"
	w.Header().Set("Content-Type", "application/json")
	switch {
	case req.Method == http.MethodGet && req.URL.Path == menu:
		out := []map[string]string{}
		if name := req.URL.Query().Get("name"); b.disabled[name] != "" {
			out = append(out, map[string]string{".id": "*" + name, "name": name, "disabled": b.disabled[name]})
		}
		_ = json.NewEncoder(w).Encode(out)
	case req.Method == http.MethodPatch && strings.HasPrefix(req.URL.Path, menu+"/*"):
		if b.refuse != "" {
			answer(w, 400, `{"error":400,"message":"Bad Request","detail":"`+b.refuse+`"}`)
			return
		}
		b.changes++
		name := strings.TrimPrefix(req.URL.Path, menu+"/*")
		body, _ := io.ReadAll(req.Body)
		var set map[string]string
		if err := json.Unmarshal(body, &set); err != nil || len(set) != 1 || req.Header.Get("Content-Type") != "application/json" {
			answer(w, 400, `{"error":400,"message":"Bad Request","detail":"unknown parameter"}`)
			return
		}
		if !b.deaf {
			b.disabled[name] = set["disabled"]
		}
		answer(w, 200, `{".id":"*`+name+`"}`)
	default:
		answer(w, 404, `{"error":404,"message":"Not Found"}`)
	}
}

func TestPort(t *testing.T) {
	for _, tc := range []struct {
		name    string
		board   switchboard
		port    string
		off     bool
		changes int
		err     error
	}{
		{"disabled", switchboard{}, "ether3", true, 1, nil},
		{"deaf", switchboard{deaf: true}, "ether3", false, 1, nil},
		{"read only", switchboard{refuse: "not enough permissions (9)"}, "ether3", false, 0, mesh.ErrForbidden},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.board.disabled = map[string]string{"ether3": "false", "ether4": "false"}
			server := httptest.NewTLSServer(&tc.board)
			t.Cleanup(server.Close)
			r := router{Server: server}
			p := mesh.Port{Router: open(t, r.config()), Name: tc.port}
			if off, _, err := p.Off(t.Context()); off || err != nil {
				t.Fatalf("before: off %t, %v", off, err)
			}
			if err := p.PutOff(t.Context()); !errors.Is(err, tc.err) {
				t.Errorf("PutOff: %v, want %v", err, tc.err)
			}
			off, how, err := p.Off(t.Context())
			if off != tc.off || err != nil || off && !strings.Contains(how, "ether3") {
				t.Errorf("after: off %t, %q, %v, want %t", off, how, err, tc.off)
			}
			if tc.board.changes != tc.changes || tc.board.disabled["ether4"] != "false" {
				t.Errorf("%d changes, ether4 disabled %q", tc.board.changes, tc.board.disabled["ether4"])
			}
			none := mesh.Port{Router: p.Router, Name: "ether9"}
			if off, _, err := none.Off(t.Context()); off || err == nil {
				t.Errorf("a port that is not there: off %t, %v", off, err)
			}
		})
	}
}
