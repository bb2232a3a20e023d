package lab_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

const (
	node      = "pve-moulin"
	pveToken  = "www@pve!agent"
	pbsToken  = "www@pbs!agent"
	secret    = "11111111-2222-3333-4444-555555555555"
	diskBytes = 1 << 19
	rate      = 1 << 18 // two seconds per disk
)

// world is one site: a PVE with a VM (100) and a CT (101), its PBS, and the PBS of another site.
type world struct {
	t        testing.TB
	now      time.Time
	pve      *lab.PVE
	pbs, far *lab.PBS
	key      *lab.Key
	pveRT    http.RoundTripper
	pbsRT    http.RoundTripper
	hint     lab.Hint // of the last answer
	pveCfg   lab.PVEConfig
	pbsCfg   lab.PBSConfig
}

func pairs(kv ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		v.Add(kv[i], kv[i+1])
	}
	return v
}

func newWorld(t testing.TB, change ...func(*lab.PVEConfig, *lab.PBSConfig)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), key: lab.NewKey(rand.New(rand.NewPCG(1, 1)))}
	w.pbsCfg = lab.PBSConfig{
		Node: "pbs-moulin", Datastore: "backups", Tokens: map[string]string{pbsToken: secret},
		Jobs:       []lab.SyncJob{{ID: "pull-quai", Remote: "quai", RemoteStore: "backups", FromNS: "quai", NS: "quai"}},
		VerifyJobs: []lab.MaintenanceJob{{ID: "all", NS: "moulin"}},
		PruneJobs:  []lab.MaintenanceJob{{ID: "old", NS: "moulin", Keep: lab.Keep{Last: 2}}},
		Remote: func(name string) lab.SyncSource {
			if name == "quai" {
				return w.far
			}
			return nil
		},
	}
	w.pveCfg = lab.PVEConfig{
		Site: "moulin", Node: node, Address: "10.10.1.10", Tokens: map[string]string{pveToken: secret}, RestoreRate: rate,
		HA: []string{"vm:555"}, BackupJobs: []lab.BackupJob{{ID: "nightly", Storage: "pbs-local", Node: node, Keep: lab.Keep{Last: 3}}}, Rand: rand.New(rand.NewPCG(2, 2)),
		Storages: []lab.StorageConfig{
			{ID: "local-zfs", Type: "zfspool", Size: 1 << 30},
			{ID: "local", Type: "dir", Content: "iso,vztmpl", Size: 1 << 30},
			{ID: "pbs-local", Type: "pbs", Server: "10.10.1.10", Datastore: "backups", Namespace: "moulin", Username: pbsToken, Password: secret, Key: w.key},
			{ID: "pbs-nokey", Type: "pbs", Server: "10.10.1.10", Datastore: "backups", Namespace: "moulin"},
		},
		Bridges: []lab.BridgeConfig{{Name: "vmbr0", Ports: "eno1", VLANAware: true, VIDs: "2-200"}, {Name: "vmbr9"}},
		DialPBS: func(string) *lab.PBS { return w.pbs },
	}
	for _, f := range change {
		f(&w.pveCfg, &w.pbsCfg)
	}
	var err error
	if w.pbs, err = lab.NewPBS(w.pbsCfg); err != nil {
		t.Fatal(err)
	}
	if w.far, err = lab.NewPBS(lab.PBSConfig{Node: "pbs-quai", Datastore: "backups"}); err != nil {
		t.Fatal(err)
	}
	if w.pve, err = lab.NewPVE(w.pveCfg); err != nil {
		t.Fatal(err)
	}
	w.pveRT, w.pbsRT = lab.InProcess(w.pve), lab.InProcess(w.pbs)
	w.advance(0)
	w.add(lab.GuestSpec{
		ID: 100, Kind: "qemu", Name: "nuage", DiskSize: diskBytes, Disks: []lab.DiskSpec{{Key: "scsi1", Size: diskBytes}},
		Nets:      map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120", "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr0"},
		Addresses: map[string]string{"net0": "10.10.120.5/24"}, HostNames: []string{"nuage.moulin.assos.example"}, Onboot: 1,
	})
	w.add(lab.GuestSpec{
		ID: 101, Kind: "lxc", Name: "compta", DiskSize: diskBytes,
		Nets: map[string]string{"net0": "name=eth0,bridge=vmbr0,tag=120,hwaddr=BC:24:11:00:00:03,ip=10.10.120.6/24"},
	})
	return w
}

func (w *world) add(spec lab.GuestSpec) {
	w.t.Helper()
	line := w.now.Add(-time.Minute).Format(time.RFC3339) + " " + spec.Name + " 1\n"
	if err := w.pve.AddGuest(spec, []byte(line)); err != nil {
		w.t.Fatal(err)
	}
}

