package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// told is one message that a channel has taken.
type told struct {
	at   time.Duration // since the start
	by   failover.SiteID
	ch   string
	kind Kind
	key  string
}

func (m told) String() string {
	return fmt.Sprintf("%s %s/%s %s %s", m.at, m.by, m.ch, m.kind, m.key)
}

// stage is a group of three agents on one log, with channels that note what they take.
type stage struct {
	t      *testing.T
	log    *apitest.Backend
	agents map[failover.SiteID]*player
	start  time.Time

	mu  sync.Mutex
	got []told
	all []Message
}

type player struct {
	st   *stage
	site failover.SiteID
	n    *Notifier
	dir  string
	conf map[string]Channel

	broken   map[string]bool // channels that refuse
	dead     bool
	leads    bool
	alone    bool
	mute     bool // its proposals are lost
	reaches  []failover.SiteID
	contact  time.Duration
	channels []Worker
	next     time.Time
}

func newStage(t *testing.T, channels map[string]Channel) *stage {
	t.Helper()
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, log: b, agents: map[failover.SiteID]*player{}, start: b.Now()}
	for _, site := range []failover.SiteID{"fabrique", "moulin", "quai"} {
		p := &player{st: s, site: site, dir: t.TempDir(), conf: channels, broken: map[string]bool{}}
		s.agents[site] = p
		p.boot()
	}
	s.lead("moulin")
	return s
}

// boot starts an agent on the directory of an earlier run.
func (p *player) boot() {
	t := p.st.t
	t.Helper()
	o, err := OpenOutbox(filepath.Join(p.dir, "queue"))
	if err != nil {
		t.Fatal(err)
	}
	p.n = &Notifier{
		Site: p.site, Log: p, Wall: p.st.log.Now, Outbox: o, Logger: slog.New(slog.DiscardHandler), Book: filepath.Join(p.dir, "alone.json"),
		Local: func() failover.LocalView {
			return failover.LocalView{Site: p.site, IsLeader: p.leads, HasLeader: !p.alone, Reachable: p.reaches, LastContact: p.contact}
		},
	}
	w := ways{channels: map[string]way{}, loc: time.UTC, digest: Weekly{never: true}}
	p.channels = nil
	for name, c := range p.conf {
		quiet, err := ParseWindow(c.Quiet)
		if err != nil {
			t.Fatal(err)
		}
		w.channels[name] = way{sender: fake{p, name}, quiet: quiet, least: Urgency(orDefault(string(c.Least), "info"))}
		p.channels = append(p.channels, Worker{name, p.n})
	}
	p.n.ways.Store(&w)
}

func (p *player) State() *failover.State { return p.st.log.State() }

func (p *player) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	if p.mute || p.alone {
		return failover.Stamp{}, failover.ErrUnknown
	}
	return p.st.log.Propose(ctx, c)
}

// fake is a channel of the stage.
type fake struct {
	p    *player
	name string
}

func (f fake) Send(_ context.Context, m Message) error {
	if f.p.broken[f.name] {
		return errors.New("out of order")
	}
	s := f.p.st
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, told{s.log.Now().Sub(s.start).Round(time.Minute), f.p.site, f.name, m.Kind, m.Key})
	s.all = append(s.all, m)
	return nil
}

func (s *stage) lead(site failover.SiteID) {
	for _, p := range s.agents {
		p.leads = p.site == site
	}
	if err := s.log.Apply(failover.BeginTerm{Leader: site}); err != nil {
		s.t.Fatal(err)
	}
}

// pass lets time go by, in steps of some seconds.
func (s *stage) pass(d time.Duration) {
	step := 5 * time.Second
	if d > 20*time.Minute {
		step = 30 * time.Second
	}
	for range int(d / step) {
		s.log.Advance(step)
		now := s.log.Now()
		for _, site := range []failover.SiteID{"fabrique", "moulin", "quai"} {
			p := s.agents[site]
			if p.dead {
				continue
			}
			if !now.Before(p.next) {
				p.next = p.n.Step(s.t.Context(), now)
			}
			for _, w := range p.channels {
				w.Step(s.t.Context(), now)
			}
		}
	}
}

// takes returns what was told since the last call, but for what is not asked about.
func (s *stage) takes(about string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.got {
		if strings.HasPrefix(m.key, about) {
			out = append(out, fmt.Sprintf("%s/%s %s", m.by, m.ch, m.kind))
		}
	}
	s.got = nil
	slices.Sort(out)
	return out
}

