package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// scene is a network as it looks, told look by look. It begins well: every guest is at
// home.
type scene struct {
	t     *testing.T
	lab   *site.Lab
	check *checker
	now   time.Time
	index uint64
	guest map[string]failover.GuestView
	ops   []failover.OpView
	hosts map[string]*site.Status
	names map[string]string // that all servers tell
}

const copyID = 90001

// The guest that the scenes are about, its home, and where it is restored.
const (
	hero   = "nuage-moulin"
	home   = "moulin"
	target = "quai"
)

func newScene(t *testing.T) *scene {
	t.Helper()
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{
		t: t, lab: l, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), index: 100,
		guest: map[string]failover.GuestView{}, hosts: map[string]*site.Status{}, names: map[string]string{},
	}
	s.check = newChecker(l, newTruth(l.Names(), s.now), 10*time.Second, nil)
	for i, name := range l.Names() {
		st := &site.Status{Site: name}
		for _, h := range l.Hosts(i) {
			st.Hosts = append(st.Hosts, site.HostStatus{Name: h.Name, Power: true})
		}
		s.hosts[name] = st
		s.check.powered(name, s.now)
	}
	for _, g := range l.Guests {
		at := l.Home(g)
		s.guest[g.Name] = failover.GuestView{
			Guest: failover.GuestID(g.Name), ID: g.ID, At: failover.SiteID(at), Serving: failover.SiteID(at),
			Phase: failover.PhaseHome, Epoch: failover.Epoch{}.String(), Names: g.Names, Home: failover.SiteID(at),
		}
		s.names[g.Names[0]] = at
		h := &s.hosts[at].Hosts[0]
		h.Guests = append(h.Guests, site.GuestStatus{ID: g.ID, Name: g.Name, Running: true, Serving: true, Onboot: true})
	}
	return s
}

// look is what a site looks like now; change, if not nil, makes it another.
func (s *scene) look(name string, change func(*Look)) {
	l := &Look{Site: name, Asked: s.now, At: s.now, DNS: map[string][]string{}, Hosts: s.hosts[name]}
	a := &Agent{Guests: api.GuestList{Meta: api.Meta{Index: s.index}}, Ops: api.OpList{Meta: api.Meta{Index: s.index}, Items: s.ops}}
	a.Status.Local.HasLeader, a.Status.Network = true, "lab"
	for _, g := range s.lab.Guests {
		a.Guests.Items = append(a.Guests.Items, s.guest[g.Name])
	}
	for _, n := range s.lab.Names() {
		a.Status.Sites = append(a.Status.Sites, failover.SiteView{Site: failover.SiteID(n), Cause: failover.CauseUp})
	}
	for n, at := range s.names {
		l.DNS[n] = []string{at}
	}
	l.Agent = a
	if change != nil {
		change(l)
	}
	s.check.look(l)
}

// pass lets time pass, with looks at every site in every second; change may be nil.
func (s *scene) pass(d time.Duration, change func(*Look)) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		s.index++
		for _, n := range s.lab.Names() {
			s.look(n, change)
		}
	}
}

func (s *scene) effect(method, path string, id int, force bool) {
	s.index++
	s.look(target, func(l *Look) {
		l.Effects = []site.Effect{{
			At: s.now, Host: "raoull-" + target, Method: method, Path: fmt.Sprintf("/nodes/n/qemu%s", path), ID: id, Force: force, Status: 200,
		}}
	})
}

// copies puts a copy of the hero on a target's machine.
func (s *scene) copyAt(where string, running bool) {
	for i := range s.hosts[where].Hosts {
		if h := &s.hosts[where].Hosts[i]; strings.HasPrefix(h.Name, "raoull-") {
			h.Guests = []site.GuestStatus{{ID: copyID, Name: hero, Running: running, Serving: running, VLANs: []int{s.lab.VLAN("le-moulin")}}}
		}
	}
}

