package netns_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const (
	// verdictLimit is generous: a verdict takes some 10 s on a machine that is idle.
	verdictLimit = 45 * time.Second
	// stillFor is how long it is watched that nothing moves: a loss would be committed
	// by then, the restores would have begun long before.
	stillFor = 14 * time.Second
)

// fault is one thing that fails at one site, and what the network must make of it.
type fault struct {
	name       string
	site       string
	begin, end func(ctx context.Context, r *room, site string) error

	cause failover.Cause // of the site
	host  string         // that has a verdict of its own
	held  string         // code of the reason why automation holds back; "": nothing to hold
	down  string         // a target that others must see silent or refusing; "": none
	sees  int            // how many others must
}

// The faults that are undone by taking the cuts away.
func cut(do func(ctx context.Context, r *room, site string) error) (begin, end func(context.Context, *room, string) error) {
	return do, func(ctx context.Context, r *room, site string) error { return r.World.Heal(ctx, site) }
}

func faultAt(site, name string, cause failover.Cause, do func(ctx context.Context, r *room, site string) error) fault {
	f := fault{name: name, site: site, cause: cause}
	f.begin, f.end = cut(do)
	return f
}

// services are faults of one service each, at four sites at once: each site's agent
// stays a healthy observer of the three others.
func services() []fault {
	public := faultAt("moulin", "public only", failover.CausePublicDown, func(ctx context.Context, r *room, site string) error { return r.World.CutPublic(ctx, site) })
	public.down, public.sees = "entry", 4
	host := faultAt("fabrique", "host only", failover.CauseHostDown, func(ctx context.Context, r *room, site string) error {
		return r.World.CutHost(ctx, site, "pve-"+site)
	})
	host.host, host.held, host.down, host.sees = "pve-fabrique", failover.CodeHostByHand, "pve:pve-fabrique", 4
	router := faultAt("quai", "router only", failover.CauseUp, func(ctx context.Context, r *room, site string) error { return r.World.CutRouter(ctx, site) })
	router.down, router.sees = "router", 4
	dns := faultAt("halle", "DNS only", failover.CauseUp, func(ctx context.Context, r *room, site string) error { return r.World.CutDNS(ctx, site) })
	dns.down, dns.sees = "dns", 4
	return []fault{public, host, router, dns}
}

// agents are faults of the agent alone, at two of five voters: three are left. The
// one that leads freezes, which is the worst that it can do: its connections stay open.
func agents(leader string) []fault {
	killed := "quai"
	if killed == leader {
		killed = "fabrique"
	}
	return []fault{
		{
			name: "agent only", site: killed, cause: failover.CauseAgentOnly, down: "agent", sees: 3,
			begin: func(_ context.Context, r *room, site string) error { return r.KillAgent(site) },
			end:   func(ctx context.Context, r *room, site string) error { return r.StartAgent(ctx, site) },
		},
		{
			name: "freeze", site: leader, cause: failover.CauseAgentOnly, down: "agent", sees: 3,
			begin: func(_ context.Context, r *room, site string) error { return r.FreezeAgent(site) },
			end:   func(_ context.Context, r *room, site string) error { return r.ThawAgent(site) },
		},
	}
}

func meshOnly() []fault {
	f := faultAt("moulin", "mesh only", failover.CauseMeshDown, func(ctx context.Context, r *room, site string) error { return r.World.CutMesh(ctx, site) })
	f.held, f.down, f.sees = failover.CodeMeshDown, "agent", 4
	return []fault{f}
}

func oneWay() []fault {
	f := faultAt("moulin", "one way to some", failover.CauseAsymmetric, func(ctx context.Context, r *room, site string) error {
		return r.World.CutSending(ctx, site, "fabrique", "quai")
	})
	f.held, f.down, f.sees = failover.CodeVeto, "entry", 2
	return []fault{f}
}

