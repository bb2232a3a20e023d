package netns_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const (
	soundLimit = 90 * time.Second // until a network that was started, or healed, is well
	askEvery   = 250 * time.Millisecond
)

// policy is quick, so that a case takes seconds. It ascends as a real one does.
func policy() network.Policy {
	second := network.Duration(time.Second)
	return network.Policy{
		SuspectMisses: 3, PrepareA: 4 * second, Alert: 5 * second, PrepareB: 6 * second, Commit: 10 * second, CommitDual: 10 * second,
		CommitReason: "namespaces of one machine, where no line is interrupted but on purpose",
		ReturnAfter:  2 * second, KeepPrepared: 10 * second,
	}
}

// need skips the test where it cannot run. In CI that is a failure: there the machine
// is known to be able to, and a test that silently does not run proves nothing.
func need(t *testing.T) {
	t.Helper()
	missing := netns.Missing()
	switch {
	case missing == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("the real network test cannot run here: %v", missing)
	default:
		t.Skipf("real network test skipped: %v", missing)
	}
}

// programs returns the directory of what runs in the namespaces: WWW_BIN, for who has
// just built it, or one that it is built into here.
func programs(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WWW_BIN"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "./cmd/wwwd", "./cmd/wwwlab", "./cmd/wwwctl")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return dir
}

// room is a network under test.
type room struct {
	*netns.Room
	t   *testing.T
	lab *site.Lab
	dir string
}

// open starts a network and waits until it is sound. It is removed with the test, its
// directory only if the test has passed.
func open(t *testing.T, bin string, serial int) *room {
	t.Helper()
	return openAs(t, bin, serial, func(*site.Lab) {}, nil)
}

