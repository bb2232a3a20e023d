package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// patient is an agent that read its machines six minutes ago.
type patient struct{ facts *doctor.Facts }

func (p patient) Facts() *doctor.Facts                { return p.facts }
func (p patient) Leads(*failover.State) []doctor.Lead { return nil }
func (p patient) Refresh(context.Context) error {
	p.facts.Ended = p.facts.Ended.Add(6 * time.Minute)
	return nil
}

func examined(t *testing.T, b *apitest.Backend, change func(*doctor.Facts)) string {
	t.Helper()
	f := &doctor.Facts{
		Ended: b.Now().Add(-6 * time.Minute), Node: "pve-fabrique", Token: "wwwd@pve!agent", Release: "9.2.1",
		Disk: doctor.Disk{Dir: "/var/lib/www", Device: "/dev/mapper/pve-root", Encrypted: doctor.EncryptedYes},
		Entries: map[string]doctor.Entry{
			"local-zfs":  {ID: "local-zfs", Type: "zfspool", Content: []string{"images", "rootdir"}},
			"pbs-moulin": {ID: "pbs-moulin", Type: "pbs", Datastore: "backups", Namespace: "moulin", Key: "aa:bb"},
			"pbs-quai":   {ID: "pbs-quai", Type: "pbs", Datastore: "backups", Namespace: "quai", Key: "aa:bb"},
		},
		Residents: map[doctor.Kind][]doctor.Resident{"vm": {}, "ct": {}},
	}
	grants, err := doctor.Grants(b.State().Network, "fabrique", f.Release)
	if err != nil {
		t.Fatal(err)
	}
	f.Permissions = map[string]map[string]bool{}
	for _, g := range grants {
		if f.Permissions[g.Path] == nil {
			f.Permissions[g.Path] = map[string]bool{}
		}
		f.Permissions[g.Path][g.Privilege] = true
	}
	change(f)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return listen(t, api.NewHandler(api.Options{Backend: b, Doctor: &patient{f}, Log: log}))
}

func ill(f *doctor.Facts) {
	delete(f.Permissions["/vms"], "VM.PowerMgmt")
	e := f.Entries["pbs-quai"]
	e.Disabled = true
	f.Entries["pbs-quai"] = e
	f.Archives = []doctor.Archive{{
		Guest: "site", Storage: "pbs-moulin", Volid: "pbs-moulin:backup/ct/1102/2026-11-22T01:00:00Z",
		Warnings: []doctor.Obstacle{{What: doctor.BindMount, Key: "mp0", Text: "mounts /srv of the source host: only root can restore it"}},
	}}
	f.Residents["vm"] = []doctor.Resident{{Kind: "vm", ID: 777, Name: "forgotten"}}
	f.Jobs = []doctor.SyncJob{{ID: "pull-moulin", Remote: "moulin", LastState: "connection refused", LastEnd: f.Ended, Scheduled: true}}
	f.Disk = doctor.Disk{Dir: "/var/lib/www", Device: "rpool/data", Encrypted: doctor.EncryptedUnknown, Why: "ZFS: ask it"}
}

func TestDoctorScreens(t *testing.T) {
	for name, line := range map[string]string{
		"doctor": "doctor", "doctor-issues": "doctor --issues", "doctor-keys": "doctor keys", "doctor-fresh": "doctor base --fresh",
	} {
		got := wwwctl(t.Context(), examined(t, newBackend(t), ill), line)
		golden(t, name, got.out)
		want := exitFailure
		if name == "doctor-fresh" { // nothing there is an error
			want = exitOK
		}
		if got.code != want {
			t.Errorf("wwwctl %s: exit %d, want %d\n%s", line, got.code, want, got.errOut)
		}
	}
}

func TestDoctorForScripts(t *testing.T) {
	socket := examined(t, newBackend(t), ill)
	got := wwwctl(t.Context(), socket, "doctor privileges -o json")
	for _, want := range []string{`"kind": "Doctor"`, `"code": "WWW-2110"`, `"severity": "ERROR"`, `"privilege": "VM.PowerMgmt"`, `"remedy": "pveum role modify`} {
		if !strings.Contains(got.out, want) {
			t.Errorf("json: got\n%s\nwant it to contain %s", got.out, want)
		}
	}
	if got.code != exitFailure {
		t.Errorf("json: exit %d, want %d", got.code, exitFailure)
	}
	got = wwwctl(t.Context(), socket, "doctor --jq .items[]|select(.severity==\"ERROR\").code")
	if !strings.Contains(got.out, "WWW-2110\n") || strings.Contains(got.out, "WWW-2150") {
		t.Errorf("--jq: got %q", got.out)
	}
	got = wwwctl(t.Context(), socket, "doctor guests -o tsv --no-headers")
	if want := "WWW-2150\tWARNING\tguests\tfabrique\tvm:777 forgotten\t"; !strings.HasPrefix(got.out, want) || got.code != exitOK {
		t.Errorf("tsv: got %q, exit %d, want %q first and exit 0: a warning is no error", got.out, got.code, want)
	}
	if got = wwwctl(t.Context(), socket, "doctor fortune"); got.code != exitUsage || !strings.Contains(got.errOut, "privileges, keys") {
		t.Errorf("unknown category: exit %d, %q", got.code, got.errOut)
	}
}