// TestRealNetwork breaks networks of real processes, real addresses, real ICMP and a
// real WireGuard mesh in every way that the design names. Each case ends in a verdict
// and in what was done, both read with wwwctl at a site that is well. Three networks run
// side by side, since most of the time is waiting.
func TestRealNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("real network test skipped: it takes minutes")
	}
	need(t)
	bin := programs(t)
	t.Run("parts", func(t *testing.T) {
		t.Parallel()
		r := open(t, bin, 1)
		_ = t.Run("services", func(t *testing.T) { r.on(t).nothingMoves(services()) }) &&
			t.Run("agents", func(t *testing.T) { r.on(t).nothingMoves(agents(r.on(t).leader())) }) &&
			t.Run("cut one way", func(t *testing.T) {
				// Whoever is heard by nobody serves nobody, though it hears them all.
				r.on(t).loses("quai", func(ctx context.Context) error { return r.World.CutSending(ctx, "quai", r.others("quai")...) })
			})
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		silenceOfADeadMachine(t, bin)
	})
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		r := open(t, bin, 2)
		_ = t.Run("mesh", func(t *testing.T) { r.on(t).nothingMoves(meshOnly()) }) &&
			t.Run("some", func(t *testing.T) { r.on(t).nothingMoves(oneWay()) }) &&
			t.Run("clock jump", func(t *testing.T) { r.on(t).clockJump() }) &&
			t.Run("cut both ways", func(t *testing.T) {
				r.on(t).loses("moulin", func(ctx context.Context) error { return r.World.CutLine(ctx, "moulin") })
			}) &&
			t.Run("return", func(t *testing.T) { r.on(t).returns("moulin") })
	})
}

// on returns the room for a part of the test.
func (r *room) on(t *testing.T) *room {
	other := *r
	other.t = t
	return &other
}

// nothingMoves lets faults happen at once, waits for every verdict, watches that
// nothing moves for longer than a loss would take, and undoes them.
func (r *room) nothingMoves(faults []fault) {
	var hit []string
	begun := time.Now()
	for _, f := range faults {
		if err := f.begin(r.t.Context(), r, f.site); err != nil {
			r.t.Fatalf("%s at %s: %v", f.name, f.site, err)
		}
		hit = append(hit, f.site)
	}
	at := r.witness(hit)
	for _, f := range faults {
		r.t.Run(f.name, func(t *testing.T) {
			r.on(t).eventually(verdictLimit, fmt.Sprintf("the verdict on %s, asked at %s", f.site, at), func() error { return f.judged(r, at) })
			t.Logf("judged %s after %.1f s", f.cause, time.Since(begun).Seconds())
		})
	}
	r.wait(time.Until(begun.Add(stillFor)))
	for _, f := range faults {
		if err := f.judged(r, at); err != nil {
			r.t.Errorf("%s, %s after it began: %v", f.name, stillFor, err)
		}
	}
	r.expectOthersUp(at, faults)
	r.expectStill(r.t, at)
	for _, f := range faults {
		if err := f.end(r.t.Context(), r, f.site); err != nil {
			r.t.Fatalf("end of %s at %s: %v", f.name, f.site, err)
		}
	}
	r.awaitSound("the healed network")
	r.expectStill(r.t, at)
}

// expectOthersUp checks that what fails is no news of anything else: the sites that are
// not hit are up, although one that is may itself miss them, and nothing is held back
// but by the faults' own reasons.
func (r *room) expectOthersUp(at string, faults []fault) {
	st, err := r.status(at)
	if err != nil {
		r.t.Errorf("status at %s: %v", at, err)
	}
	hit, held := map[string]bool{}, map[failover.DomainID]string{}
	for _, f := range faults {
		hit[f.site] = true
		if f.held != "" {
			held[f.domain()] = f.held
		}
	}
	for _, s := range st.Sites {
		if !hit[string(s.Site)] && s.Cause != failover.CauseUp {
			r.t.Errorf("%s is %s (%s), want up: it is not hit", s.Site, s.State, s.Cause)
		}
	}
	for _, h := range st.Held {
		if held[h.Domain] != h.Reason.Code {
			r.t.Errorf("%s is held by %s %v, want %q", h.Domain, h.Reason.Code, h.Reason.Args, held[h.Domain])
		}
	}
}

// witness returns a site that is not hit, or, when most are, the last.
func (r *room) witness(hit []string) string { return r.others(hit...)[len(r.others(hit...))-1] }

func (r *room) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.t.Context().Done():
		r.t.Fatal(context.Cause(r.t.Context()))
	}
}

// domain is what the fault has a verdict on.
func (f fault) domain() failover.DomainID {
	if f.host != "" {
		return failover.HostDomain(network.HostID(f.host))
	}
	return failover.SiteDomain(network.SiteID(f.site))
}

