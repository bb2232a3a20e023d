package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// fakeAccess admits everybody.
type fakeAccess struct{}

func (fakeAccess) CreateToken(context.Context, failover.SiteID, time.Duration) (api.TokenMade, error) {
	return api.TokenMade{ID: "abc", Token: "www1.x", Until: apitest.Start(), Via: []string{"10.77.1.1:9977"}}, nil
}

func (fakeAccess) AdmitOperator(_ context.Context, name string, role failover.Role, _ time.Duration) (api.Login, error) {
	return api.Login{Network: "assos", Name: name, Role: role, Until: apitest.Start()}, nil
}
func (fakeAccess) SetMember(context.Context, failover.SiteID, string) error     { return nil }
func (fakeAccess) SetMemberHere(context.Context, failover.SiteID, string) error { return nil }
func (fakeAccess) StepDown(context.Context) (failover.SiteID, error)            { return "moulin", nil }

func (fakeAccess) Snapshot() ([]byte, error) { return []byte("state"), nil }

func (fakeAccess) Renew(context.Context, api.Actor, string) (string, error) { return "PEM", nil }

func (fakeAccess) Authority(context.Context, api.Actor) (api.AuthorityKey, error) {
	return api.AuthorityKey{Cert: "PEM", Key: "PEM"}, nil
}
func (fakeAccess) Leave(context.Context, api.Actor) error { return nil }
func (fakeAccess) StepDownHere(context.Context) error     { return nil }

// fakeFiles are those of a group of two.
type fakeFiles struct{}

func (fakeFiles) File() doctor.LocalFile {
	return doctor.LocalFile{Site: "fabrique", Version: "0.1.0", Digest: "ab", Advertise: "10.77.2.1:9977", Pins: map[string]string{"pve:x": "aa"}}
}

func (f fakeFiles) AskFiles(context.Context) map[failover.SiteID]doctor.Told {
	own := f.File()
	return map[failover.SiteID]doctor.Told{"fabrique": {File: &own}, "quai": {Why: "no answer"}}
}

// fakeBrowser has compared what it was asked for.
type fakeBrowser struct{}

func (fakeBrowser) Diff(_ context.Context, pair failover.FilePair, req api.DiffRequest) (failover.FileDiff, error) {
	return failover.FileDiff{
		Changes: []failover.FileChange{{Path: req.Path + "etc/hostname", Kind: failover.FileOnlySealed, Sealed: failover.FileState{Size: 7, MTime: pair.Sealed.Time}}},
		Unread:  []failover.UnreadDir{}, Dirs: 1,
	}, nil
}

func (fakeBrowser) Use(_ context.Context, _ failover.GuestID, of api.CopyUse) api.CopyUse {
	if of.Site == "quai" {
		of.Unread = "no answer"
		return of
	}
	of.From, of.Until, of.Written, of.Received = of.Since, of.Since.Add(time.Hour), 7<<20, 1<<20
	return of
}

// everything is a handler with every part.
func everything(b *apitest.Backend) http.Handler {
	return api.NewHandler(api.Options{Backend: b, Raft: &fakeRaft{}, Zones: &countingZones{}, Access: fakeAccess{}, Files: fakeFiles{}, Browser: fakeBrowser{}, Rates: api.NoRates(), Log: quiet()})
}

// filled is the path of a pattern with names that exist.
func filled(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	return method, strings.NewReplacer("{site}", "moulin", "{guest}", "nuage", "{op}", "op-1", "{action}", "ack", "{token}", "abc", "{operator}", "ada").Replace(path)
}

func call(h http.Handler, who *api.Actor, method, target string, body []byte) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	as(who, h).ServeHTTP(w, httptest.NewRequest(method, target, bytes.NewReader(body)))
	return w
}

