package routeros_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/lab/routeros"
)

func config(policies ...string) routeros.Config {
	return routeros.Config{
		Users: map[string]routeros.User{"agent": {Password: "geheim", Policies: policies}},
		Rows: map[string][]routeros.Row{
			routeros.Ethernet: {{"name": "ether2", "disabled": "false"}, {"name": "ether3", "disabled": "false"}},
			routeros.Names:    {{"name": "assos.example", "type": "FWD", "forward-to": "10.0.0.1", "disabled": "false"}},
		},
	}
}

func newRouter(t *testing.T, c routeros.Config) *routeros.Router {
	t.Helper()
	r, err := routeros.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask makes one request and returns its status and its answer, "" for an empty one.
func ask(r *routeros.Router, method, at, body string) (int, string) {
	req := httptest.NewRequest(method, at, strings.NewReader(body))
	req.SetBasicAuth("agent", "geheim")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	b, _ := io.ReadAll(w.Body)
	return w.Code, strings.TrimSpace(string(b))
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, at, body string
		status                 int
		want                   string
	}{
		{"a list", "GET", "/rest/interface/ethernet", "", 200, `[{".id":"*1","disabled":"false","name":"ether2"},{".id":"*2","disabled":"false","name":"ether3"}]`},
		{"what fits", "GET", "/rest/interface/ethernet?name=ether3&.proplist=.id,mtu", "", 200, `[{".id":"*2"}]`},
		{"what fits not", "GET", "/rest/interface/ethernet?name=ether9", "", 200, `[]`},
		{"a row by its id", "GET", "/rest/interface/ethernet/*2", "", 200, `{".id":"*2","disabled":"false","name":"ether3"}`},
		{"a row by its name", "GET", "/rest/interface/ethernet/ether2", "", 200, `{".id":"*1","disabled":"false","name":"ether2"}`},
		{"a change", "PATCH", "/rest/interface/ethernet/*2", `{"disabled":"yes"}`, 200, `{".id":"*2","disabled":"true","name":"ether3"}`},
		{"no truth", "PATCH", "/rest/interface/ethernet/*2", `{"disabled":"perhaps"}`, 400, `{"detail":"input does not match any value of disabled","error":400,"message":"Bad Request"}`},
		{"no property", "PATCH", "/rest/interface/ethernet/*2", `{"nonexistent":"1"}`, 400, `{"detail":"unknown parameter nonexistent","error":400,"message":"Bad Request"}`},
		{"no JSON", "PATCH", "/rest/interface/ethernet/*2", `disabled=yes`, 400, `{"detail":"invalid JSON","error":400,"message":"Bad Request"}`},
		{"no row", "PATCH", "/rest/interface/ethernet/*9", `{}`, 404, `{"detail":"no such item","error":404,"message":"Not Found"}`},
		{"no new port", "PUT", "/rest/interface/ethernet", `{"name":"ether9"}`, 400, `{"detail":"no such command or directory (add)","error":400,"message":"Bad Request"}`},
		{"a port stays", "DELETE", "/rest/interface/ethernet/*2", "", 406, `{"detail":"no such command or directory (remove)","error":406,"message":"Not Acceptable"}`},
		{"a new name", "PUT", "/rest/ip/dns/static", `{"name":"nuage.assos.example","address":"10.0.0.5"}`, 201, `{".id":"*4","address":"10.0.0.5","disabled":"false","name":"nuage.assos.example"}`},
		{"a name is removed", "DELETE", "/rest/ip/dns/static/*3", "", 204, ""},
		{"no peers", "GET", "/rest/interface/wireguard/peers", "", 200, `[]`},
		{"no menu", "GET", "/rest/system/toaster", "", 400, `{"detail":"no such command or directory (system/toaster)","error":400,"message":"Bad Request"}`},
		{"no method", "POST", "/rest/ip/dns/static", "{}", 405, `{"error":405,"message":"Method Not Allowed"}`},
		{"no REST", "GET", "/webfig", "", 404, `{"error":404,"message":"Not Found"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, got := ask(newRouter(t, config(routeros.PolicyREST, routeros.PolicyRead, routeros.PolicyWrite)), c.method, c.at, c.body)
			if status != c.status || got != c.want {
				t.Errorf("%d %s, want %d %s", status, got, c.status, c.want)
			}
		})
	}
}

// TestWhoMay: who is not known gets nothing, and a group without a policy is refused by the console's words.
func TestWhoMay(t *testing.T) {
	r := newRouter(t, config(routeros.PolicyREST, routeros.PolicyRead))
	if status, got := ask(r, "PATCH", "/rest/interface/ethernet/*1", `{"disabled":"true"}`); status != 500 || !strings.Contains(got, "not enough permissions (9)") || r.Off("ether2") {
		t.Errorf("without write: %d %s, off %t", status, got, r.Off("ether2"))
	}
	if status, got := ask(r, "GET", "/rest/interface/ethernet", ""); status != 200 {
		t.Errorf("a read: %d %s", status, got)
	}
	if status, _ := ask(newRouter(t, config(routeros.PolicyRead)), "GET", "/rest/interface/ethernet", ""); status != 500 {
		t.Errorf("without rest-api: %d", status)
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/rest/interface/ethernet", nil)
	req.SetBasicAuth("agent", "wrong")
	r.ServeHTTP(w, req)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("with another password: %d", w.Code)
	}
}

// TestWhatWasToldOutlivesThePower: the rows of a file are those that were last written, and ids are new.
func TestWhatWasToldOutlivesThePower(t *testing.T) {
	c := config(routeros.PolicyREST, routeros.PolicyRead, routeros.PolicyWrite)
	c.File = filepath.Join(t.TempDir(), "router", "rows.json")
	r := newRouter(t, c)
	for _, step := range [][3]string{
		{"PATCH", "/rest/interface/ethernet/*2", `{"disabled":true}`},
		{"PUT", "/rest/ip/dns/static", `{"name":"nuage.assos.example","address":"10.0.0.5","ttl":60}`},
		{"DELETE", "/rest/ip/dns/static/*3", ""},
	} {
		if status, got := ask(r, step[0], step[1], step[2]); status >= 300 {
			t.Fatalf("%v: %d %s", step, status, got)
		}
	}
	again := newRouter(t, c)
	if !again.Off("ether3") || again.Off("ether2") || again.Off("ether9") {
		t.Errorf("ether2 off %t, ether3 off %t", again.Off("ether2"), again.Off("ether3"))
	}
	_, body := ask(again, "GET", "/rest/ip/dns/static?.proplist=name,address,ttl", "")
	var got []routeros.Row
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]routeros.Row{{"name": "nuage.assos.example", "address": "10.0.0.5", "ttl": "60"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := again.Enable("ether3"); err != nil || again.Off("ether3") {
		t.Errorf("enabled: %v, off %t", err, again.Off("ether3"))
	}
	if err := again.Enable("ether9"); err == nil {
		t.Error("a port that is not there was enabled")
	}
	if newRouter(t, c).Off("ether3") {
		t.Error("what a person typed was forgotten")
	}
}

func TestNoSuchMenu(t *testing.T) {
	if _, err := routeros.New(routeros.Config{Rows: map[string][]routeros.Row{"system/toaster": {{}}}}); err == nil {
		t.Error("a menu that is not played was taken")
	}
}
