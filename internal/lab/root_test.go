package lab_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// helper is the real root helper on the world's host.
func (w *world) helper() *roothelper.Server {
	return &roothelper.Server{
		Rules: func() (roothelper.Rules, error) {
			return roothelper.Rules{IDs: []network.IDRange{{First: 900, Last: 999}}}, nil
		},
		Runner: w.pve.Root(), MountInfo: w.pve.Root().MountInfo, Log: slog.New(slog.DiscardHandler),
	}
}

func (w *world) ask(verb roothelper.Verb, id int) roothelper.Code {
	w.t.Helper()
	err := w.helper().Do(w.t.Context(), roothelper.Request{Verb: verb, ID: id})
	r, ok := errors.AsType[*roothelper.Refusal](err)
	if err != nil && !ok {
		w.t.Fatalf("%s %d: %v is no refusal", verb, id, err)
	}
	if r == nil {
		return ""
	}
	return r.Code
}

// TestRootHelperOnTheFake has the real helper judge guests of the fake host.
func TestRootHelperOnTheFake(t *testing.T) {
	w := newWorld(t)
	w.backup(100)
	w.backup(101)
	w.call("POST", nodePath("/qemu"), vmArgs(w, "900"))
	w.call("POST", nodePath("/lxc"), ctArgs(w, "901"))
	w.advance(2 * time.Second)
	if got := w.ask(roothelper.Unlock, 900); got != roothelper.Busy {
		t.Errorf("unlock while the restore runs: %q, want %q", got, roothelper.Busy)
	}
	w.pve.KillTasks(w.now)
	for _, c := range []struct {
		what string
		verb roothelper.Verb
		id   int
		want roothelper.Code
	}{
		{"a guest of the host's own", roothelper.Unlock, 100, roothelper.OutOfRange},
		{"nobody", roothelper.Unlock, 902, roothelper.Absent},
		{"umount of a VM", roothelper.Umount, 900, roothelper.WrongKind},
		{"umount of the container", roothelper.Umount, 901, ""},
		{"unlock of the VM", roothelper.Unlock, 900, ""},
		{"unlock of the container", roothelper.Unlock, 901, ""},
		{"unlock again", roothelper.Unlock, 901, roothelper.NotLocked},
	} {
		before, err := w.pve.Root().MountInfo()
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ask(c.verb, c.id); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		after, err := w.pve.Root().MountInfo()
		if changed := string(before) != string(after); err != nil || changed != (c.what == "umount of the container") {
			t.Errorf("%s: the mounts changed: %t; %v", c.what, changed, err)
		}
	}
	w.ok("DELETE", nodePath("/qemu/900"), pairs("purge", "1", "destroy-unreferenced-disks", "1"))
	w.ok("DELETE", nodePath("/lxc/901"), pairs("purge", "1", "destroy-unreferenced-disks", "1"))
	w.pve.PowerLoss(w.now)
	if got := w.ask(roothelper.Unlock, 900); got != roothelper.Failed {
		t.Errorf("unlock on a host without power: %q, want %q", got, roothelper.Failed)
	}
}
