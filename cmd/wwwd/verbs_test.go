package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// The verbs of the local socket, by which an agent begins, joins, leaves and rebuilds, are
// for whom the kernel has named and for nobody else; a body of any kind changes nothing.
func TestVerbsAreForPeopleHere(t *testing.T) {
	d := &daemon{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	reached := 0
	rest := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
	onboarding := &onboarding{d: d, done: make(chan struct{}, 1)}
	for name, actor := range map[string]*api.Actor{
		"nobody":  nil,
		"agent":   {Kind: api.ActorAgent, Name: "www://assos/quai/1"},
		"admin":   {Kind: api.ActorOperator, Name: "ada", Role: "admin"},
		"no kind": {},
	} {
		for _, path := range []string{"bootstrap", "join", "member", "leave", "recover", "../onboard/init", "../onboard/restore", "../onboard/join"} {
			h, path := d.localRoutes(rest), "/v1/cluster/"+path
			if after, ok := strings.CutPrefix(path, "/v1/cluster/../"); ok {
				h, path = onboarding.routes(), "/v1/"+after
			}
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"to":"10.77.1.1:9977","site":"quai","set":"removed","confirm":"quai"}`))
			if actor != nil {
				r = r.WithContext(api.WithActor(r.Context(), *actor))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), api.CodeNotAllowed) {
				t.Errorf("%s by %s: status %d, %s", path, name, w.Code, w.Body)
			}
		}
	}
	d.localRoutes(rest).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/status", nil))
	if reached != 1 {
		t.Error("the API is not reached through the socket's routes")
	}
}