// moves is a failover of the hero as it should be.
func (s *scene) moves() {
	s.check.truth.set(map[string]bool{home: true}, nil, s.now)
	s.hosts[home] = nil
	s.check.unpowered(home)
	s.pass(11*time.Second, nil)
	s.ops = []failover.OpView{{
		ID: "op-90", Kind: failover.KindFailover, Phase: failover.OpCommitted, Domain: "site:" + home, Committed: s.now, By: "fabrique",
		Guests: []failover.OpGuestView{{Guest: hero, Target: target, VMID: copyID, State: failover.RunActive}},
	}}
	s.effect("POST", "", copyID, false)
	s.copyAt(target, false)
	s.pass(2*time.Second, nil)
	s.arrives(40 * time.Second)
}

func (s *scene) expect(invariant, says string) {
	s.t.Helper()
	for _, v := range s.check.Violations() {
		if v.Invariant == invariant && strings.Contains(v.Text, says) {
			return
		}
	}
	s.t.Errorf("violations %v, want one of %s with %q", s.check.Violations(), invariant, says)
}

func TestAWorldThatIsWellHasNoViolation(t *testing.T) {
	s := newScene(t)
	s.pass(time.Minute, nil)
	s.moves()
	if v := s.check.Violations(); len(v) > 0 {
		t.Errorf("violations of a failover as it should be: %v", v)
	}
	if left := s.check.unsettled([]string{"fabrique", "quai", "halle"}, s.now); len(left) > 0 {
		t.Errorf("the core has not converged: %v", left)
	}
}

// TestAReturnBesideAWake: one operation shuts the old copy of a guest down while another starts
// the one that counts (seed 56).
func TestAReturnBesideAWake(t *testing.T) {
	s := newScene(t)
	run := func(at failover.SiteID) []failover.OpGuestView {
		return []failover.OpGuestView{{Guest: hero, Target: at, VMID: copyID, State: failover.RunActive}}
	}
	s.ops = []failover.OpView{
		{ID: "op-1", Kind: failover.KindReturn, Phase: failover.OpReleasing, Guests: run(home)},
		{ID: "op-2", Kind: failover.KindWake, Phase: failover.OpReleasing, Guests: run(target)},
	}
	s.pass(time.Second, nil)
	if found := s.check.Violations(); len(found) != 0 {
		t.Errorf("violations %v, want none", found)
	}
}