// openAs starts a network that shape has changed; prepare, if not nil, is called with its directory before anything runs.
func openAs(t *testing.T, bin string, serial int, shape func(*site.Lab), prepare func(dir string) error) *room {
	t.Helper()
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	l.Routed = true
	shape(l)
	dir, err := os.MkdirTemp("", "netns-")
	if err != nil {
		t.Fatal(err)
	}
	r := &room{t: t, lab: l, dir: dir}
	r.Room, err = netns.Open(t.Context(), netns.Config{
		Dir: dir, Lab: l, Serial: serial, Policy: policy(),
		WWWD: filepath.Join(bin, "wwwd"), WWWLab: filepath.Join(bin, "wwwlab"), WWWCtl: filepath.Join(bin, "wwwctl"),
		Prepare: func(context.Context) error {
			if prepare == nil {
				return nil
			}
			return prepare(dir)
		},
	})
	t.Cleanup(func() {
		if r.Room != nil {
			if err := r.Close(context.Background()); err != nil {
				t.Errorf("remove the network: %v", err)
			}
		}
		if t.Failed() {
			t.Logf("the logs are kept in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatalf("start the network: %v", err)
	}
	if err := r.AwaitMesh(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitSound("the network that was just started")
	return r
}

// eventually asks until there is no error any more.
func (r *room) eventually(within time.Duration, what string, ask func() error) {
	r.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("%s: after %s still: %v", what, within, err)
		case <-r.t.Context().Done():
			r.t.Fatalf("%s: %v", what, err)
		}
	}
}

// read asks a site's agent with wwwctl, as a person's script would.
func read[T any](r *room, at, kind string, args ...string) (T, error) {
	var v T
	out, err := r.Ctl(r.t.Context(), at, append(args, "-o", "json")...)
	if err == nil {
		err = api.Unmarshal(out, kind, &v)
	}
	return v, err
}

func (r *room) status(at string) (failover.Status, error) {
	return read[failover.Status](r, at, api.KindStatus, "status")
}

func (r *room) siteOf(at, name string) (api.Site, error) {
	return read[api.Site](r, at, api.KindSite, "sites", name)
}

// leader returns the site whose agent leads.
func (r *room) leader() string {
	r.t.Helper()
	var leader string
	r.eventually(soundLimit, "somebody leads", func() error {
		for _, at := range r.lab.Names() {
			if st, err := r.status(at); err == nil && st.Local.IsLeader {
				leader = at
				return nil
			}
		}
		return errors.New("no agent says that it leads")
	})
	return leader
}

// awaitSound waits until every agent says that all is well and every guest could be
// failed over.
func (r *room) awaitSound(what string) {
	r.t.Helper()
	begun := time.Now()
	r.eventually(soundLimit, what+" is sound", func() error {
		for _, at := range r.lab.Names() {
			st, err := r.status(at)
			if err == nil {
				err = unsound(st, len(r.lab.Sites))
			}
			if err != nil {
				return fmt.Errorf("at %s: %w", at, err)
			}
		}
		return nil
	})
	r.t.Logf("%s is sound after %.1f s", what, time.Since(begun).Seconds())
}

// unsound says what is not well in a status of n sites, all of which vote.
func unsound(st failover.Status, n int) error {
	var errs []error
	if len(st.Sites) != n || !st.Local.HasLeader || st.Quorum.Voters != n || st.Quorum.Present != n {
		errs = append(errs, fmt.Errorf("%d sites, leader heard: %v, %d of %d voters present", len(st.Sites), st.Local.HasLeader, st.Quorum.Present, st.Quorum.Voters))
	}
	if len(st.Local.Unwell) > 0 {
		errs = append(errs, fmt.Errorf("the agent is unwell: %v", st.Local.Unwell))
	}
	for _, s := range st.Sites {
		if s.State != "up" || s.Cause != failover.CauseUp || s.Ready < s.Guests {
			errs = append(errs, fmt.Errorf("%s is %s (%s), %d of %d guests ready", s.Site, s.State, s.Cause, s.Ready, s.Guests))
		}
	}
	for _, z := range st.Zones {
		if !z.InSync {
			errs = append(errs, fmt.Errorf("zone %s is not served everywhere", z.Zone))
		}
		if good := verified(z); good != n {
			errs = append(errs, fmt.Errorf("zone %s: %d servers verified, want %d: %v %v", z.Zone, good, n, z.Servers, z.Notes))
		}
	}
	return errors.Join(errs...)
}

// verified counts the servers that were asked over the internet and gave the zone's
// wanted content.
func verified(z failover.ZoneView) int {
	n := 0
	for _, good := range z.Servers {
		if good {
			n++
		}
	}
	return n
}

// expectStill fails the test if anything was moved or begun to be: an operation in the
// log, an owner or a server that is not the guest's home, a restore asked of any PVE.
func (r *room) expectStill(t *testing.T, at string) {
	t.Helper()
	st, err := r.status(at)
	if err != nil {
		t.Errorf("status at %s: %v", at, err)
	}
	for _, op := range st.Ops {
		t.Errorf("operation %s of %s was begun (%s): want none", op.ID, op.Domain, op.Phase)
	}
	list, err := read[api.GuestList](r, at, api.KindGuests, "guests")
	if err != nil || len(list.Items) != len(r.lab.Guests) {
		t.Errorf("guests at %s: %d, %v; want %d", at, len(list.Items), err, len(r.lab.Guests))
	}
	for _, g := range list.Items {
		if g.At != g.Home || g.Serving != g.Home {
			t.Errorf("%s belongs to %s and is owned by %s, served at %s: want home", g.Guest, g.Home, g.At, g.Serving)
		}
	}
	for _, name := range r.lab.Names() {
		hosts, err := r.Hosts(name).Status(t.Context())
		if err != nil {
			t.Errorf("hosts of %s: %v", name, err)
		}
		for _, restore := range hosts.Restores {
			t.Errorf("%s of %s was asked to restore: want no data moved", restore.Host, name)
		}
	}
}

// others returns the sites but the named ones.
func (r *room) others(not ...string) []string {
	return slices.DeleteFunc(r.lab.Names(), func(s string) bool { return slices.Contains(not, s) })
}

func TestMissingNamesEveryProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := netns.Missing()
	for _, want := range []string{"ip", "nft", "wireguard-go", "wg"} {
		if err == nil || !strings.Contains(err.Error(), "no program "+want+":") {
			t.Errorf("Missing() without any program: %v, want it to name %s", err, want)
		}
	}
}
