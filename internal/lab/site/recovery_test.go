package site_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// soloLog is a replicated log of one node, for one goroutine.
type soloLog struct{ state *failover.State }

func (l *soloLog) Propose(_ context.Context, c failover.Command) (failover.Stamp, error) {
	st := failover.Stamp{Index: l.state.Index + 1, Term: 1, At: time.Now()}
	l.state = l.state.Clone()
	return st, l.state.Apply(st, c)
}

func (l *soloLog) State() *failover.State   { return l.state }
func (l *soloLog) Changed() <-chan struct{} { return nil }
func (l *soloLog) Lead() (uint64, bool)     { return 1, true }

func (l *soloLog) Confirm(_ context.Context, t failover.Token) error { return l.state.TokenCurrent(t) }

// hands is the production executor of a site, over real connections to its
// machines and to its root helper.
type hands struct {
	w        *world
	log      *soloLog
	executor *agent.Executor
	pbs      *proxmox.PBS
	op       failover.OpID
	guest    failover.GuestID
}

func (w *world) hands(name string) *hands {
	w.t.Helper()
	i := w.index(name)
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.lab.Plan().Mesh(i), 0))}
	config := func(kind, token string, port uint16) proxmox.Config {
		print, err := site.Fingerprint(w.dir, name, kind, "raoull-"+name)
		if err != nil {
			w.t.Fatal(err)
		}
		transport, err := proxmox.Transport(proxmox.TLS{Fingerprint: print}, dialer.DialContext)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(transport.CloseIdleConnections)
		return proxmox.Config{
			URL: fmt.Sprintf("https://%s", netip.AddrPortFrom(w.lab.Plan().Host(i, 1), port)), Node: "raoull-" + name,
			TokenID: token, Secret: proxmox.NewSecret(w.lab.TokenSecret(name, token)), Transport: http.RoundTripper(transport),
			Reachable: func(a netip.Addr) bool { return a.IsLoopback() && a != outside },
		}
	}
	pve, err := proxmox.NewPVE(config("pve", site.PVEToken, site.PVEPort))
	if err != nil {
		w.t.Fatal(err)
	}
	pbs, err := proxmox.NewPBS(config("pbs", site.PBSToken, site.PBSPort), site.Datastore)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &hands{w: w, log: &soloLog{state: failover.NewState()}, pbs: pbs}
	h.executor = &agent.Executor{
		Site: failover.SiteID(name), Log: h.log, PVE: pve, PBS: pbs, Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler),
		Helper: roothelper.Client{Path: site.HelperSocket(w.dir, name)}, Checker: agent.NetChecker{Dial: (&net.Dialer{}).DialContext},
	}
	return h
}

func (h *hands) must(c failover.Command) {
	h.w.t.Helper()
	if _, err := h.log.Propose(h.w.t.Context(), c); err != nil {
		h.w.t.Fatalf("Propose(%T): %v", c, err)
	}
}

// begin begins the failover of one guest from its newest copy here.
func (h *hands) begin(g site.Member) {
	h.w.t.Helper()
	home, here := network.SiteID(h.w.lab.Home(g)), h.executor.Site
	kind := proxmox.Kind(g.Type)
	snaps, err := h.pbs.Snapshots(h.w.t.Context(), string(home), kind, g.ID)
	if err != nil || len(snaps) == 0 {
		h.w.t.Fatalf("%d copies of %s, %v", len(snaps), g.Name, err)
	}
	s := snaps[0]
	h.guest = failover.GuestID(g.Name)
	h.must(failover.Bootstrap{Generation: 1})
	h.must(failover.ApplyNetwork{Spec: h.w.lab.Spec().WithDefaults()})
	h.must(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{{
			Guest: h.guest, Structure: network.StructureID(g.Structure), Priority: 1, Target: here,
			Host: network.HostID("raoull-" + here), VLAN: h.w.lab.VLAN(g.Structure), Automatic: true,
			Point: failover.RestorePoint{
				Storage: "pbs-" + string(home), Namespace: string(home), Time: s.Time, Size: g.Disk,
				Volid: fmt.Sprintf("pbs-%s:backup/%s/%d/%s", home, kind, g.ID, s.Time.UTC().Format(time.RFC3339)),
			},
		}}},
	})
	for id := range h.log.state.Ops {
		h.op = id
	}
}

// work drives the executor and the leader's part until the operation's guest
// has nothing left to do, fails for good, or ctx ends. It returns where it stands.
func (h *hands) work(ctx context.Context) string {
	for ctx.Err() == nil {
		op := h.log.state.Ops[h.op]
		step, _, left := op.Guests[h.guest].Current()
		token := op.TokenOf(h.guest)
		var command failover.Command
		switch {
		case !left:
			return "done"
		case step.Status == failover.StatusFailed && step.Failure != failover.FailTransient:
			return fmt.Sprintf("%s failed: %s", step.ID, step.Note)
		case step.Status == failover.StatusFailed:
			command = failover.RetryStep{Token: token}
		case step.ID == failover.StepOwn:
			command = failover.Own{Token: token}
		case step.ID == failover.StepServe:
			command = failover.Serve{Token: token}
		}
		if command != nil {
			if _, err := h.log.Propose(ctx, command); err != nil {
				return fmt.Sprintf("%T: %v", command, err)
			}
			continue
		}
		next := time.Now().Add(time.Second)
		for _, w := range h.executor.Workers(time.Now()) {
			next = w.Step(ctx, time.Now())
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
	}
	step, _, _ := h.log.state.Ops[h.op].Guests[h.guest].Current()
	return fmt.Sprintf("not done in time: %s %s, attempt %d: %s", step.ID, step.Status, step.Attempt, step.Note)
}

// TestHostThatDiesInMidRestore takes the power of the target's machine while it
// restores, and gives it back: the root helper frees what is left, it is
// deleted, the guest is restored anew and serves, once.
func TestHostThatDiesInMidRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	moulin, quai := w.start("moulin"), w.start("quai")
	if err := moulin.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := quai.Sync(t.Context()); err == nil {
		t.Fatal("the pull from the third site, which has no hosts, succeeded")
	}
	h := w.hands("quai")
	g := w.lab.GuestsOf("moulin")[1] // a container: its image is to be unmounted, too
	if g.Type != network.CT {
		t.Fatalf("%s is a %s, want a container", g.Name, g.Type)
	}
	h.begin(g)
	crash := lab.Fault{Where: "pve:raoull-quai", Match: lab.Match{Method: "GET", Path: "*/log"}, Effect: lab.EffectCrashHost, Times: 1}
	if err := quai.AddFault(t.Context(), crash); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	ended := make(chan string, 1)
	go func() { ended <- h.work(ctx) }()
	w.until("the machine dies", func() error {
		st, err := quai.Status(t.Context())
		if err == nil && st.Hosts[1].Power {
			err = fmt.Errorf("%s has power", st.Hosts[1].Name)
		}
		return err
	})
	if err := quai.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got != "done" {
		t.Fatalf("the operation is %s, want done", got)
	}
	st, err := quai.Status(t.Context())
	if err != nil || len(st.Hosts[1].Guests) != 1 || !st.Hosts[1].Guests[0].Serving {
		t.Errorf("the target's guests are %+v, %v; want the one copy, serving", st.Hosts[1].Guests, err)
	}
	if n := len(st.Restores); n != 2 {
		t.Errorf("%d restores were asked for, want the one that was cut and another", n)
	}
}