// judged compares what a site's agent says of the fault with what it must.
func (f fault) judged(r *room, at string) error {
	s, err := r.siteOf(at, f.site)
	if err != nil {
		return err
	}
	var errs []error
	if s.Site.Cause != f.cause {
		errs = append(errs, fmt.Errorf("%s is %s (%s), want %s", f.site, s.Site.State, s.Site.Cause, f.cause))
	}
	if f.host != "" {
		i := slices.IndexFunc(s.Site.Hosts, func(h failover.HostView) bool { return string(h.Host) == f.host })
		if i < 0 || s.Site.Hosts[i].Cause != f.cause {
			errs = append(errs, fmt.Errorf("hosts are %v, want %s %s", s.Site.Hosts, f.host, f.cause))
		}
	}
	if held := s.Domains[string(f.domain())].Held.Code; held != f.held {
		errs = append(errs, fmt.Errorf("%s is held by %q, want %q", f.domain(), held, f.held))
	}
	if n := missing(s, f.down); f.down != "" && n < f.sees {
		errs = append(errs, fmt.Errorf("%d others miss %s, want %d", n, f.down, f.sees))
	}
	return errors.Join(errs...)
}

// missing counts the other sites to which a target is silent or refused.
func missing(s api.Site, target string) int {
	n := 0
	for _, o := range s.Seen {
		if o.Observer != s.Site.Site && o.Target == target && (o.Seen == failover.SeenDown || o.Seen == failover.SeenRefused) {
			n++
		}
	}
	return n
}

// clockJump moves the clock of the agent that leads by an hour: it must call itself
// unwell, and neither lead the others into a verdict nor anything into moving.
func (r *room) clockJump() {
	leader := r.leader()
	begun := time.Now()
	if err := r.JumpClock(leader, time.Hour); err != nil {
		r.t.Fatal(err)
	}
	at := r.witness([]string{leader})
	r.eventually(verdictLimit, leader+" knows of its clock", func() error {
		st, err := r.status(leader)
		if err == nil && !slices.Contains(st.Local.Unwell, "clock-jump") {
			err = fmt.Errorf("it calls itself %v", st.Local.Unwell)
		}
		return err
	})
	r.t.Logf("%s, which leads, calls itself unwell after %.1f s", leader, time.Since(begun).Seconds())
	r.wait(time.Until(begun.Add(stillFor)))
	r.expectOthersUp(at, nil)
	st, err := r.status(at)
	if err != nil {
		r.t.Fatal(err)
	}
	left := 0
	for _, s := range st.Sites {
		for _, v := range s.Evidence {
			counts, sound := len(v.Unwell) == 0, string(v.Observer) != leader
			if counts != sound {
				r.t.Errorf("the word of %s on %s counts: %v (unwell: %v), want %v", v.Observer, s.Site, counts, v.Unwell, sound)
			}
			if !counts {
				left++
			}
		}
	}
	if want := len(r.lab.Sites) - 1; left != want {
		r.t.Errorf("the word of %s is left out on %d sites, want %d", leader, left, want)
	}
	if late := time.Since(st.At).Abs(); late > 30*time.Second {
		r.t.Errorf("the network's clock is off by %s, want it to go on as before the jump", late)
	}
	r.expectStill(r.t, at)
}

