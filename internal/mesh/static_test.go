package mesh_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// TestRouterStaticNames reads what RouterOS 7.20 answers for its static DNS entries: those that are in use, with nothing
// of their comments.
func TestRouterStaticNames(t *testing.T) {
	r := newRouter(t)
	r.rows = []map[string]string{
		{".id": "*1", "name": "nuage.assos.example", "address": "10.10.10.5", "ttl": "1d", "disabled": "false", "dynamic": "false", "comment": "the code of the door is 4711"},
		{".id": "*2", "name": "nuage.assos.example", "type": "AAAA", "address": "fd00::5", "ttl": "1m", "disabled": "false"},
		{".id": "*3", "regexp": "^old[.]", "type": "NXDOMAIN", "disabled": "false"},
		{".id": "*4", "name": "assos.example", "type": "FWD", "forward-to": "10.77.1.1", "match-subdomain": "true", "disabled": "false"},
		{".id": "*5", "name": "compta.assos.example", "type": "CNAME", "cname": "moulin.site.assos.example", "disabled": "false"},
		{".id": "*6", "name": "off.assos.example", "address": "10.10.10.6", "disabled": "true"},
		{".id": "*7", "name": "assos.example", "type": "TXT", "text": "secret", "disabled": "false"},
	}
	got, err := open(t, r.config()).StaticNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []mesh.StaticName{
		{Name: "nuage.assos.example", Type: "A", Value: "10.10.10.5"},
		{Name: "nuage.assos.example", Type: "AAAA", Value: "fd00::5"},
		{Regexp: "^old[.]", Type: "NXDOMAIN"},
		{Name: "assos.example", Type: "FWD", Value: "10.77.1.1", Subdomains: true},
		{Name: "compta.assos.example", Type: "CNAME", Value: "moulin.site.assos.example"},
		{Name: "assos.example", Type: "TXT"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]mesh.StaticName(nil), read(t, r, `[]`)); diff != "" {
		t.Errorf("without entries (-want +got):\n%s", diff)
	}
}

func read(t *testing.T, r *router, raw string) []mesh.StaticName {
	t.Helper()
	r.raw = raw
	got, err := open(t, r.config()).StaticNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRouterStaticNamesRefused: each refusal has its kind, and no text has the password.
func TestRouterStaticNamesRefused(t *testing.T) {
	for want, fail := range map[error]func(http.ResponseWriter) bool{
		mesh.ErrForbidden: func(w http.ResponseWriter) bool {
			answer(w, 500, `{"detail":"not enough permissions (9)","error":500,"message":"Internal Server Error"}`)
			return true
		},
		mesh.ErrNoMenu: func(w http.ResponseWriter) bool { answer(w, 404, `{"error":404,"message":"Not Found"}`); return true },
		mesh.ErrAnswer: func(w http.ResponseWriter) bool { answer(w, 200, `<html>`); return true },
	} {
		r := newRouter(t)
		r.fail = fail
		_, err := open(t, r.config()).StaticNames(t.Context())
		if !errors.Is(err, want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
