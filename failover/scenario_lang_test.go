package failover_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// play is one scenario under way.
type play struct {
	log
	place  string // file:line
	out    []string
	id     string // of the next proposal
	unwell map[failover.SiteID][]string
	boots  map[failover.SiteID]int
	kept   map[failover.GuestID]failover.Token
	ready  map[failover.SiteID]failover.Readiness
	deltas []string // of the declaration
	offer  string   // that a person looked at

	leftOff bool // the copies that were left are off
}

func newPlay(t *testing.T) *play {
	return &play{
		log: *newLog(t), unwell: map[failover.SiteID][]string{}, boots: map[failover.SiteID]int{},
		kept: map[failover.GuestID]failover.Token{}, ready: map[failover.SiteID]failover.Readiness{},
	}
}

func (p *play) printf(format string, args ...any) {
	p.out = append(p.out, fmt.Sprintf(format, args...))
}

func (p *play) flush() string {
	out := strings.Join(p.out, "\n")
	p.out = nil
	return cmp.Or(out, "ok")
}

func (p *play) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf(p.place+": "+format, args...)
}

// propose applies a command and prints a refusal.
func (p *play) propose(c failover.Command) bool {
	err := p.applyAs(p.id, c)
	p.id = ""
	if err != nil {
		p.printf("%v", err)
	}
	return err == nil
}

// run carries out one line. "@ID" before a command gives its proposal an id.
func (p *play) run(line string) {
	words := strings.Fields(line)
	if id, ok := strings.CutPrefix(words[0], "@"); ok {
		p.id, words = id, words[1:]
	}
	commands := map[string]func(args []string){
		"network": p.network, "declare": p.declare, "members": p.members, "leader": p.leader, "advance": p.advance,
		"report": p.report, "dark": p.darkSites, "sick": p.sick, "reboot": p.reboot,
		"ready": p.readiness, "capacity": p.capacity,
		"decide": p.decide, "step": p.step, "work": p.work, "keep": p.keep, "stale": p.stale, "confirm": p.confirm, "runnable": p.runnable,
		"commit": p.commit, "approve": p.approve, "retry-of": p.retryOf, "cancel": p.cancel, "retry": p.retry, "force": p.force, "rescue": p.rescue,
		"look": p.look, "maintenance": p.maintenance, "exclude": p.exclude, "include": p.include,
		"pause": p.pause, "unpause": p.unpause, "ack": p.ack,
		"plan": p.plan, "status": p.status, "guests": p.guests, "verdict": p.verdict, "events": p.events, "zones": p.zones,
	}
	do, ok := commands[words[0]]
	if !ok {
		p.fatalf("%q is no command", words[0])
	}
	do(words[1:])
}

func (p *play) spec() *network.Spec {
	spec := fiveSites()
	for _, word := range p.deltas {
		if err := tweak(&spec, word); err != nil {
			p.fatalf("%v", err)
		}
	}
	return spec.WithDefaults()
}

// network five NAME.FIELD=VALUE…: a network of five sites, all voters, with restore
// points an hour old everywhere, everybody well ten minutes ago.
func (p *play) network(args []string) {
	if len(args) == 0 || args[0] != "five" {
		p.fatalf("the only network is five")
	}
	p.deltas = args[1:]
	p.boot(p.spec())
	for _, site := range []failover.SiteID{"moulin", "fabrique", "quai"} {
		r := failover.Readiness{
			Site: site, Host: failover.HostID("raoull-" + string(site)), MemoryTotal: 64 * gib, MemoryFree: 32 * gib,
			StorageFree: 1000 * gib, Rate: 100 << 20, Points: map[failover.GuestID][]failover.RestorePoint{},
		}
		for _, g := range p.s.Network.GuestIDs() {
			if p.s.Network.Home(g) != site {
				r.Points[g] = []failover.RestorePoint{restorePoint(g, p.now.Add(-time.Hour), 20*gib)}
			}
		}
		p.ready[site] = r
		p.must(failover.ReportReadiness{Ready: r})
	}
	p.dark(0)
	p.settle()
	p.now = p.now.Add(10 * time.Minute)
}

// declare NAME.FIELD=VALUE…: an admin applies a changed declaration.
func (p *play) declare(args []string) {
	old := p.deltas
	p.deltas = append(slices.Clone(old), args...)
	if !p.propose(failover.ApplyNetwork{Spec: p.spec(), IfVersion: p.s.NetworkVersion}) {
		p.deltas = old
	}
}

// members SITE… -SITE…: exactly these voters and, with a dash, non-voters.
func (p *play) members(args []string) {
	want := map[failover.SiteID]bool{}
	for _, word := range args {
		name, watcher := strings.CutPrefix(word, "-")
		want[failover.SiteID(name)] = !watcher
		p.propose(member(failover.SiteID(name), !watcher))
	}
	for _, id := range p.s.Network.SiteIDs() {
		if _, ok := want[id]; !ok {
			p.propose(failover.RemoveMember{Site: id})
		}
	}
}

// leader SITE [clock=±D]: another leader begins its term, whose wall clock is
// wrong by D. It stamps max(wall clock, State.Clock) and what follows.
func (p *play) leader(args []string) {
	if len(args) > 1 {
		wall := p.now.Add(p.duration(strings.TrimPrefix(args[1], "clock=")))
		p.now = p.s.Clock
		if wall.After(p.now) {
			p.now = wall
		}
	}
	p.term++
	p.propose(failover.BeginTerm{Leader: failover.SiteID(args[0])})
}

func (p *play) advance(args []string) { p.now = p.now.Add(p.duration(args[0])) }

func (p *play) duration(word string) time.Duration {
	d, err := time.ParseDuration(word)
	if err != nil {
		p.fatalf("%v", err)
	}
	return d
}