// TestTheCheckerFails: a world that is broken in one way is told apart from one that is
// well, by the invariant that it breaks.
func TestTheCheckerFails(t *testing.T) {
	everywhere := func(change func(*failover.GuestView)) func(*Look) {
		return func(l *Look) {
			for i := range l.Agent.Guests.Items {
				if l.Agent.Guests.Items[i].Guest == hero {
					change(&l.Agent.Guests.Items[i])
				}
			}
		}
	}
	at := func(name string, change func(*Look)) func(*Look) {
		return func(l *Look) {
			if l.Site == name {
				change(l)
			}
		}
	}
	name := func(s *scene) string { return s.guest[hero].Names[0] }
	start := fmt.Sprintf("/%d/status/start", copyID)
	for what, tt := range map[string]struct {
		invariant, says string
		do              func(s *scene)
	}{
		"an epoch that shrinks": {"S1", "has epoch", func(s *scene) {
			s.moves()
			s.pass(time.Second, everywhere(func(g *failover.GuestView) { g.Epoch = "1-6" }))
		}},
		"an epoch of two owners": {"S1", "in epoch 0-0", func(s *scene) {
			s.pass(time.Second, everywhere(func(g *failover.GuestView) { g.At, g.ID = target, copyID }))
		}},
		"states that differ at one entry": {"S1", "differ", func(s *scene) {
			s.pass(time.Second, at("halle", everywhere(func(g *failover.GuestView) { g.Phase = failover.PhaseStuck })))
		}},
		"a state that goes back": {"S1", "went back", func(s *scene) {
			s.look("halle", func(l *Look) { l.Agent.Guests.Index -= 50 })
		}},
		"a name at two sites": {"S2", "and", func(s *scene) {
			s.pass(time.Second, at("halle", func(l *Look) { l.DNS[name(s)] = []string{home, target} }))
		}},
		"a name at nothing": {"S2", "at nothing", func(s *scene) {
			s.pass(maxBehind+5*time.Second, at("halle", func(l *Look) { l.DNS[name(s)] = nil }))
		}},
		"a name at a copy that was never up": {"S2", "was ever up", func(s *scene) {
			s.pass(knownAfter+5*time.Second, at("halle", func(l *Look) { l.DNS[name(s)] = []string{target} }))
		}},
		"a server that does not follow": {"L5", "State at", func(s *scene) {
			s.moves()
			s.pass(maxBehind+5*time.Second, at("halle", func(l *Look) { l.DNS[name(s)] = []string{home} }))
		}},
		"a start of what owns nothing": {"S3", "never owned", func(s *scene) {
			s.effect("POST", start, copyID, false)
			s.pass(knownAfter+5*time.Second, nil)
		}},
		"a copy that runs and owns nothing": {"S3", "runs and has never owned", func(s *scene) {
			s.copyAt(target, true)
			s.pass(knownAfter+5*time.Second, nil)
		}},
		"a guest that is started twice": {"S3", "were started", func(s *scene) {
			s.moves()
			// The same epoch is given to a second copy, which is started, too.
			s.pass(time.Second, at("halle", everywhere(func(g *failover.GuestView) { g.ID = copyID + 1 })))
			s.effect("POST", "/90002/status/start", copyID+1, false)
		}},
		"a start for an owner of old": {"S3", "has owned for", func(s *scene) {
			s.moves()
			g := s.guest[hero]
			g.At, g.ID, g.Epoch = "fabrique", copyID+5, fmt.Sprintf("1-%d", s.index+1)
			s.guest[hero] = g
			s.copyAt("fabrique", false)
			s.pass(knownAfter+5*time.Second, nil)
			s.effect("POST", start, copyID, false)
			s.pass(knownAfter+5*time.Second, nil)
		}},
		"a restore over the owner's copy": {"S3", "restored over", func(s *scene) { s.moves(); s.effect("POST", "", copyID, false) }},
		"a guest in two operations": {"S3", "at once", func(s *scene) {
			run := []failover.OpGuestView{{Guest: hero, Target: target, VMID: copyID, State: failover.RunActive}}
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpPreparing, Guests: run}, {ID: "op-2", Phase: failover.OpPreparing, Guests: run}}
			s.pass(time.Second, nil)
		}},
		"a loss of what all could reach": {"S4", "which is well, has reached it", func(s *scene) {
			s.pass(20*time.Second, nil)
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpPreparing, Domain: "site:" + home, By: "fabrique"}}
			s.pass(time.Second, nil)
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "site:" + home, By: "fabrique", Committed: s.now}}
			s.pass(time.Second, nil)
		}},
		"a loss too early": {"S4", "had no way to it", func(s *scene) {
			s.pass(20*time.Second, nil)
			s.check.truth.set(nil, []netns.Cut{{At: home}}, s.now)
			s.pass(3*time.Second, nil)
			s.ops = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted, Domain: "site:" + home, By: "fabrique", Committed: s.now}}
			s.pass(time.Second, nil)
		}},
		"force":                    {"S7", "force", func(s *scene) { s.effect("POST", "", copyID, true) }},
		"deletion of what has run": {"S7", "which has run", func(s *scene) { s.moves(); s.effect("DELETE", "/90001", copyID, false) }},
		"deletion of a foreign guest": {"S7", "a person made", func(s *scene) {
			s.check.did("create", target, 90005, "essai")
			s.effect("DELETE", "/90005", 90005, false)
		}},
		"a home copy that is gone": {"S7", "is gone", func(s *scene) {
			s.hosts[home].Hosts[0].Guests = s.hosts[home].Hosts[0].Guests[1:]
			s.pass(bootGrace+5*time.Second, nil)
		}},
		"a home copy that was stopped": {"S9", "was stopped", func(s *scene) {
			s.hosts[home].Hosts[0].Guests[0].Running = false
			s.pass(bootGrace+5*time.Second, nil)
		}},
		"a request to stop": {"S9", "asked to stop", func(s *scene) { s.effect("POST", "/90001/status/stop", copyID, false) }},
		"a copy that starts by itself": {"S9", "onboot", func(s *scene) {
			s.copyAt(target, false)
			s.hosts[target].Hosts[1].Guests[0].Onboot = true
			s.pass(time.Second, nil)
		}},
		"a copy on another VLAN": {"S11", "VLAN", func(s *scene) {
			s.copyAt(target, false)
			s.hosts[target].Hosts[1].Guests[0].VLANs = []int{999}
			s.pass(time.Second, nil)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.pass(5*time.Second, nil)
			if v := s.check.Violations(); len(v) > 0 {
				t.Fatalf("before anything happened: %v", v)
			}
			tt.do(s)
			s.expect(tt.invariant, tt.says)
		})
	}
}

