package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// FuzzRequest sends hostile bodies to every route that takes one: the answer
// is always JSON, and never an internal error.
func FuzzRequest(f *testing.F) {
	routes := []string{
		"/v1/failover", "/v1/network", "/v1/pause", "/v1/ops/op-1/cancel", "/v1/raft/confirm", "/v1/raft/join", "/v1/raft/propose",
	}
	for i := range routes {
		f.Add(uint(i), []byte(`{"site":"moulin","confirm":"moulin","for":1e9}`))
		f.Add(uint(i), []byte(`{"spec":{"sites":{"a":{"mesh":"10.0.0.1"}}},"if_version":1}`))
		f.Add(uint(i), []byte(`{"token":{"op":"op-1","guest":"g","step":"start","epoch":{"index":-1}}}`))
	}
	f.Fuzz(func(t *testing.T, route uint, body []byte) {
		b, err := apitest.New()
		if err != nil {
			t.Fatal(err)
		}
		path := routes[route%uint(len(routes))]
		actor := root
		if strings.HasPrefix(path, "/v1/raft/") {
			actor = agent
		}
		h := as(&actor, api.NewHandler(api.Options{Backend: b, Raft: &fakeRaft{}, Log: quiet()}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(string(body))))
		if !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
			t.Errorf("POST %s %q: got %d %q", path, body, w.Code, w.Body)
		}
	})
}