// Nobody gets past any route without being known, and everybody only where their role
// allows, whatever they send.
func TestEveryRouteAsksWhoCalls(t *testing.T) {
	person := func(role failover.Role) *api.Actor {
		return &api.Actor{Kind: api.ActorOperator, Name: "ada", Role: role, Network: "assos"}
	}
	callers := map[string]*api.Actor{
		"nobody": nil, "viewer": person(failover.RoleViewer), "operator": person(failover.RoleOperator), "admin": person(failover.RoleAdmin),
		"local": &root, "agent": &agent, "no role": person("king"),
	}
	may := map[string][]string{
		reader: {"viewer", "operator", "admin", "local", "agent", "no role"}, operator: {"operator", "admin", "local"},
		admin: {"admin", "local"}, agentOnly: {"agent"},
	}
	for pattern, row := range routesDescribed {
		if row.who == anybody {
			continue // the join server; TestJoinServer
		}
		method, path := filled(pattern)
		for name, who := range callers {
			for _, body := range []string{"", `{"site":"quai","for":60}`} {
				got := call(everything(newBackend(t)), who, method, path, []byte(body)).Code
				if allowed := slices.Contains(may[row.who], name); allowed == (got == http.StatusForbidden) {
					t.Errorf("%s by %s: status %d, want allowed %v", pattern, name, got, allowed)
				}
			}
		}
	}
}

// A body that is too large is refused at every route that reads one, whoever sends it.
func TestOversizeIsRefused(t *testing.T) {
	large := append(bytes.Repeat([]byte(" "), api.MaxBody), "{}"...)
	for pattern, row := range routesDescribed {
		if row.body == nil || row.who == anybody {
			continue
		}
		who := &root
		if row.who == agentOnly {
			who = &agent
		}
		method, path := filled(pattern)
		w := call(everything(newBackend(t)), who, method, path, large)
		if w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "bytes") && !strings.Contains(w.Body.String(), "large") {
			t.Errorf("%s: status %d, %.200s", pattern, w.Code, w.Body)
		}
		if path == "/v1/network" || path == "/v1/raft/propose" {
			continue
		}
		if w := call(everything(newBackend(t)), who, method, path, large[api.MaxBody-(64<<10):]); w.Code < 400 {
			t.Errorf("%s with 64 KiB and more: status %d", pattern, w.Code)
		}
	}
}

// Names in a path are names and nothing else: no file is reached by them.
func TestPathsReachNoFiles(t *testing.T) {
	b := newBackend(t)
	page := api.NewPageHandler(b, time.Hour)
	for _, path := range []string{
		"/v1/sites/..%2f..%2f..%2fetc%2fpasswd", "/v1/guests/%2e%2e/%2e%2e/etc/passwd", "/v1/ops/..%5c..%5cetc/report", "/../../etc/passwd",
		"//etc/passwd", "/v1/../openapi.yaml", "/server.go", "/page.html", "/..%2fpage.go", "/page.css/../page.html", "/page.css%00.html", "/%2e%2e/%2e%2e/etc/passwd", "/v1/sites/moulin%00",
	} {
		for name, h := range map[string]http.Handler{"API": everything(b), "page": page} {
			w := call(h, &root, http.MethodGet, path, nil)
			if w.Code == http.StatusOK || strings.Contains(w.Body.String(), "root:") || strings.Contains(w.Body.String(), "package api") || strings.Contains(w.Body.String(), "{{") {
				t.Errorf("%s of the %s: status %d, %.100s", path, name, w.Code, w.Body)
			}
		}
	}
}

// described answers: the file's schemas fit what the handlers say, in health, in a
// loss, and while an operation runs; keys that the file does not know are an error.
func TestAnswersAreAsDescribed(t *testing.T) {
	doc := readOpenAPI(t)
	for name, prepare := range map[string]func(*apitest.Backend){
		"empty":   nil,
		"healthy": func(*apitest.Backend) {},
		"lost": func(b *apitest.Backend) {
			if err := b.Lose(); err != nil {
				t.Fatal(err)
			}
		},
		"operation": func(b *apitest.Backend) {
			if err := b.Lose(); err != nil {
				t.Fatal(err)
			}
			w := call(everything(b), &root, http.MethodPost, "/v1/failover", []byte(`{"site":"moulin","confirm":"moulin","reason":"test"}`))
			conforms(t, doc, "POST /v1/failover", w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := apitest.Empty()
			if prepare != nil {
				b = newBackend(t)
				prepare(b)
			}
			h, op := everything(b), "op-1"
			for id := range b.State().Ops {
				op = string(id)
			}
			for pattern, row := range routesDescribed {
				method, path := filled(pattern)
				if method != http.MethodGet || row.text != "" || row.kind == api.KindFileDiff { // TestFileDiff has a guest with a sealed branch
					continue
				}
				queries := map[string]string{"/v1/plan": "?site=moulin", "/v1/dns/plan": "?site=moulin", "/v1/simulate": "?lose=moulin", "/v1/dns": "?ask=1"}
				w := call(h, &root, method, strings.ReplaceAll(path, "op-1", op)+queries[path], nil)
				if exists := name == "operation" || name != "empty" && !strings.Contains(path, "op-1"); exists && w.Code != http.StatusOK {
					t.Errorf("%s: status %d\n%s", pattern, w.Code, w.Body)
				}
				conforms(t, doc, pattern, w)
			}
		})
	}
}

