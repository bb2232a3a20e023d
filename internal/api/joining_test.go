package api_test

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/api"
)

type redeemer func(api.RedeemRequest) (api.Redeemed, error)

func (f redeemer) Redeem(_ context.Context, req api.RedeemRequest, _ netip.AddrPort, _ api.JoinToken) (api.Redeemed, error) {
	return f(req)
}

// Who has no certificate reaches one route, with a small body and a token that reads as
// one; the answer is as described.
func TestJoinServer(t *testing.T) {
	asked := 0
	h := api.NewJoinServer(redeemer(func(api.RedeemRequest) (api.Redeemed, error) {
		asked++
		return api.Redeemed{Certificate: "PEM"}, nil
	}), quiet()).Handler
	token := api.NewJoinToken(strings.Repeat("ab", 32)).String()
	good := `{"token":"` + token + `","site":"late","server_id":"x","address":"10.77.9.1:9977","request":"PEM"}`
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"good", http.MethodPost, "/v1/join", good, http.StatusOK},
		{"no token", http.MethodPost, "/v1/join", `{"address":"10.77.9.1:9977"}`, http.StatusBadRequest},
		{"no address", http.MethodPost, "/v1/join", strings.Replace(good, "10.77.9.1:9977", "0.0.0.0:9977", 1), http.StatusBadRequest},
		{"nonsense", http.MethodPost, "/v1/join", "\x00", http.StatusBadRequest},
		{"large", http.MethodPost, "/v1/join", good + strings.Repeat(" ", 32<<10), http.StatusRequestEntityTooLarge},
		{"read", http.MethodGet, "/v1/join", "", http.StatusNotFound},
		{"another route", http.MethodGet, "/v1/status", "", http.StatusNotFound},
		{"a route of agents", http.MethodPost, "/v1/raft/authority", "{}", http.StatusNotFound},
		{"a file", http.MethodGet, "/..%2f..%2fetc%2fpasswd", "", http.StatusNotFound},
	} {
		w := call(h, nil, tt.method, tt.path, []byte(tt.body))
		if w.Code != tt.want {
			t.Errorf("%s: status %d, want %d: %.200s", tt.name, w.Code, tt.want, w.Body)
		}
		if tt.path == "/v1/join" && tt.method == http.MethodPost {
			conforms(t, readOpenAPI(t), "POST /v1/join", w)
		}
		if bytes.Contains(w.Body.Bytes(), []byte(token)) {
			t.Errorf("%s: the answer repeats the token", tt.name)
		}
	}
	if asked != 1 {
		t.Errorf("%d requests got through, want the good one", asked)
	}
}