// TestWhatDoesNotConverge: what is wrong at the end is told by invariant.
func TestWhatDoesNotConverge(t *testing.T) {
	for what, tt := range map[string]struct {
		invariant string
		do        func(s *scene, l *Look)
	}{
		"no agent":  {"L2", func(_ *scene, l *Look) { l.Agent = nil }},
		"no leader": {"L2", func(_ *scene, l *Look) { l.Agent.Status.Local.HasLeader = false }},
		"an operation that hangs": {"L2", func(_ *scene, l *Look) {
			l.Agent.Ops.Items = []failover.OpView{{ID: "op-1", Phase: failover.OpCommitted}}
		}},
		"a copy that stays": {"L3", func(s *scene, l *Look) { s.copyAt(target, false); l.Hosts = s.hosts[l.Site] }},
		"a restore point that stays protected": {"L3", func(s *scene, l *Look) {
			s.hosts[target].Hosts[1].Pinned = []string{"moulin/vm/1101/2026-03-01T12:00:00Z"}
			l.Hosts = s.hosts[l.Site]
		}},
		"nothing to do for what is stuck": {"L4", func(_ *scene, l *Look) { l.Agent.Guests.Items[0].Phase = failover.PhaseStuck }},
		"a server of another opinion":     {"L5", func(s *scene, l *Look) { l.DNS[s.guest[hero].Names[0]] = []string{target} }},
		"a server that says nothing":      {"L5", func(_ *scene, l *Look) { l.DNS = map[string][]string{} }},
		"a site that is not up":           {"L1", func(_ *scene, l *Look) { l.Agent.Status.Sites[0].Cause = failover.CauseLost }},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			s.pass(5*time.Second, nil)
			if left := s.check.unsettled(s.lab.Names(), s.now); len(left) > 0 {
				t.Fatalf("a network that is well has not converged: %v", left)
			}
			s.pass(time.Second, func(l *Look) { tt.do(s, l) })
			left := s.check.unsettled(s.lab.Names(), s.now)
			for _, v := range left {
				if v.Invariant == tt.invariant {
					return
				}
			}
			t.Errorf("%v, want something of %s", left, tt.invariant)
		})
	}
}

// TestAPowerCutExcusesAPin: a disk may forget what it was told in the last seconds.
func TestAPowerCutExcusesAPin(t *testing.T) {
	s := newScene(t)
	s.hosts[target].Hosts[1].Pinned = []string{"moulin/vm/1101/2026-03-01T12:00:00Z"}
	s.check.unpowered(target)
	s.check.powered(target, s.now)
	s.pass(time.Second, nil)
	if left := s.check.unsettled(s.lab.Names(), s.now); len(left) > 0 {
		t.Errorf("%v, want the pin excused", left)
	}
}
