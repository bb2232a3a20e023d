package site

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestFirstBackupHoldsSomething: a guest whose host was given no time for some seconds has been up
// for long and has written nothing.
func TestFirstBackupHoldsSomething(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	pve, err := lab.NewPVE(lab.PVEConfig{
		Site: "moulin", Node: "pve-moulin", Clock: func() time.Time { return now },
		Storages: []lab.StorageConfig{{ID: "local-zfs", Type: "zfspool", Size: 1 << 30}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pve.Advance(now)
	if err := pve.AddGuest(lab.GuestSpec{ID: 1101, Kind: "ct", Name: "nuage", DiskSize: 1 << 18, Storage: "local-zfs"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := pve.StartGuest(1101, now); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		passes time.Duration
		want   bool
	}{{6 * time.Second, false}, {12 * time.Second, true}} {
		now = now.Add(step.passes)
		pve.Advance(now)
		v, _ := pve.Guest(1101)
		if got := ripe(v, 3*time.Second); got != step.want {
			t.Errorf("up for %s with %d lines: ripe %t, want %t", v.Uptime, len(v.Data()), got, step.want)
		}
	}
}
