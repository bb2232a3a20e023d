package lab_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

func TestPVERefusals(t *testing.T) {
	tests := []struct {
		name, auth, method, path string
		args                     url.Values
		status                   int
		reason                   string // with status 400: the message for the parameter in param
		param                    string
		delay                    time.Duration
	}{
		{name: "no token", auth: "-", method: "GET", path: "/version", status: 401, reason: "No ticket", delay: 3 * time.Second},
		{name: "wrong secret", auth: "PVEAPIToken=" + pveToken + "=x", method: "GET", path: "/version", status: 401, reason: "Authentication failed!", delay: 3 * time.Second},
		{name: "unknown path", method: "GET", path: "/x", status: 501, reason: "Method 'GET /x' not implemented"},
		{name: "unknown parameter", method: "GET", path: "/version", args: pairs("x", "1"), status: 400, param: "x", reason: "property is not defined in schema and the schema does not allow additional properties"},
		{name: "wrong boolean", method: "GET", path: nodePath("/qemu"), args: pairs("full", "7"), status: 400, param: "full", reason: "type check ('boolean') failed - got '7'"},
		{name: "wrong vmid", method: "GET", path: nodePath("/qemu/abc/config"), status: 400, param: "vmid", reason: "type check ('integer') failed - got 'abc'"},
		{name: "missing parameter", method: "POST", path: nodePath("/qemu"), status: 400, param: "vmid", reason: "property is missing and it is not optional"},
		{name: "force alone", method: "POST", path: nodePath("/qemu"), args: pairs("vmid", "900", "force", "1"), status: 400, param: "archive", reason: "missing property required by 'force'"},
		{name: "disk with archive", method: "POST", path: nodePath("/qemu"), args: pairs("vmid", "900", "archive", "pbs-local:backup/vm/100/x", "scsi0", "local-zfs:8"), status: 400, param: "scsi0", reason: "option conflicts with option 'archive'"},
		{name: "root-only option", method: "POST", path: nodePath("/qemu"), args: pairs("vmid", "900", "archive", "pbs-local:backup/vm/900/x", "args", "-x"), status: 500, reason: "only root can set 'args' config"},
		{name: "path as archive", method: "POST", path: nodePath("/qemu"), args: pairs("vmid", "900", "archive", "/var/x.vma"), status: 500, reason: "Only root can pass arbitrary filesystem paths."},
		{name: "unknown pool", method: "POST", path: nodePath("/qemu"), args: pairs("vmid", "900", "archive", "pbs-local:backup/vm/900/x", "pool", "x"), status: 403, reason: "Permission check failed (pool 'x' does not exist)"},
		{name: "unknown node", method: "GET", path: "/nodes/x/status", status: 500, reason: "hostname lookup 'x' failed - failed to get address info for: x: Name or service not known"},
		{name: "missing guest", method: "GET", path: nodePath("/qemu/777/config"), status: 500, reason: "Configuration file 'nodes/pve-moulin/qemu-server/777.conf' does not exist"},
		{name: "CT as VM", method: "GET", path: nodePath("/qemu/101/config"), status: 500, reason: "Configuration file 'nodes/pve-moulin/qemu-server/101.conf' does not exist"},
		{name: "storage status unknown", method: "GET", path: nodePath("/storage/nowhere/status"), status: 400, param: "storage", reason: "No such storage."},
		{name: "storage content unknown", method: "GET", path: nodePath("/storage/nowhere/content"), status: 500, reason: "storage 'nowhere' does not exist"},
		{name: "CT storage without rootdir", method: "POST", path: nodePath("/lxc"), args: pairs("vmid", "900", "ostemplate", "pbs-local:backup/ct/900/x", "restore", "1"), status: 400, param: "storage", reason: "storage 'local' does not support container directories"},
		{name: "bad UPID", method: "GET", path: nodePath("/tasks/nonsense/status"), status: 400, param: "upid", reason: "unable to parse worker upid"},
		{name: "unknown task", method: "GET", path: nodePath("/tasks/UPID:pve-moulin:00000001:00000001:00000001:x::root@pam:/status"), status: 400, param: "upid", reason: "no such task"},
		{name: "taken id", method: "GET", path: "/cluster/nextid", args: pairs("vmid", "100"), status: 400, param: "vmid", reason: "VM 100 already exists"},
		{name: "stopped CT stopped", method: "POST", path: nodePath("/lxc/101/status/stop"), status: 500, reason: "CT 101 not running"},
		{name: "agent of a stopped VM", method: "POST", path: nodePath("/qemu/100/agent/ping"), status: 500, reason: "VM 100 is not running"},
		{name: "wrong digest", method: "PUT", path: nodePath("/qemu/100/config"), args: pairs("name", "x", "digest", "0"), status: 500, reason: "checksum mismatch (file change by other user?)"},
		{name: "delete an unknown option", method: "PUT", path: nodePath("/qemu/100/config"), args: pairs("delete", "colour"), status: 400, param: "delete", reason: "unknown option 'colour'"},
		{name: "DELETE of a missing guest", method: "DELETE", path: nodePath("/qemu/777"), status: 500, reason: "Configuration file 'nodes/pve-moulin/qemu-server/777.conf' does not exist"},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := "PVEAPIToken=" + pveToken + "=" + secret
			if tt.auth != "" {
				auth = strings.TrimPrefix(tt.auth, "-")
			}
			r := w.request(w.pveRT, auth, tt.method, tt.path, tt.args)
			if r.status != tt.status || w.hint.Delay != tt.delay {
				t.Errorf("%s %s: %d %q after %v, want %d after %v", tt.method, tt.path, r.status, r.reason, w.hint.Delay, tt.status, tt.delay)
			}
			switch {
			case tt.status == 401:
				if r.raw != "" || r.reason != tt.reason {
					t.Errorf("401: reason %q, body %q, want %q and no body", r.reason, r.raw, tt.reason)
				}
			case tt.param != "":
				if r.reason != "Parameter verification failed." || !strings.HasPrefix(r.body.Errors[tt.param], tt.reason) {
					t.Errorf("%q with errors %v, want %q for %s", r.reason, r.body.Errors, tt.reason, tt.param)
				}
			default:
				if r.reason != tt.reason || (tt.status != 501 && r.body.Message != tt.reason+"\n") {
					t.Errorf("reason %q, message %q, want %q", r.reason, r.body.Message, tt.reason)
				}
			}
		})
	}
}