// Requests as the description has them are understood, and their answers fit too.
func TestRequestsAreAsDescribed(t *testing.T) {
	doc, b := readOpenAPI(t), newBackend(t)
	spec, err := json.Marshal(b.State().Network)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ pattern, body string }{
		{"POST /v1/pause", `{"site":"quai","for":60,"reason":"x"}`},
		{"DELETE /v1/pause", ""},
		{"POST /v1/maintenance", `{"name":"quai","for":60}`},
		{"POST /v1/observers", `{"name":"quai","for":60}`},
		{"POST /v1/dns/hold", `{"name":"www.assos.example","for":60}`},
		{"POST /v1/network", `{"spec":` + string(spec) + `,"if_version":3,"dry_run":true}`},
		{"POST /v1/failover", `{"guest":"nuage","to":"quai"}`},
		{"POST /v1/ops/{op}/{action}", `{"reason":"x"}`},
		{"POST /v1/tokens", `{"site":"late","for":60}`},
		{"POST /v1/operators", `{"name":"ada","role":"admin","for":60}`},
		{"POST /v1/cluster/members", `{"site":"quai","set":"removed","confirm":"quai"}`},
		{"POST /v1/cluster/step-down", ""},
	} {
		method, path := filled(r.pattern)
		if r.body != "" {
			var v any
			if err := json.Unmarshal([]byte(r.body), &v); err != nil {
				t.Fatal(err)
			}
			media := operationOf(t, doc, r.pattern).RequestBody.Value.Content.Get("application/json")
			if err := media.Schema.Value.VisitJSON(v, openapi3.VisitAsRequest()); err != nil {
				t.Errorf("%s: %v", r.pattern, err)
			}
		}
		w := call(everything(b), &root, method, path, []byte(r.body))
		if w.Code == http.StatusBadRequest {
			t.Errorf("%s: %s", r.pattern, w.Body)
		}
		conforms(t, doc, r.pattern, w)
	}
}

func readOpenAPI(t *testing.T) *openapi3.T {
	t.Helper()
	served := call(everything(newBackend(t)), &root, http.MethodGet, "/v1/openapi.yaml", nil).Body.Bytes()
	if file, err := os.ReadFile("openapi.yaml"); err != nil || !bytes.Equal(file, served) {
		t.Fatalf("the file that is served is not the one that is tested: %v", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(served)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	no := false
	for _, c := range doc.Components.Schemas { // for the test: a key that is not described is a mistake
		if c.Value.Properties != nil {
			c.Value.AdditionalProperties.Has = &no
		}
	}
	return doc
}

func operationOf(t *testing.T, doc *openapi3.T, pattern string) *openapi3.Operation {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	item := doc.Paths.Find(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Fatalf("%s is not described", pattern)
	}
	return item.GetOperation(method)
}

// conforms holds an answer against what is said of its route.
func conforms(t *testing.T, doc *openapi3.T, pattern string, w *httptest.ResponseRecorder) {
	t.Helper()
	status := "default"
	if w.Code == http.StatusOK {
		status = "200"
	}
	schema := operationOf(t, doc, pattern).Responses.Value(status).Value.Content.Get("application/json").Schema.Value
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%s: %v in %.200s", pattern, err, w.Body)
		return
	}
	if err := schema.VisitJSON(v, openapi3.VisitAsResponse()); err != nil {
		t.Errorf("%s (%d): %v", pattern, w.Code, err)
	}
}
