package netns_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const (
	// proofLimit is from a host's death until a person is asked for the proof that it is off: the verdict, the commit delay,
	// the restores and all looks; and from the retry until the guests serve.
	proofLimit = 150 * time.Second
	fenced     = "fabrique"
)

// silenceOfADeadMachine: a rescue on the same VLAN waits for the proof that the dead host is off. Here it
// is the silence of the host and of its guest to ARP and ping on their own switch. As long as the
// guest answers ARP nothing is owned, and a person is called; when it is silent, too, the rescue goes on.
func silenceOfADeadMachine(t *testing.T, bin string) {
	r := openAs(t, bin, 3, func(l *site.Lab) { l.Rescue = true }, watchInstead)
	lan, err := r.World.AddMachine(t.Context(), fenced)
	if err != nil {
		t.Fatal(err)
	}
	if lan.Host.String() != "172.30.2.10" || lan.Guest.String() != "172.31.2.11" {
		t.Fatalf("the machine is at %s and %s: the fence looks elsewhere", lan.Host, lan.Guest)
	}
	host := "pve-" + fenced
	if err := r.World.HostGone(t.Context(), lan); err != nil {
		t.Fatal(err)
	}
	if err := r.Hosts(fenced).Crash(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	at := r.others(fenced)[0]
	var op failover.OpView
	r.eventually(proofLimit, "a guest answers ARP, and a person is called", func() error {
		if op, err = r.rescueOf(at, host); err != nil {
			return err
		}
		for _, g := range op.Guests {
			if g.State != failover.RunStuck {
				return fmt.Errorf("%s: %s %s (%s)", g.Guest, g.Step, g.Status, g.Note)
			}
			if g.Stuck.Code != failover.CodeNoProof || !strings.Contains(g.Note, "172.31.2.11 answers ARP") {
				t.Fatalf("%s is stuck with %s, note %q; want %s and what answers", g.Guest, g.Stuck.Code, g.Note, failover.CodeNoProof)
			}
		}
		return nil
	})
	r.expectRescued(at, host, false)

	if err := r.World.AllGone(t.Context(), lan); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Ctl(t.Context(), at, "op", "retry", string(op.ID), "--yes"); err != nil {
		t.Fatal(err)
	}
	r.eventually(proofLimit, "nobody answers any more, and the rescue ends", func() error {
		op, err := r.rescueOf(at, host)
		if err == nil && op.Phase != failover.OpDone {
			err = fmt.Errorf("%s is %s: %+v", op.ID, op.Phase, op.Guests)
		}
		return err
	})
	r.expectRescued(at, host, true)
}

// watchInstead gives the agent a fence that looks at the machine's addresses.
func watchInstead(dir string) error {
	path := site.AgentFile(dir, fenced)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := regexp.MustCompile(`(?m)^fences: .*$`)
	if !line.Match(b) {
		return fmt.Errorf("%s has no fences: to replace", path)
	}
	const quiet = "fences: {plug: {quiet: {addresses: [172.30.2.10, 172.31.2.11], witnesses: [172.30.2.1, 172.31.2.1]}}}"
	return os.WriteFile(path, line.ReplaceAll(b, []byte(quiet)), 0o600)
}

// rescueOf returns the rescue of a host.
func (r *room) rescueOf(at, host string) (failover.OpView, error) {
	st, err := r.status(at)
	if err != nil {
		return failover.OpView{}, err
	}
	for _, op := range st.Ops {
		if op.Kind == failover.KindRescue && op.Domain == failover.HostDomain(failover.HostID(host)) {
			return op, nil
		}
	}
	return failover.OpView{}, fmt.Errorf("no rescue of %s: held %v", host, st.Held)
}

// expectRescued: the guests of the host run beside it, or none of them does.
func (r *room) expectRescued(at, host string, want bool) {
	r.t.Helper()
	all, err := read[api.GuestList](r, at, api.KindGuests, "guests")
	if err != nil {
		r.t.Fatal(err)
	}
	st, err := r.Hosts(fenced).Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	running := 0
	for _, h := range st.Hosts {
		for _, g := range h.Guests {
			if h.Name != host && g.Running {
				running++
			}
		}
	}
	owned, members := 0, r.lab.GuestsOf(fenced)
	for _, g := range all.Items {
		if m, ok := r.lab.Guest(string(g.Guest)); ok && r.lab.Home(m) == fenced && g.ID != m.ID {
			owned++
		}
	}
	wanted := 0
	if want {
		wanted = len(members)
	}
	if owned != wanted || running != wanted {
		r.t.Errorf("%d guests of %s are owned beside it and %d run there, want %d", owned, host, running, wanted)
	}
}