func TestPBSRefusalsArePlainText(t *testing.T) {
	w := newWorld(t)
	good := "PBSAPIToken=" + pbsToken + ":" + secret
	tests := []struct {
		name, auth, path string
		args             url.Values
		status           int
		text             string
	}{
		{"no token", "", "/version", nil, 401, "authentication failed"},
		{"PVE's separator", "PBSAPIToken=" + pbsToken + "=" + secret, "/version", nil, 401, "authentication failed"},
		{"unknown path", good, "/x", nil, 404, "Path '/api2/json/x' not found."},
		{"unknown parameter", good, "/version", pairs("x", "1"), 400, "parameter verification failed - 'x': schema does not allow additional properties."},
		{"unknown datastore", good, "/admin/datastore/x/status", nil, 400, "no such datastore 'x'"},
		{"unknown snapshot", good, "/admin/datastore/backups/notes", pairs("backup-type", "vm", "backup-id", "1", "backup-time", "0"), 400, "snapshot vm/1/1970-01-01T00:00:00Z does not exist."},
		{"ping needs no token", "", "/ping", nil, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(w.pbsRT, tt.auth, "GET", tt.path, tt.args)
			if r.status != tt.status || (tt.text != "" && r.raw != tt.text) {
				t.Errorf("%d %q, want %d %q", r.status, r.raw, tt.status, tt.text)
			}
			if wait := w.hint.Delay == 3*time.Second; wait != (tt.status == 401) {
				t.Errorf("delay = %v with status %d", w.hint.Delay, r.status)
			}
		})
	}
}