func (s *stage) expect(what, about string, want ...string) {
	s.t.Helper()
	if got := s.takes(about); !slices.Equal(got, want) {
		s.t.Errorf("%s: told %v, want %v", what, got, want)
	}
}

func (s *stage) must(c failover.Command) {
	s.t.Helper()
	if err := s.log.Apply(c); err != nil {
		s.t.Fatal(err)
	}
}

// lose has moulin lost, with its agent, which led.
func (s *stage) lose() {
	s.t.Helper()
	s.agents["moulin"].dead = true
	if err := s.log.Lose(); err != nil {
		s.t.Fatal(err)
	}
	s.lead("fabrique")
}

var one = map[string]Channel{"mail": {}}

const lostKey = "site:moulin:lost"

// TestToldOnceWithRemindersAndRecovery: by the leader, again after 1, 6 and 24 hours, never
// after that, and when it is over.
func TestToldOnceWithRemindersAndRecovery(t *testing.T) {
	s := newStage(t, one)
	s.lose()
	s.pass(30 * time.Minute)
	s.expect("at once", lostKey, "fabrique/mail first")
	s.pass(40 * time.Minute)
	s.expect("after an hour", lostKey, "fabrique/mail reminder")
	s.pass(5 * time.Hour)
	s.expect("after six", lostKey, "fabrique/mail reminder")
	s.pass(18 * time.Hour)
	s.expect("after a day", lostKey, "fabrique/mail reminder")
	s.pass(30 * time.Hour)
	s.expect("after two", lostKey)
	s.must(failover.Assess{Domain: "site:moulin", Cause: failover.CauseUp, Back: true})
	s.pass(time.Minute)
	s.must(failover.Assess{Domain: "site:moulin", Cause: failover.CauseLost, Level: failover.LevelAlert})
	s.pass(5 * time.Minute)
	s.expect("it was back for a minute", lostKey)
	s.must(failover.Assess{Domain: "site:moulin", Cause: failover.CauseUp, Back: true})
	s.pass(5 * time.Minute)
	s.expect("it is back", lostKey, "fabrique/mail over")
	if n, ok := s.log.State().Told[lostKey]; ok {
		t.Errorf("the log still says that people know of it: %+v", n)
	}
}

// TestLeaderDiesBetweenSendingAndRecording: another agent tells it a second time. Never silence.
func TestLeaderDiesBetweenSendingAndRecording(t *testing.T) {
	s := newStage(t, one)
	s.agents["fabrique"].mute = true
	s.lose()
	s.pass(20 * time.Second)
	s.expect("the leader has sent it", lostKey, "fabrique/mail first")
	s.agents["fabrique"].dead = true
	s.lead("quai")
	s.pass(3 * time.Minute)
	s.expect("the next leader", lostKey, "quai/mail first")
}

// TestLeaderCannotSend: the next one in the order does after a minute, and what the leader
// had in its queue is taken off.
func TestLeaderCannotSend(t *testing.T) {
	s := newStage(t, one)
	s.agents["fabrique"].broken["mail"] = true
	s.lose()
	s.pass(30 * time.Second)
	s.expect("the leader's channel refuses", lostKey)
	s.pass(2 * time.Minute)
	s.expect("another takes over", lostKey, "quai/mail first")
	s.agents["fabrique"].broken["mail"] = false
	s.pass(15 * time.Minute)
	s.expect("the leader's channel works again", lostKey)
}

// TestOneOfTwoChannels: what has left by one is told; the other goes on trying.
func TestOneOfTwoChannels(t *testing.T) {
	s := newStage(t, map[string]Channel{"mail": {}, "sms": {}})
	s.agents["fabrique"].broken["sms"] = true
	s.lose()
	s.pass(3 * time.Minute)
	s.expect("mail", lostKey, "fabrique/mail first")
	if n := s.log.State().Told[lostKey]; n.By != "fabrique" {
		t.Errorf("the log says %+v, want that fabrique has told it", n)
	}
	failing := s.agents["fabrique"].n.Views()[1]
	if failing.Name != "sms" || failing.Failing != "out of order" || failing.Waiting == 0 {
		t.Errorf("view of the channel that fails: %+v", failing)
	}
	s.agents["fabrique"].broken["sms"] = false
	s.pass(15 * time.Minute)
	s.expect("sms", lostKey, "fabrique/sms first")
	if v := s.agents["fabrique"].n.Views()[1]; v.Failing != "" || v.Waiting != 0 {
		t.Errorf("view of the channel that works again: %+v", v)
	}
}

