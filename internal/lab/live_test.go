package lab_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A live restore runs under its lock while its disks come, keeps what was written to it
// meanwhile, and is switched off with the loss of that when the PBS goes away before the end.
func TestLiveRestore(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := newWorld(t)
		w.backup(100)
		upid, _ := w.call("POST", nodePath("/qemu"), vmArgs(w, "900", "onboot", "0", "live-restore", "1")).(string)
		w.advance(2 * time.Second)
		g := w.guest(900)
		if !g.Running || g.Lock != "create" {
			t.Fatalf("in mid-copy: running %t, lock %q, want running under the lock create", g.Running, g.Lock)
		}
		if lost {
			w.pbs.PowerLoss(w.now)
			exit := w.wait(upid)
			g = w.guest(900)
			if g.Running || exit != "live-restore failed" || g.Config["memory"] != "128" || !contains(w.log(upid), "An error occurred during live-restore") {
				t.Errorf("exit %q, running %t, config %v; want it off and bare\n%s", exit, g.Running, g.Config, strings.Join(w.log(upid), "\n"))
			}
			continue
		}
		if exit := w.wait(upid); exit != "OK" {
			t.Fatalf("exit %q", exit)
		}
		w.advance(5 * time.Second)
		g = w.guest(900)
		written, original := g.Data(), w.guest(100).Data()
		if !g.Serving || g.Lock != "" || len(written) <= len(original) {
			t.Errorf("serving %t, lock %q, %d lines after %d; want it to go on writing without a lock", g.Serving, g.Lock, len(written), len(original))
		}
		want, err := w.guest(100).Disk("scsi1")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.Disk("scsi1"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the second disk differs from that of the backup: %v", err)
		}
	}
}