func TestJSONBodiesAreTakenLikeForms(t *testing.T) {
	w := newWorld(t)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", "http://lab/api2/json"+nodePath("/qemu/100/config"),
		strings.NewReader(`{"onboot":false,"cores":2,"tags":"B;a","description":"line one\nline: two"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "PVEAPIToken="+pveToken+"="+secret)
	res, err := w.pveRT.RoundTrip(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("PUT config: %v %v", res.Status, err)
	}
	got, _ := w.call("GET", nodePath("/qemu/100/config"), nil).(map[string]any)
	want := map[string]any{"onboot": 0.0, "cores": 2.0, "tags": "a;b", "description": "line one\nline: two", "memory": "512", "agent": "1"}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %v, want %v", k, got[k], v)
		}
	}
}

func TestLessPrivilegesShowLess(t *testing.T) {
	acl := map[string][]string{
		"/":                              {},
		"/vms":                           {"VM.Audit", "VM.Allocate", "VM.Config.Options"},
		"/storage":                       {"Datastore.Audit"},
		"/storage/local-zfs":             {"Datastore.Audit", "Datastore.AllocateSpace"},
		"/sdn/zones/localnetwork/vmbr9":  {"SDN.Use"},
		"/nodes/" + node:                 {},
		"/sdn/zones/localnetwork/vmbr0":  {},
		"/vms/101":                       {},
		"/sdn/zones/localnetwork/vmbr00": {},
	}
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.ACL = map[string]map[string][]string{pveToken: acl} })
	w.backup(100)
	rows, _ := w.call("GET", nodePath("/storage/pbs-local/content"), nil).([]any)
	if len(rows) != 0 {
		t.Errorf("content without the right to the backups = %v, want an empty list", rows)
	}
	// Each of the two rights alone shows none either.
	for _, alone := range []map[string][]string{
		{"/storage/pbs-local": {"Datastore.AllocateSpace"}}, {"/vms/100": {"VM.Audit", "VM.Backup"}},
	} {
		for path, privs := range alone {
			old, had := acl[path]
			acl[path] = privs
			rows, _ := w.call("GET", nodePath("/storage/pbs-local/content"), nil).([]any)
			if delete(acl, path); had {
				acl[path] = old
			}
			if len(rows) != 0 {
				t.Errorf("content with %v alone = %v, want an empty list", alone, rows)
			}
		}
	}
	if list, _ := w.call("GET", nodePath("/qemu"), nil).([]any); len(list) != 1 {
		t.Errorf("VMs = %v, want one", list)
	}
	if list, _ := w.call("GET", nodePath("/lxc"), nil).([]any); len(list) != 0 {
		t.Errorf("CTs = %v, want none: the deeper path replaces the right on /vms", list)
	}
	tests := []struct{ name, method, path, reason string }{
		{"cluster status", "GET", "/cluster/status", "Permission check failed (/, Sys.Audit)"},
		{"start", "POST", nodePath("/qemu/100/status/start"), "Permission check failed (/vms/100, VM.PowerMgmt)"},
		{"single entry", "GET", "/storage/pbs-local", "Permission check failed (/storage/pbs-local, Datastore.Allocate)"},
		{"extract", "GET", nodePath("/vzdump/extractconfig?volume=%s", url.QueryEscape(w.newest(100))), "Permission check failed (/storage/pbs-local, Datastore.AllocateSpace)"},
	}
	for _, tt := range tests {
		if r := w.try(tt.method, tt.path, nil); r.status != 403 || r.reason != tt.reason {
			t.Errorf("%s: %d %q, want 403 %q", tt.name, r.status, r.reason, tt.reason)
		}
	}
	if r := w.try("POST", nodePath("/qemu"), vmArgs(w, "100", "net0", "virtio,bridge=vmbr0")); r.reason != "Permission check failed (/vms/100, VM.Config.Network)" {
		t.Errorf("net override: %d %q", r.status, r.reason)
	}
	// Overriding no NIC passes the POST; the archive's NICs are held against the token in the task.
	if err := w.pve.Unlock(100); err != nil {
		t.Fatal(err)
	}
	if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "100", "force", "1")); exit != "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)" {
		t.Errorf("restore with the archive's NICs ended %q", exit)
	}
}

func TestATokenSeesOnlyItsOwnTasks(t *testing.T) {
	const other = "other@pve!x"
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.Tokens = map[string]string{pveToken: secret, other: secret}
		p.ACL = map[string]map[string][]string{other: {"/vms": {"VM.PowerMgmt"}}}
	})
	upid := w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	auth := "PVEAPIToken=" + other + "=" + secret
	if r := w.request(w.pveRT, auth, "GET", nodePath("/tasks"), pairs("source", "all")); r.raw != "{\"data\":[]}\n" {
		t.Errorf("tasks of another token = %s, want an empty list without total", r.raw)
	}
	if r := w.request(w.pveRT, auth, "GET", nodePath("/tasks/%s/status", url.PathEscape(upid)), nil); r.status != 403 {
		t.Errorf("status of another's task: %d, want 403", r.status)
	}
}

func TestTaskLogIsPaged(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	upid := w.ok("POST", nodePath("/qemu"), vmArgs(w, "900"))
	path := nodePath("/tasks/%s/log", url.PathEscape(upid))
	all := w.try("GET", path, pairs("limit", "500"))
	second := w.try("GET", path, pairs("start", "1", "limit", "2"))
	rows, _ := second.body.Data.([]any)
	if len(rows) != 2 || rows[0].(map[string]any)["n"] != 2.0 || second.body.Total != all.body.Total || all.body.Total < 8 {
		t.Errorf("page = %s (total %d), want rows 2 and 3 of %d", second.raw, second.body.Total, all.body.Total)
	}
	if past := w.try("GET", path, pairs("start", "999")); past.status != 200 || len(past.body.Data.([]any)) != 0 {
		t.Errorf("past the end: %d %s, want an empty list", past.status, past.raw)
	}
}

func TestHostWithoutQuorumNeitherRestoresNorStarts(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.Cluster = "duo" })
	w.backup(100)
	w.pve.SetQuorum(false)
	for _, path := range []string{nodePath("/qemu/100/status/start"), nodePath("/qemu")} {
		args := url.Values(nil)
		if path == nodePath("/qemu") {
			args = vmArgs(w, "900")
		}
		if r := w.try("POST", path, args); r.status != 500 || r.reason != "cluster not ready - no quorum?" {
			t.Errorf("POST %s: %d %q", path, r.status, r.reason)
		}
	}
	rows, _ := w.call("GET", "/cluster/status", nil).([]any)
	if row := rows[0].(map[string]any); row["type"] != "cluster" || row["quorate"] != 0.0 {
		t.Errorf("cluster row = %v, want quorate 0", row)
	}
	w.pve.SetQuorum(true)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
}

func TestGuestsWriteAndServe(t *testing.T) {
	w := newWorld(t)
	g := w.guest(100)
	get := func(method, path, body string) (int, string) {
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return rec.Code, rec.Body.String()
	}
	if code, _ := get("GET", "/", ""); code != 503 {
		t.Errorf("a stopped guest answered %d", code)
	}
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	if g := w.guest(100); !g.Running || g.Serving {
		t.Errorf("just started: running %v, serving %v, want true and false", g.Running, g.Serving)
	}
	w.advance(20 * time.Second)
	lines := g.Data()
	if n := len(lines); n < 18 || n > 22 {
		t.Errorf("%d lines after 20 s, want about 20", n)
	}
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, w.now.Format(time.RFC3339)) {
		t.Errorf("last line %q at %v", last, w.now)
	}
	code, body := get("GET", "/status", "")
	var status struct {
		Guest, Site, First, Last string
		Installed                bool
		Lines                    int
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil || code != 200 {
		t.Fatalf("GET /status: %d %q (%v)", code, body, err)
	}
	if status.Guest != "nuage" || status.Site != "moulin" || !status.Installed || status.Lines != len(lines) || status.Last != lines[len(lines)-1] {
		t.Errorf("status = %+v", status)
	}
	if code, body := get("GET", "/", ""); code != 200 || !strings.HasPrefix(body, "guest: nuage\nsite: moulin\nlines: ") {
		t.Errorf("GET /: %d %q", code, body)
	}
	if code, body := get("POST", "/data", "from the LAN\nsecond"); code != 200 || !strings.HasSuffix(body, "from the LAN\n") {
		t.Errorf("POST /data: %d %q", code, body)
	}
	if code, _ := get("DELETE", "/data", ""); code != 405 {
		t.Errorf("DELETE /data: %d, want 405", code)
	}
	n := len(g.Data())
	w.now = w.now.Add(10 * time.Minute)
	w.pve.Advance(w.now)
	if more := len(g.Data()) - n; more < 55 || more > 65 {
		t.Errorf("%d lines for a gap of 10 min, want one per 10 s", more)
	}
}

func TestGuestDataStaysWithinItsDisk(t *testing.T) {
	w := newWorld(t)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	for range 40 {
		w.now = w.now.Add(10 * time.Hour)
		w.pve.Advance(w.now)
	}
	lines := w.guest(100).Data()
	if size := len(strings.Join(lines, "\n")); size > 2*lab.ChunkSize || size < lab.ChunkSize/2 {
		t.Errorf("%d bytes of data, want between half a chunk and the two of the data area", size)
	}
	if err := w.pve.Backup(100, "pbs-local", w.now); err != nil {
		t.Error(err)
	}
}

// TestReasonPhraseOverTheNetwork runs the fake behind a real server: the reason phrase, the wait and the
// lost answer reach the client.
func TestReasonPhraseOverTheNetwork(t *testing.T) {
	w := newWorld(t)
	var faults lab.Faults
	var waited []time.Duration
	srv := httptest.NewTLSServer(lab.Waiting(lab.WithFaults("pve:moulin", w.pve, &faults), func(_ context.Context, d time.Duration) error {
		waited = append(waited, d)
		return nil
	}, nil))
	defer srv.Close()
	do := func(auth string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api2/json"+nodePath("/qemu/777/config"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", auth)
		return srv.Client().Transport.RoundTrip(r)
	}
	good := "PVEAPIToken=" + pveToken + "=" + secret
	res, err := do(good)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if want := "500 Configuration file 'nodes/pve-moulin/qemu-server/777.conf' does not exist"; res.Status != want || !res.Close || err != nil || !strings.Contains(string(body), `"message"`) {
		t.Errorf("status %q (close %v), body %q, want %q and the connection closed", res.Status, res.Close, body, want)
	}
	res, err = do("")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.Status != "401 No ticket" || !slices.Equal(waited, []time.Duration{3 * time.Second}) {
		t.Errorf("status %q after waits %v, want 401 No ticket after 3 s", res.Status, waited)
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "X-Lab") {
			t.Errorf("hint %s reached the client", name)
		}
	}
	if err := faults.Add(lab.Fault{Effect: lab.EffectDropReply, Times: 1}); err != nil {
		t.Fatal(err)
	}
	if res, err := do(good); err == nil {
		_ = res.Body.Close()
		t.Errorf("a dropped answer arrived: %s", res.Status)
	}
}
