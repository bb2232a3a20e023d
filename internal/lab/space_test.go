package lab_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestThinPoolAcceptsTooMuchAndFailsLate: what is allocated may be more than there is, what is written not.
func TestThinPoolAcceptsTooMuchAndFailsLate(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.Storages = append(p.Storages, lab.StorageConfig{ID: "thin", Type: "lvmthin", Size: 3*diskBytes + lab.ChunkSize})
	})
	w.add(lab.GuestSpec{ID: 102, Kind: "qemu", Name: "riche", DiskSize: diskBytes, Storage: "thin"})
	if err := w.pve.StartGuest(102, w.now); err != nil {
		t.Fatal(err)
	}
	w.backup(100)
	w.ok("POST", nodePath("/qemu"), vmArgs(w, "900", "storage", "thin"))
	upid, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "901", "storage", "thin"))
	log := w.log(upid)
	if !strings.Contains(exit, "failed: exit code 1") || !contains(log, "new volume ID is 'thin:vm-901-disk-0'") || !contains(log, "write_data_callback failed (-5)") {
		t.Errorf("restore into a full pool ended %q\n%s\nwant that it was allocated and failed late", exit, strings.Join(log, "\n"))
	}
	if got := fmt.Sprint(w.guest(901).Config); got != stub128 {
		t.Errorf("left behind: %s, want %s", got, stub128)
	}

	// A pool that is full stalls every guest on it, and nobody else.
	w.advance(5 * time.Second)
	if !w.guest(102).Serving {
		t.Fatal("the guest does not serve although the pool has room again")
	}
	w.suffer(w.pve, lab.Fault{Effect: lab.EffectFillStorage, Text: "thin"})
	lines := len(w.guest(102).Data())
	w.advance(10 * time.Second)
	st, _ := w.call("GET", nodePath("/qemu/102/status/current"), nil).(map[string]any)
	rec := httptest.NewRecorder()
	w.guest(102).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody))
	if st["status"] != "running" || st["qmpstatus"] != "io-error" || rec.Code != 503 || len(w.guest(102).Data()) != lines {
		t.Errorf("guest of the full pool: %v %v, answers %d, wrote %d lines", st["status"], st["qmpstatus"], rec.Code, len(w.guest(102).Data())-lines)
	}
	w.pve.Heal()
	w.advance(2 * time.Second)
	if !w.guest(102).Serving || len(w.guest(102).Data()) == lines {
		t.Error("with room again the guest does not go on")
	}
}

// TestAllocationFailures: a pool that gives room at once refuses before any byte is copied, after what
// force replaces was freed.
func TestAllocationFailures(t *testing.T) {
	full := func(w *world) { w.suffer(w.pve, lab.Fault{Effect: lab.EffectFillStorage, Text: "local-zfs"}) }
	t.Run("VM", func(t *testing.T) {
		w := newWorld(t)
		w.backup(100)
		full(w)
		if _, exit := w.run("POST", nodePath("/qemu"), vmArgs(w, "900")); !strings.HasSuffix(exit, "out of space") {
			t.Errorf("ended %q, want out of space", exit)
		}
		if got := fmt.Sprint(w.guest(900).Config); got != stub128 {
			t.Errorf("left behind: %s, want %s", got, stub128)
		}
	})
	t.Run("CT over another", func(t *testing.T) {
		w := newWorld(t)
		w.backup(101)
		full(w)
		if _, exit := w.run("POST", nodePath("/lxc"), ctArgs(w, "101", "force", "1")); !strings.HasSuffix(exit, "out of space") {
			t.Errorf("ended %q, want out of space", exit)
		}
		if _, ok := w.pve.Guest(101); ok {
			t.Error("the container's configuration is still there")
		}
		rows, _ := w.call("GET", nodePath("/storage/local-zfs/content"), pairs("vmid", "101")).([]any)
		if len(rows) != 1 {
			t.Errorf("volumes of 101 = %v, want the old one, orphaned", rows)
		}
	})
}

// TestForceDestroysTheOldGuestWhenTheCopyFails (fact 2): its disks are freed before the copy begins.
func TestForceDestroysTheOldGuestWhenTheCopyFails(t *testing.T) {
	for _, kind := range []string{"qemu", "lxc"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			w.backup(100)
			w.backup(101)
			id, args := 100, vmArgs(w, "100", "force", "1")
			if kind == "lxc" {
				id, args = 101, ctArgs(w, "101", "force", "1")
			}
			w.suffer(w.pbs, lab.Fault{Effect: lab.EffectCorruptSnapshot, Text: w.newest(id)[len("pbs-local:backup/"):]})
			if _, exit := w.run("POST", nodePath("/%s", kind), args); exit == "OK" {
				t.Fatal("the restore of a corrupt backup ended OK")
			}
			g, there := w.pve.Guest(id)
			if there != (kind == "qemu") || (there && (g.Inside != "" || len(g.Disks) != 0 || fmt.Sprint(g.Config) != stub128)) {
				t.Errorf("old guest: there %v, inside %q, %d disks, %v; want that it is destroyed", there, g.Inside, len(g.Disks), g.Config)
			}
		})
	}
}

// A guest that is started between the request for its removal and the removal itself stays: the task looks again.
func TestDestroySparesWhatWasStartedMeanwhile(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/qemu/100", "/lxc/101"} {
		upid, ok := w.call("DELETE", nodePath("%s", path), nil).(string)
		if !ok {
			t.Fatalf("DELETE %s is no task", path)
		}
		id := 100
		if strings.HasPrefix(path, "/lxc") {
			id = 101
		}
		if err := w.pve.StartGuest(id, w.now); err != nil {
			t.Fatal(err)
		}
		if exit := w.wait(upid); !strings.Contains(exit, "running") {
			t.Errorf("the removal of %d ended %q", id, exit)
		}
		if g := w.guest(id); !g.Running {
			t.Errorf("%d does not run any more", id)
		}
	}
}