// TestRestartInTheMiddleOfAQueue: what was not delivered is, after a restart of the agent,
// once; what was delivered and recorded is not again.
func TestRestartInTheMiddleOfAQueue(t *testing.T) {
	s := newStage(t, map[string]Channel{"mail": {}, "sms": {}})
	p := s.agents["fabrique"]
	p.broken["sms"] = true
	s.lose()
	s.pass(3 * time.Minute)
	s.expect("mail", lostKey, "fabrique/mail first")
	p.boot()
	p.broken["sms"] = false
	s.pass(10 * time.Minute)
	s.expect("sms, after the restart", lostKey, "fabrique/sms first")
}

// TestQuietHours: what is not urgent waits for the morning, and is told then if it is still
// so; what is urgent wakes people.
func TestQuietHours(t *testing.T) {
	s := newStage(t, map[string]Channel{"mail": {Quiet: "22:00-07:00"}}) // it is 02:58
	s.must(failover.Assess{Domain: "site:quai", Cause: failover.CauseMeshDown})
	s.pass(30 * time.Minute)
	s.expect("degraded at night", "site:quai")
	s.lose()
	s.pass(time.Minute)
	s.expect("lost at night", lostKey, "fabrique/mail first")
	s.pass(2 * time.Hour)
	s.expect("still night", "site:quai")
	s.pass(2 * time.Hour)
	s.expect("in the morning", "site:quai", "fabrique/mail first")
}

// TestLeastUrgency: a channel for what is urgent hears of its end, and of nothing else.
func TestLeastUrgency(t *testing.T) {
	s := newStage(t, map[string]Channel{"mail": {}, "sms": {Least: Urgent}})
	s.must(failover.Assess{Domain: "site:quai", Cause: failover.CauseMeshDown})
	s.pass(15 * time.Minute)
	s.expect("a warning", "site:quai", "moulin/mail first")
	s.lose()
	s.pass(2 * time.Minute)
	s.expect("a loss", lostKey, "fabrique/mail first", "fabrique/sms first")
	s.must(failover.Assess{Domain: "site:moulin", Cause: failover.CauseUp, Back: true})
	s.pass(5 * time.Minute)
	s.expect("its end", lostKey, "fabrique/mail over", "fabrique/sms over")
}

// TestPartialView: an agent that hears no leader says so by itself, marked, once, also over a
// restart; and that it hears one again. Of a group the first tells.
func TestPartialView(t *testing.T) {
	s := newStage(t, one)
	for _, site := range []failover.SiteID{"moulin", "quai"} {
		p := s.agents[site]
		p.alone, p.contact, p.leads = true, 10*time.Second, false
		p.reaches = []failover.SiteID{map[failover.SiteID]failover.SiteID{"moulin": "quai", "quai": "moulin"}[site]}
	}
	s.agents["fabrique"].dead = true
	s.pass(50 * time.Second)
	s.expect("an election", aloneKey)
	s.pass(2 * time.Minute)
	s.expect("no leader for a minute", aloneKey, "moulin/mail first")
	if m := s.all[len(s.all)-1]; !m.Partial || !strings.Contains(m.Text, "PARTIAL VIEW of the agent of moulin") || !strings.Contains(m.Text, "reaches quai") {
		t.Errorf("the message is not marked as a partial view:\n%s", m.Text)
	}
	s.agents["moulin"].boot()
	s.pass(2 * time.Minute)
	s.expect("after a restart", aloneKey)
	for _, site := range []failover.SiteID{"moulin", "quai"} {
		s.agents[site].alone = false
	}
	s.agents["fabrique"].dead = false
	s.pass(4 * time.Minute)
	s.expect("it hears a leader again", aloneKey, "moulin/mail over")
}

// TestDigest: once a week, by one agent, one line per structure.
func TestDigest(t *testing.T) {
	s := newStage(t, one) // Sunday, 22 November 2026
	for _, p := range s.agents {
		w := *p.n.ways.Load()
		w.digest = Weekly{Day: time.Monday, minute: 9 * 60}
		p.n.ways.Store(&w)
	}
	s.pass(29 * time.Hour)
	s.expect("before", "digest")
	s.pass(2 * time.Hour)
	s.expect("on Monday at nine", "digest", "moulin/mail digest")
	m := s.all[len(s.all)-1]
	for _, want := range []string{"le-moulin: ", " of 2 guests could be failed over", "les-archives: "} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the digest lacks %q:\n%s", want, m.Text)
		}
	}
	s.pass(24 * time.Hour)
	s.expect("the day after", "digest")
}
