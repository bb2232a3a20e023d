package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// root is the root helper of the rig's host: the real one over the fake's root.
type root struct {
	server *roothelper.Server
	asked  []string
	after  func() error // answers in place of the helper once it has done the work
}

func newRoot(r *rig) *root {
	h := &root{server: &roothelper.Server{
		Rules: func() (roothelper.Rules, error) {
			return roothelper.Rules{IDs: []network.IDRange{{First: vmid, Last: vmid + 9}}}, nil
		},
		Runner: r.pve.Root(), MountInfo: r.pve.Root().MountInfo, Log: slog.New(slog.DiscardHandler),
	}}
	r.executor.Helper = h
	return h
}

func (h *root) do(ctx context.Context, v roothelper.Verb, id int) error {
	h.asked = append(h.asked, fmt.Sprintf("%s %d", v, id))
	err := h.server.Do(ctx, roothelper.Request{Verb: v, ID: id})
	if h.after != nil {
		return h.after()
	}
	return err
}

// Umount and Unlock implement agent.RootHelper.
func (h *root) Umount(ctx context.Context, id int) error { return h.do(ctx, roothelper.Umount, id) }

// Unlock clears the lock.
func (h *root) Unlock(ctx context.Context, id int) error { return h.do(ctx, roothelper.Unlock, id) }

// container makes the guest of the rig a container.
func (r *rig) container() {
	r.t.Helper()
	if err := r.pve.StopGuest(1101, r.now); err != nil {
		r.t.Fatal(err)
	}
	err := r.pve.AddGuest(lab.GuestSpec{
		ID: 1102, Kind: "ct", Name: "nuage", DiskSize: 1 << 18, Onboot: 1, Extra: map[string]string{"unprivileged": "1"},
		Nets: map[string]string{"net0": "name=eth0,hwaddr=BC:24:11:00:00:01,bridge=vmbr7,tag=7,ip=10.10.120.5/24"},
	}, nil)
	if err == nil {
		err = r.pve.Backup(1102, "pbs-moulin", r.now)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// cut lets the restore run a while and has its host, or only its process, die.
func (r *rig) cut(die func(*lab.PVE, time.Time)) {
	r.t.Helper()
	for range 400 {
		if g, ok := r.pve.Guest(vmid); ok && g.Lock == "create" && r.count("GET", "/log") > 0 {
			break
		}
		r.step()
	}
	die(r.pve, r.now)
	if g, ok := r.pve.Guest(vmid); !ok || g.Lock != "create" {
		r.t.Fatalf("the crash left exists=%t lock=%q, want a locked stub", ok, g.Lock)
	}
}

func reboot(p *lab.PVE, now time.Time) {
	p.PowerLoss(now)
	p.PowerOn(now)
}

func kill(p *lab.PVE, now time.Time) { p.KillTasks(now) }

// finish steps to the end, with a leader that retries what may pass.
func (r *rig) finish() {
	for range 600 {
		if step, _, left := r.run().Current(); left && step.Status == failover.StatusFailed && step.Failure == failover.FailTransient {
			r.must(failover.RetryStep{Token: r.op().TokenOf(guest)})
		}
		r.step()
	}
}

func TestRestoreCutByACrashBeginsAnew(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			for _, tc := range []struct {
				name  string
				kind  network.GuestType
				die   func(*lab.PVE, time.Time)
				asked []string
			}{
				{"VM, host", network.VM, reboot, []string{"unlock 90000"}},
				{"VM, process", network.VM, kill, []string{"unlock 90000"}},
				{"container, host", network.CT, reboot, []string{"umount 90000", "unlock 90000"}},
				{"container, process", network.CT, kill, []string{"umount 90000", "unlock 90000"}},
			} {
				for _, restarted := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, agent restarted %t", tc.name, restarted), func(t *testing.T) {
						r := newRigOf(t, version)
						r.beginKind(tc.kind)
						h := newRoot(r)
						r.cut(tc.die)
						if restarted {
							r.restart()
							r.executor.Helper = h
						}
						r.finish()
						if r.status() != "nothing left" {
							t.Fatalf("the run stands at %q: %s", r.status(), r.note())
						}
						if !slices.Equal(h.asked, tc.asked) {
							t.Errorf("the helper was asked %q, want %q", h.asked, tc.asked)
						}
						if n := r.count("DELETE", fmt.Sprint("/", vmid)); n != 1 {
							t.Errorf("%d deletions, want that of the stub", n)
						}
						if g, _ := r.pve.Guest(vmid); !g.Serving {
							t.Error("the copy does not serve")
						}
						if b, err := r.pve.Root().MountInfo(); err != nil || strings.Contains(string(b), "/var/lib/lxc/") {
							t.Errorf("an image is still mounted: %s, %v", b, err)
						}
					})
				}
			}
		})
	}
}

