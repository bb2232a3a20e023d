package lab_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// schemaPath returns the file to check against. Without the variable a missing file skips the test: a
// clone of the repository has none.
func schemaPath(t *testing.T, variable, name string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path := filepath.Join("..", "..", "..", "shared", "reference", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no vendor schema: set %s or put %s there (%v)", variable, path, err)
	}
	return path
}

func pveSchema(t *testing.T) *lab.Schema {
	t.Helper()
	s, err := lab.LoadPVESchema(schemaPath(t, "PVE_SCHEMA", "pve-api.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pbsSchema(t *testing.T) *lab.Schema {
	t.Helper()
	s, err := lab.LoadPBSSchema(schemaPath(t, "PBS_SCHEMA", "pbs-api.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkRoutes holds every route and parameter of a fake against the schema.
func checkRoutes(t *testing.T, s *lab.Schema, routes []lab.RouteInfo) {
	t.Helper()
	if len(routes) < 15 {
		t.Errorf("the fake serves %d operations, want at least 15", len(routes))
	}
	for _, r := range routes {
		op := r.Method + " " + r.Path
		if !slices.Contains(s.Operations(), op) {
			t.Errorf("%s: not in the schema", op)
			continue
		}
		for _, p := range r.Params {
			want, ok := s.Param(op, p.Name)
			switch {
			case !ok:
				t.Errorf("%s: parameter %s is not in the schema", op, p.Name)
			case want.Type != p.Type:
				t.Errorf("%s: parameter %s is %s, want %s", op, p.Name, p.Type, want.Type)
			case want.Required != p.Required:
				t.Errorf("%s: parameter %s required %v, want %v", op, p.Name, p.Required, want.Required)
			}
			for _, e := range p.Enum {
				if !slices.Contains(want.Enum, e) {
					t.Errorf("%s: parameter %s takes %q, the schema only %v", op, p.Name, e, want.Enum)
				}
			}
		}
	}
}

func TestPVERoutesAreTheVendors(t *testing.T) {
	checkRoutes(t, pveSchema(t), newWorld(t).pve.Routes())
}

func TestPBSRoutesAreTheVendors(t *testing.T) {
	checkRoutes(t, pbsSchema(t), newWorld(t).pbs.Routes())
}

// uncovered returns the operations of a fake that were not called.
func uncovered(s *lab.Schema, routes []lab.RouteInfo, called map[string]bool) (missing []string) {
	for _, r := range routes {
		if op := r.Method + " " + r.Path; !called[op] && slices.Contains(s.Operations(), op) {
			missing = append(missing, op)
		}
	}
	return missing
}

// checker is a transport that holds each request and each good answer against a schema.
type checker struct {
	t      *testing.T
	schema *lab.Schema
	rt     http.RoundTripper
	called map[string]bool
}

// requestArgs reads a request's parameters and leaves its body as it was.
func requestArgs(r *http.Request) (url.Values, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	probe := r.Clone(r.Context())
	probe.Body = io.NopCloser(bytes.NewReader(body))
	return lab.RequestParams(probe)
}

func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	args, err := requestArgs(r)
	if err != nil {
		c.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	if err := c.schema.CheckRequest(r.Method, r.URL.EscapedPath(), args); err != nil {
		c.t.Errorf("request differs from the schema: %v", err)
	}
	res, err := c.rt.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(strings.NewReader(string(b)))
	if res.StatusCode != http.StatusOK {
		c.t.Errorf("%s %s: %s %s", r.Method, r.URL, res.Status, b)
		return res, nil
	}
	if op, ok := c.schema.Find(r.Method, r.URL.EscapedPath()); ok {
		c.called[op] = true
	}
	if err := c.schema.CheckAnswer(r.Method, r.URL.EscapedPath(), b); err != nil {
		c.t.Errorf("answer differs from the schema: %v\nin %s", err, b)
	}
	return res, nil
}

func TestPVEAnswersAreTheVendors(t *testing.T) {
	w := newWorld(t)
	s := pveSchema(t)
	c := &checker{t: t, schema: s, rt: lab.InProcess(w.pve), called: map[string]bool{}}
	w.pveRT = c
	w.backup(100)
	w.backup(101)
	n := "/nodes/" + node
	get := func(path string, args ...string) { w.call("GET", path, pairs(args...)) }
	for _, p := range []string{
		"/version", "/cluster/status", "/cluster/resources", "/cluster/nextid", "/cluster/ha/resources", "/nodes", n + "/status", n + "/network",
		"/access/permissions", "/storage", "/storage/pbs-local", n + "/storage", n + "/storage/pbs-local/status", n + "/storage/local-zfs/status", n + "/storage/pbs-local/identity",
		n + "/storage/pbs-local/content", n + "/storage/local-zfs/content", n + "/qemu", n + "/lxc", n + "/qemu/100/config", n + "/lxc/101/config",
		n + "/qemu/100/status/current", n + "/lxc/101/status/current",
	} {
		get(p)
	}
	get("/cluster/nextid", "vmid", "555")
	get("/access/permissions", "path", "/vms/100")
	vol := url.PathEscape(w.newest(100))
	get(n + "/storage/pbs-local/content/" + vol)
	w.call("PUT", n+"/storage/pbs-local/content/"+vol, pairs("notes", "hello", "protected", "1"))
	get(n+"/storage/pbs-local/content", "content", "backup", "vmid", "100")
	w.call("PUT", n+"/storage/pbs-local/content/"+vol, pairs("protected", "0"))
	get(n+"/vzdump/extractconfig", "volume", w.newest(100))

	w.ok("POST", n+"/qemu", pairs("vmid", "900", "archive", w.newest(100), "storage", "local-zfs", "onboot", "0", "net0",
		"virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120", "tags", "www", "description", "by hand"))
	w.ok("POST", n+"/lxc", pairs("vmid", "901", "ostemplate", w.newest(101), "restore", "1", "storage", "local-zfs", "onboot", "0"))
	w.call("PUT", n+"/qemu/900/config", pairs("name", "other", "delete", "tags"))
	w.ok("POST", n+"/qemu/900/config", pairs("tags", "b;a"))
	w.call("PUT", n+"/lxc/901/config", pairs("hostname", "other"))
	w.ok("POST", n+"/qemu/900/status/start", nil)
	w.ok("POST", n+"/lxc/901/status/start", nil)
	w.advance(5 * time.Second)
	get(n + "/qemu/900/status/current")
	w.call("POST", n+"/qemu/900/agent/ping", nil)
	get(n + "/qemu/900/agent/network-get-interfaces")
	get(n + "/lxc/901/interfaces")
	get("/cluster/resources", "type", "vm")
	w.ok("POST", n+"/qemu/900/status/shutdown", pairs("timeout", "30"))
	w.ok("POST", n+"/lxc/901/status/shutdown", nil)
	w.ok("POST", n+"/qemu/100/status/start", nil)
	w.ok("POST", n+"/lxc/101/status/start", nil)
	w.ok("POST", n+"/qemu/100/status/stop", nil)
	w.ok("POST", n+"/lxc/101/status/stop", nil)
	w.ok("POST", n+"/vzdump", pairs("vmid", "100", "storage", "pbs-local", "mode", "snapshot", "notes-template", "{{guestname}}"))
	upid := w.ok("DELETE", n+"/qemu/900", pairs("purge", "1", "destroy-unreferenced-disks", "1"))
	w.ok("DELETE", n+"/lxc/901", pairs("purge", "1"))
	get(n+"/tasks", "source", "all", "limit", "100")
	get(n + "/tasks/" + url.PathEscape(upid) + "/log")
	w.call("DELETE", n+"/tasks/"+url.PathEscape(upid), nil)
	w.ok("DELETE", n+"/storage/pbs-local/content/"+vol, nil)
	if missing := uncovered(s, w.pve.Routes(), c.called); len(missing) > 0 {
		t.Errorf("operations that no request of this test reached: %v", missing)
	}
}

func TestPBSAnswersAreTheVendors(t *testing.T) {
	w := newWorld(t)
	s := pbsSchema(t)
	c := &checker{t: t, schema: s, rt: lab.InProcess(w.pbs), called: map[string]bool{}}
	w.pbsRT = c
	w.backup(100)
	snap := w.pbs.Snapshots("moulin")[0]
	one := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", fmt.Sprint(snap.Time))
	store := "/admin/datastore/backups"
	with := func(extra ...string) url.Values {
		v := pairs(extra...)
		for k, x := range one {
			v[k] = x
		}
		return v
	}
	w.pbsCall("GET", "/ping", nil)
	w.pbsCall("GET", "/version", nil)
	w.pbsCall("GET", "/admin/datastore", nil)
	w.pbsCall("GET", store+"/status", nil)
	w.pbsCall("GET", store+"/namespace", pairs("max-depth", "3"))
	w.pbsCall("GET", store+"/groups", pairs("ns", "moulin"))
	w.pbsCall("GET", store+"/protected", one)
	w.pbsCall("PUT", store+"/protected", with("protected", "false"))
	w.pbsCall("PUT", store+"/notes", with("notes", "seen"))
	w.pbsCall("GET", store+"/notes", one)
	upid, ok := w.pbsCall("POST", store+"/verify", with("ignore-verified", "false")).(string)
	if !ok {
		t.Fatal("verify gave no UPID")
	}
	w.advance(5 * time.Second)
	w.pbsCall("GET", store+"/snapshots", pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100"))
	w.pbsCall("POST", "/admin/sync/pull-quai/run", nil)
	w.advance(5 * time.Second)
	w.pbsCall("GET", "/admin/sync", pairs("store", "backups", "sync-direction", "all"))
	w.pbsCall("GET", "/nodes/localhost/tasks", pairs("limit", "10"))
	w.pbsCall("GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/status", nil)
	w.pbsCall("GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/log", nil)
	w.pbsCall("DELETE", store+"/snapshots", one)
	if missing := uncovered(s, w.pbs.Routes(), c.called); len(missing) > 0 {
		t.Errorf("operations that no request of this test reached: %v", missing)
	}
}

func TestSchemaRefusesWhatTheVendorRefuses(t *testing.T) {
	s := pveSchema(t)
	const archive = "a:backup/vm/100/2024-01-01T00:00:00Z"
	tests := []struct {
		name, method, path string
		args               url.Values
		want               string
	}{
		{"unknown path", "GET", "/nodes/x/nothing", nil, "no such operation"},
		{"unknown method", "PATCH", "/nodes/x/qemu", nil, "no such operation"},
		{"unknown parameter", "GET", "/nodes/x/tasks", pairs("colour", "red"), "not in the schema"},
		{"missing parameter", "POST", "/nodes/x/qemu", nil, "vmid: missing"},
		{"wrong type", "POST", "/nodes/x/qemu", pairs("vmid", "abc"), "type check ('integer')"},
		{"out of range", "POST", "/nodes/x/qemu", pairs("vmid", "7"), "below 100"},
		{"not in the enumeration", "GET", "/nodes/x/tasks", pairs("source", "everything"), "is not one of"},
		{"bad property string", "POST", "/nodes/x/qemu", pairs("vmid", "100", "net0", "virtio,bridge=vmbr0,colour=red"), "unknown key"},
		{"requires another", "POST", "/nodes/x/qemu", pairs("vmid", "100", "force", "1"), "needs archive"},
		{"good", "POST", "/nodes/x/qemu", pairs("vmid", "100", "archive", archive, "net31", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.CheckRequest(tt.method, tt.path, tt.args)
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("CheckRequest(%s %s %v) = %v, want %q", tt.method, tt.path, tt.args, err, tt.want)
			}
		})
	}
}

func TestSchemaSeesWrongAnswers(t *testing.T) {
	pve, pbs := pveSchema(t), pbsSchema(t)
	tests := []struct {
		name, path, body, want string
		schema                 *lab.Schema
	}{
		{"not JSON", "/version", "<html>", "decode answer", pve},
		{"no data", "/version", "{}", "no data", pve},
		{"missing key", "/version", `{"data":{"version":"9"}}`, "data.release: missing", pve},
		{"wrong type", "/version", `{"data":{"version":9,"release":"9","repoid":"x"}}`, "want string", pve},
		{"JSON boolean from PVE", "/nodes/x/storage/y/status", `{"data":{"type":"pbs","content":"backup","active":true}}`, "want boolean", pve},
		{"1 for a boolean from PBS", "/ping", `{"data":{"pong":1}}`, "want boolean", pbs},
		{"unknown key from PBS", "/ping", `{"data":{"pong":true,"x":1}}`, "not in the schema", pbs},
		{"good", "/ping", `{"data":{"pong":true}}`, "", pbs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.schema.CheckAnswer("GET", tt.path, []byte(tt.body))
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("CheckAnswer(%s, %s) = %v, want %q", tt.path, tt.body, err, tt.want)
			}
		})
	}
}