// observers expands "a,b" and "all" (every member but those that are left out).
func (p *play) observers(word string, but ...failover.SiteID) []failover.SiteID {
	var out []failover.SiteID
	for _, id := range p.s.Network.SiteIDs() {
		if _, ok := p.s.Members[id]; !ok || slices.Contains(but, id) {
			continue
		}
		if word == "all" || slices.Contains(strings.Split(word, ","), string(id)) {
			out = append(out, id)
		}
	}
	return out
}

// report OBSERVERS: SITE WHAT=SEEN:FOR… [; SITE …]: what they see; everything
// that is not named is up for an hour. WHAT is a target, the beginning of one
// before its colon, a kind of path, or all.
func (p *play) report(args []string) {
	who, text, _ := strings.Cut(strings.Join(args, " "), ":")
	for _, observer := range p.observers(who) {
		r := report(p.s, observer, func(o *failover.Observation) {
			for clause := range strings.SplitSeq(text, ";") {
				words := strings.Fields(clause)
				if len(words) > 0 && words[0] == string(o.Site) {
					p.see(o, words[1:])
				}
			}
		})
		p.more(&r, text)
		p.send(r)
	}
}

// more adds what a clause writes with a plus: "moulin +name:FQDN=refused:50s" is seen
// over the public path beside all that is seen anyway.
func (p *play) more(r *failover.Report, text string) {
	for clause := range strings.SplitSeq(text, ";") {
		words := strings.Fields(clause)
		for _, word := range words {
			if target, ok := strings.CutPrefix(word, "+"); ok {
				name, _, _ := strings.Cut(target, "=")
				o := failover.Observation{Site: failover.SiteID(words[0]), Target: name, Path: failover.PathPublic}
				p.see(&o, []string{target})
				at := slices.IndexFunc(r.Observations, func(x failover.Observation) bool { return x.Site == o.Site })
				if at >= 0 { // nobody observes itself
					r.Observations = slices.Insert(r.Observations, at, o)
				}
			}
		}
	}
}

func (p *play) send(r failover.Report) {
	r.Boot = fmt.Sprintf("boot-%d", p.boots[r.Observer])
	r.Unwell = p.unwell[r.Observer]
	p.propose(r)
}

func (p *play) see(o *failover.Observation, words []string) {
	for _, word := range words {
		what, seen, _ := strings.Cut(word, "=")
		kind, _, _ := strings.Cut(o.Target, ":")
		if what != "all" && what != string(o.Path) && what != kind && what != o.Target {
			continue
		}
		state, for_, _ := strings.Cut(seen, ":")
		o.Seen, o.For = failover.Seen(state), p.duration(cmp.Or(for_, "1h"))
	}
}

// dark SITE[,SITE] FOR [but OBSERVERS]: every other member reports them silent.
func (p *play) darkSites(args []string) {
	var lost []failover.SiteID
	for name := range strings.SplitSeq(args[0], ",") {
		lost = append(lost, failover.SiteID(name))
	}
	but := lost
	if len(args) > 3 {
		for name := range strings.SplitSeq(args[3], ",") {
			but = append(slices.Clone(but), failover.SiteID(name))
		}
	}
	d := p.duration(args[1])
	for _, observer := range p.observers("all", but...) {
		p.send(report(p.s, observer, func(o *failover.Observation) {
			if slices.Contains(lost, o.Site) {
				o.Seen, o.For = failover.SeenDown, d
			}
		}))
	}
}

// sick OBSERVERS [WHY]: from now on their reports say that they are unwell.
func (p *play) sick(args []string) {
	for _, observer := range p.observers(args[0]) {
		p.unwell[observer] = args[1:]
	}
}

// reboot OBSERVER: its agent begins to count anew.
func (p *play) reboot(args []string) { p.boots[failover.SiteID(args[0])]++ }

// ready SITE GUEST age=D… [size=N] [mem=N] [bad]: its restore points there,
// newest first; none: no points.
func (p *play) readiness(args []string) {
	site, g := failover.SiteID(args[0]), failover.GuestID(args[1])
	r := p.ready[site]
	points := map[failover.GuestID][]failover.RestorePoint{}
	for id, list := range r.Points {
		points[id] = list
	}
	delete(points, g)
	for _, word := range args[2:] {
		key, value, _ := strings.Cut(word, "=")
		list := points[g]
		switch key {
		case "age":
			points[g] = append(list, restorePoint(g, p.now.Add(-p.duration(value)), 20*gib))
		case "size":
			list[len(list)-1].Size = p.bytes(value)
		case "mem":
			list[len(list)-1].Memory = p.bytes(value)
		case "bad":
			list[len(list)-1].Unusable = "not complete"
		}
	}
	r.Points = points
	p.ready[site] = r
	p.propose(failover.ReportReadiness{Ready: r})
}

func (p *play) bytes(word string) int64 {
	var b network.Bytes
	if err := b.UnmarshalText([]byte(word)); err != nil {
		p.fatalf("%v", err)
	}
	return int64(b)
}

// capacity SITE memory=N storage=N used=ID,ID: what is left there.
func (p *play) capacity(args []string) {
	site := failover.SiteID(args[0])
	r := p.ready[site]
	for _, word := range args[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "memory":
			r.MemoryFree = p.bytes(value)
		case "storage":
			r.StorageFree = p.bytes(value)
		case "used":
			r.UsedIDs = nil
			for id := range strings.SplitSeq(value, ",") {
				var n int
				if _, err := fmt.Sscan(id, &n); err != nil {
					p.fatalf("%v", err)
				}
				r.UsedIDs = append(r.UsedIDs, n)
			}
		}
	}
	p.ready[site] = r
	p.propose(failover.ReportReadiness{Ready: r})
}