// loses cuts a site off. It is lost; its guests run elsewhere from their copies, and
// who asks on the internet finds them. The site itself knows that it is alone, and
// leaves its guests to whoever reaches them.
func (r *room) loses(name string, cut func(context.Context) error) {
	begun := time.Now()
	if err := cut(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	at := r.witness([]string{name})
	r.eventually(verdictLimit, "the verdict on "+name, func() error {
		return fault{site: name, cause: failover.CauseLost, down: "agent", sees: 3}.judged(r, at)
	})
	r.t.Logf("judged lost after %.1f s", time.Since(begun).Seconds())
	var op failover.OpView
	r.eventually(verdictLimit, "the failover of "+name, func() error {
		list, err := read[api.OpList](r, at, api.KindOps, "op", "list")
		if err != nil {
			return err
		}
		for _, o := range list.Items {
			if o.Domain == failover.SiteDomain(network.SiteID(name)) && o.Phase == failover.OpDone {
				op = o
				return nil
			}
		}
		return fmt.Errorf("no operation is done: %v", list.Items)
	})
	if early := op.Committed.Sub(begun); early < policy().Commit.D()-2*time.Second {
		r.t.Errorf("committed %s after the cut, want no earlier than the delay of %s", early, policy().Commit.D())
	}
	r.t.Logf("done after %.1f s", time.Since(begun).Seconds())
	r.expectMoved(name, op)
	r.expectAlone(name)
}

// expectAlone checks what the cut-off site makes of it: it decides nothing, says that
// it is isolated, and stops no guest.
func (r *room) expectAlone(name string) {
	st, err := r.status(name)
	if err != nil || st.Headline != failover.HeadIsolated {
		r.t.Errorf("%s, asked itself, says %q (%v), want %q", name, st.Headline, err, failover.HeadIsolated)
	}
	r.expectRunning(name)
}

// expectRunning checks that every guest runs at its home.
func (r *room) expectRunning(name string) {
	hosts, err := r.Hosts(name).Status(r.t.Context())
	if err != nil {
		r.t.Fatalf("hosts of %s: %v", name, err)
	}
	running := map[string]bool{}
	for _, h := range hosts.Hosts {
		for _, g := range h.Guests {
			running[g.Name] = running[g.Name] || g.Running
		}
	}
	for _, g := range r.lab.GuestsOf(name) {
		if !running[g.Name] {
			r.t.Errorf("%s does not run at %s, want it left alone", g.Name, name)
		}
	}
}

// returns heals a site whose guests were failed over. Both copies of each guest have
// run: neither may be stopped or chosen by a machine, and the names stay where they are.
func (r *room) returns(name string) {
	begun := time.Now()
	if err := r.World.Heal(r.t.Context(), name); err != nil {
		r.t.Fatal(err)
	}
	at := r.witness([]string{name})
	r.eventually(verdictLimit, name+" is back", func() error {
		s, err := r.siteOf(at, name)
		if err == nil && s.Site.Cause != failover.CauseUp {
			err = fmt.Errorf("it is %s (%s)", s.Site.State, s.Site.Cause)
		}
		return err
	})
	var list api.GuestList
	r.eventually(verdictLimit, "its guests are known to be diverged", func() error {
		var err error
		if list, err = read[api.GuestList](r, at, api.KindGuests, "guests"); err != nil {
			return err
		}
		var errs []error
		for _, g := range list.Items {
			if m, ok := r.lab.Guest(string(g.Guest)); ok && string(g.Home) == name && m.Priority < 4 && g.Phase != failover.PhaseDiverged {
				errs = append(errs, fmt.Errorf("%s is %s", g.Guest, g.Phase))
			}
		}
		return errors.Join(errs...)
	})
	r.t.Logf("back and diverged after %.1f s", time.Since(begun).Seconds())
	m := newMember(r)
	for _, g := range list.Items {
		if g.Phase != failover.PhaseDiverged {
			continue
		}
		if string(g.At) == name || g.Serving != g.At {
			r.t.Errorf("%s is owned by %s and served at %s, want it left where it is", g.Guest, g.At, g.Serving)
		}
		r.eventually(verdictLimit, fmt.Sprintf("%s on the internet, asked at every site", g.Guest), func() error {
			return m.find(r.t.Context(), g.Names[0], string(g.Serving), r.lab.Names())
		})
	}
	r.expectRunning(name)
}

// expectMoved checks that all guests of a site that are worth a rescue are served
// elsewhere, to the internet, and no others were touched.
func (r *room) expectMoved(name string, op failover.OpView) {
	at := r.witness([]string{name})
	list, err := read[api.GuestList](r, at, api.KindGuests, "guests")
	if err != nil {
		r.t.Fatal(err)
	}
	m, moved, restores := newMember(r), 0, 0
	for _, g := range list.Items {
		member, ok := r.lab.Guest(string(g.Guest))
		moves := string(g.Home) == name && ok && member.Priority < 4
		if away := g.Serving != g.Home; away != moves {
			r.t.Errorf("%s of %s is served at %q: moved %v, want %v", g.Guest, g.Home, g.Serving, away, moves)
		}
		if moves {
			moved++
			r.eventually(verdictLimit, fmt.Sprintf("%s on the internet", g.Guest), func() error {
				return m.find(r.t.Context(), member.Names[0], string(g.Serving), r.others(name))
			})
		}
	}
	for _, s := range r.others(name) {
		hosts, err := r.Hosts(s).Status(r.t.Context())
		if err != nil {
			r.t.Fatalf("hosts of %s: %v", s, err)
		}
		restores += len(hosts.Restores)
	}
	if len(op.Guests) != moved || restores != moved {
		r.t.Errorf("operation %s has %d guests, %d restores were asked of the survivors, want %d of each", op.ID, len(op.Guests), restores, moved)
	}
}