// beginKind begins the failover of a guest of a kind.
func (r *rig) beginKind(kind network.GuestType) {
	r.t.Helper()
	if kind == network.VM {
		r.begin()
		return
	}
	r.container()
	s := spec()
	g := s.Guests[guest]
	g.ID, g.Type = 1102, network.CT
	s.Guests[guest] = g
	r.beginWith(s, "ct/1102")
}

func TestCancelledRestoreCutByACrashIsCleanedUp(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			for _, kind := range []network.GuestType{network.VM, network.CT} {
				t.Run(string(kind), func(t *testing.T) {
					r := newRigOf(t, version)
					r.beginKind(kind)
					h := newRoot(r)
					r.cut(reboot)
					r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
					r.now = r.now.Add(time.Hour)
					r.finish()
					if _, ok := r.pve.Guest(vmid); ok || r.status() != "nothing left" || len(h.asked) == 0 {
						t.Errorf("the stub is there: %t; the run stands at %q: %s; the helper was asked %q", ok, r.status(), r.note(), h.asked)
					}
				})
			}
		})
	}
}

// TestLockedStubNeedsAPerson: without the helper's help the reason and the next
// command reach the log, and nothing is done by halves.
func TestLockedStubNeedsAPerson(t *testing.T) {
	for _, tc := range []struct {
		name    string
		kind    network.GuestType
		change  func(*rig, *root)
		failure failover.Failure
		note    []string
	}{
		{
			"no helper is configured", network.VM, func(r *rig, _ *root) { r.executor.Helper = nil }, failover.FailTarget,
			[]string{"as root on pve-quai: qm unlock 90000; then wwwctl op retry op-", "no root helper is configured"},
		},
		{
			"no helper answers", network.CT, func(r *rig, _ *root) { r.executor.Helper = roothelper.Client{Path: r.t.TempDir() + "/h.sock"} }, failover.FailTarget,
			[]string{"umount -R -d /var/lib/lxc/90000/rootfs; pct unlock 90000; then wwwctl op retry op-", "no root helper"},
		},
		{"the id is in no range", network.VM, func(_ *rig, h *root) {
			h.server.Rules = func() (roothelper.Rules, error) { return roothelper.Rules{}, nil }
		}, failover.FailTarget, []string{"qm unlock 90000", "refused (range)"}},
		{"the helper's commands fail", network.VM, func(_ *rig, h *root) {
			h.server.Runner = refusing{}
		}, failover.FailTransient, []string{"qm unlock 90000", "refused (failed)", "no quorum"}},
	} {
		for _, during := range []string{"restore", "cleanup"} {
			t.Run(tc.name+", "+during, func(t *testing.T) {
				r := newRig(t)
				r.beginKind(tc.kind)
				h := newRoot(r)
				r.cut(reboot)
				tc.change(r, h)
				if during == "cleanup" {
					r.must(failover.CancelOp{Op: r.op().ID, Reason: failover.Reason{Code: failover.CodeBack}})
					r.now = r.now.Add(time.Hour)
				}
				r.until(during + " failed")
				if !strings.HasPrefix(r.note(), string(tc.failure)) {
					t.Errorf("failure %q, want %s", r.note(), tc.failure)
				}
				for _, part := range tc.note {
					if !strings.Contains(r.note(), part) {
						t.Errorf("note %q, want %q in it", r.note(), part)
					}
				}
				if g, ok := r.pve.Guest(vmid); !ok || g.Lock != "create" || r.count("DELETE", fmt.Sprint("/", vmid)) != 0 {
					t.Errorf("stub exists=%t lock=%q after %d deletions, want it untouched", ok, g.Lock, r.count("DELETE", fmt.Sprint("/", vmid)))
				}
			})
		}
	}
}

// refusing is a host whose tools fail.
type refusing struct{}

// Run fails.
func (refusing) Run(context.Context, string, ...string) ([]byte, error) {
	return nil, errors.New("cluster not ready - no quorum?")
}