// advance moves both fakes in steps of 250 ms, as a ticker does.
func (w *world) advance(d time.Duration) {
	for end := w.now.Add(d); ; w.now = w.now.Add(250 * time.Millisecond) {
		w.pve.Advance(w.now)
		w.pbs.Advance(w.now)
		w.far.Advance(w.now)
		if !w.now.Before(end) {
			return
		}
	}
}

func (w *world) backup(id int) {
	w.t.Helper()
	w.advance(time.Second)
	if err := w.pve.Backup(id, "pbs-local", w.now); err != nil {
		w.t.Fatal(err)
	}
}

// newest returns the volid of a guest's newest backup.
func (w *world) newest(id int) string {
	w.t.Helper()
	volid := ""
	for _, s := range w.pbs.Snapshots("moulin") {
		if s.ID == strconv.Itoa(id) {
			volid = "pbs-local:backup/" + s.Name()
		}
	}
	if volid == "" {
		w.t.Fatalf("guest %d has no backup", id)
	}
	return volid
}

type reply struct {
	status int
	reason string
	raw    string
	body   struct {
		Data    any               `json:"data"`
		Message string            `json:"message"`
		Errors  map[string]string `json:"errors"`
		Total   int               `json:"total"`
	}
}

func (w *world) request(rt http.RoundTripper, auth, method, path string, args url.Values) reply {
	w.t.Helper()
	var body io.Reader
	target := "http://lab/api2/json" + path
	if method == "GET" || method == "DELETE" {
		if len(args) > 0 {
			target += "?" + args.Encode()
		}
	} else if args != nil {
		body = strings.NewReader(args.Encode())
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	res, err := rt.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hint = lab.TakeHint(res.Header)
	out := reply{status: res.StatusCode, raw: string(raw)}
	_, out.reason, _ = strings.Cut(res.Status, " ")
	if json.Unmarshal(raw, &out.body) != nil {
		out.body.Message = string(raw) // a PBS error is plain text
	}
	return out
}

func (w *world) try(method, path string, args url.Values) reply {
	w.t.Helper()
	return w.request(w.pveRT, "PVEAPIToken="+pveToken+"="+secret, method, path, args)
}

// call makes a request that must succeed and returns its data.
func (w *world) call(method, path string, args url.Values) any {
	w.t.Helper()
	r := w.try(method, path, args)
	if r.status != http.StatusOK {
		w.t.Fatalf("%s %s %v: %d %s", method, path, args, r.status, r.raw)
	}
	return r.body.Data
}

func (w *world) pbsCall(method, path string, args url.Values) any {
	w.t.Helper()
	r := w.request(w.pbsRT, "PBSAPIToken="+pbsToken+":"+secret, method, path, args)
	if r.status != http.StatusOK {
		w.t.Fatalf("%s %s %v: %d %s", method, path, args, r.status, r.raw)
	}
	return r.body.Data
}

// run makes a request that starts a task, waits for its end and returns the task's UPID and exit status.
func (w *world) run(method, path string, args url.Values) (upid, exit string) {
	w.t.Helper()
	upid, ok := w.call(method, path, args).(string)
	if !ok || !strings.HasPrefix(upid, "UPID:") {
		w.t.Fatalf("%s %s: no UPID", method, path)
	}
	return upid, w.wait(upid)
}

func (w *world) wait(upid string) string {
	w.t.Helper()
	for range 400 {
		st := w.call("GET", "/nodes/"+node+"/tasks/"+url.PathEscape(upid)+"/status", nil).(map[string]any)
		if st["status"] == "stopped" {
			return st["exitstatus"].(string)
		}
		w.advance(250 * time.Millisecond)
	}
	w.t.Fatalf("task %s does not end", upid)
	return ""
}

// ok makes a request whose task must end OK and returns the UPID.
func (w *world) ok(method, path string, args url.Values) string {
	w.t.Helper()
	upid, exit := w.run(method, path, args)
	if exit != "OK" {
		w.t.Fatalf("%s %s %v: task ended %q\n%s", method, path, args, exit, strings.Join(w.log(upid), "\n"))
	}
	return upid
}

func (w *world) log(upid string) []string {
	w.t.Helper()
	var lines []string
	rows, _ := w.call("GET", "/nodes/"+node+"/tasks/"+url.PathEscape(upid)+"/log", pairs("limit", "500")).([]any)
	for _, r := range rows {
		lines = append(lines, r.(map[string]any)["t"].(string))
	}
	return lines
}

func (w *world) guest(id int) lab.GuestView {
	w.t.Helper()
	g, ok := w.pve.Guest(id)
	if !ok {
		w.t.Fatalf("guest %d does not exist", id)
	}
	return g
}