// TestHelpersLostAnswerIsResolvedByLooking: the lock is gone although the
// helper's answer never came.
func TestHelpersLostAnswerIsResolvedByLooking(t *testing.T) {
	r := newRig(t)
	r.begin()
	h := newRoot(r)
	h.after = func() error { return fmt.Errorf("unlock guest 90000: %w", roothelper.ErrNoAnswer) }
	r.cut(reboot)
	r.finish()
	if r.status() != "nothing left" || len(h.asked) != 1 {
		t.Errorf("the run stands at %q: %s; the helper was asked %q, want once", r.status(), r.note(), h.asked)
	}
}

// TestHelperIsNotAskedWithoutTheLeadersWord: what follows is a deletion.
func TestHelperIsNotAskedWithoutTheLeadersWord(t *testing.T) {
	r := newRig(t)
	r.begin()
	h := newRoot(r)
	r.cut(reboot)
	r.log.confirm = func(failover.Token) error { return failover.ErrNoLeader }
	for range 100 {
		r.step()
	}
	if n := r.count("DELETE", fmt.Sprint("/", vmid)); len(h.asked) != 0 || n != 0 {
		t.Errorf("the helper was asked %q, %d deletions, want none", h.asked, n)
	}
}

// TestForeignLockedStubIsLeftAlone: somebody else's restore died under the id.
func TestForeignLockedStubIsLeftAlone(t *testing.T) {
	r := newRig(t)
	r.begin()
	h := newRoot(r)
	err := r.pve.AddGuest(lab.GuestSpec{ID: vmid, Kind: "vm", Name: "somebodys", DiskSize: 1 << 18, Extra: map[string]string{"lock": "create"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.until("restore failed")
	if !strings.HasPrefix(r.note(), string(failover.FailFatal)) || len(h.asked) != 0 {
		t.Errorf("note %q, the helper was asked %q; want a fatal failure and nothing asked", r.note(), h.asked)
	}
	if n := r.count("POST", "/qemu"); n != 0 {
		t.Errorf("%d restores were posted", n)
	}
}

// TestIDThatIsTakenMeanwhile: the id was free at the look and is taken at the
// request; whose the guest is decides, and the requests come to an end.
func TestIDThatIsTakenMeanwhile(t *testing.T) {
	r := newRig(t)
	r.begin()
	for r.count("GET", "/extractconfig") == 0 {
		r.step()
	}
	if err := r.pve.AddGuest(lab.GuestSpec{ID: vmid, Kind: "vm", Name: "somebodys", DiskSize: 1 << 18}, nil); err != nil {
		t.Fatal(err)
	}
	r.until("restore failed")
	if !strings.Contains(r.note(), "somebodys") {
		t.Errorf("note %q, want the foreign guest's name", r.note())
	}
}

// TestRequestsOfOneAttemptAreBounded: every answer to the request is lost
// before the work is done.
func TestRequestsOfOneAttemptAreBounded(t *testing.T) {
	r := newRig(t)
	r.begin()
	if err := r.faults.Add(lab.Fault{Match: lab.Match{Method: "POST", Path: "*/qemu"}, Effect: lab.EffectStatus, Status: 596, Text: "Broken pipe"}); err != nil {
		t.Fatal(err)
	}
	r.until("restore failed")
	if n := r.count("POST", "/qemu"); n != 3 {
		t.Errorf("%d requests in one attempt, want 3", n)
	}
}

// TestVanishedTaskOfALockedStub: the crash took the task's record, too; the log
// knows that it was ours.
func TestVanishedTaskOfALockedStub(t *testing.T) {
	r := newRig(t)
	r.begin()
	newRoot(r)
	r.cut(reboot)
	r.answer = func(path string) (int, string) {
		switch {
		case strings.Contains(path, ":qmrestore:") && strings.HasSuffix(path, "/status"):
			return 400, `{"data":null,"errors":{"upid":"no such task"},"message":"Parameter verification failed.\n"}`
		case strings.HasSuffix(path, "/tasks"):
			return 200, `{"data":[]}`
		}
		return 0, ""
	}
	r.until("restore failed")
	if _, ok := r.pve.Guest(vmid); ok || !strings.Contains(r.note(), "its task is gone") {
		t.Fatalf("the stub is there: %t; note %q", ok, r.note())
	}
	r.answer = nil
	r.finish()
	if r.status() != "nothing left" {
		t.Errorf("the run stands at %q: %s", r.status(), r.note())
	}
}
