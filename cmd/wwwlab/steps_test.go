package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// stepsCase chooses what is struck.
var stepsCase = flag.String("steps.case", "", "strike only what matches this `pattern` of ACT/STEP/MOMENT, as in failover/own/leader-done or */*/worker-acted")

// moment is when which agent is killed.
type moment string

// The moments of a step. An agent is at work at a step between the first and the last.
const (
	workerClaimed moment = "worker-claimed" // who does it has said so in the log
	workerActed   moment = "worker-acted"   // its first request is done at the machine, and not answered
	leaderActed   moment = "leader-acted"   // the same, and the leader dies
	leaderDone    moment = "leader-done"    // it is reported done, and the next one is not begun
)

const (
	actLimit    = 8 * time.Minute        // of one operation, with every strike
	settleLimit = 60 * time.Second       // from its end until all is as it should be
	stepPoll    = 30 * time.Millisecond  // between two looks at the journal
	slowAnswer  = 600 * time.Millisecond // of machines to what changes something there
	actedAfter  = 250 * time.Millisecond // from a step's claim: its request is done, and not answered
)

// strike is a step and when it is struck.
type strike struct {
	step failover.StepID
	at   moment
}

// stepsLab is a network of three sites in which a story is played.
type stepsLab struct {
	*demo
	t *testing.T

	story    story
	site     string // at which the story is played
	act      act
	moments  []moment
	expected map[failover.GuestID]failover.SiteID // where each guest of the lab serves
	leader   string                               // by the last answer
	index    uint64                               // of the newest journal that was read

	known   map[failover.OpID]bool // operations before the act
	op      failover.OpID          // of the act; "": not begun
	claimed map[string]time.Time   // guest/step: first seen at work
	done    map[strike]bool        // of the act
	retries int                    // how often a person has typed wwwctl op retry
	took    bool                   // the operation is undone
	effects map[string]int64       // by site: what was read of its log before the act
	dead    map[string]int         // how often a machine, or pbs:SITE, died in the act

	gone   string          // a site whose machine of Raoull's is dead for good; "": none
	passed map[strike]bool // left alone because a machine had just died on which the copy ran
	hush   hush
	resume time.Time                  // when a person resumes who has paused; zero: nobody has
	woke   time.Time                  // when a machine last died on which the copy of the guest ran
	struck map[string]map[strike]int  // by act
	stuck  map[failover.OpID][]string // why a person had to type something
}

// TestEveryStepWithRealProcesses strikes every step of the operations on guests: the agent that does
// it and the leader die when it is claimed, when its effect is there and not reported, and when it is
// reported, and are started again after the time that their unit waits; its machine and its PBSs die
// for a while or for good; name servers are silent; people pause, retry and cancel. Every operation
// must end done, or stuck with a reason and a command that ends it; every guest runs once, where its
// names lead; nothing is done twice but for what a dead machine makes necessary, and nothing is left.
func TestEveryStepWithRealProcesses(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_STEPS") != "1" {
		t.Skip("takes twenty-five minutes: make chaos-steps")
	}
	bins := build(t)
	for _, st := range stepStories() {
		for _, c := range st.labs() {
			t.Run(st.name+"/"+c.name, func(t *testing.T) {
				if !st.wanted(c) {
					t.Skipf("nothing of it matches %s", *stepsCase)
				}
				if st.zone && st.server() == "" {
					t.Skipf("none of %v is installed", nameserver.Kinds())
				}
				t.Parallel()
				s := newStepsLab(t, bins, st)
				for i, name := range st.at(s.room.lab) {
					moments := c.rounds[i%len(c.rounds)]
					if st.once || *stepsCase != "" {
						moments = c.moments()
					}
					if s.play(name, moments); st.once || *stepsCase != "" || t.Failed() {
						break
					}
				}
				s.account(c)
			})
		}
	}
}

func newStepsLab(t *testing.T, bins binaries, st story) *stepsLab {
	t.Helper()
	r := roomOf(t, bins, cmp.Or(st.sites, site.MinSites), st.server(), st.plant(t))
	m, err := newMember(site.EntryCA(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	s := &stepsLab{
		demo: &demo{room: r, member: m, out: t.Output(), begun: time.Now()}, t: t, story: st,
		expected: map[failover.GuestID]failover.SiteID{}, struck: map[string]map[strike]int{}, passed: map[strike]bool{},
		stuck: map[failover.OpID][]string{},
	}
	for _, g := range r.lab.Guests {
		s.expected[failover.GuestID(g.Name)] = failover.SiteID(r.lab.Home(g))
	}
	for _, name := range r.lab.Names() {
		if err := s.slow(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// slow has the machines of a site answer late to what changes something there: whoever asks for
// it can be killed between the effect and the answer.
func (s *stepsLab) slow(ctx context.Context, name string) error {
	var errs []error
	for _, m := range []lab.Match{{Method: "POST"}, {Method: "PUT"}, {Method: "DELETE"}, {Method: "GET", Path: "*/status/current"}} {
		errs = append(errs, site.NewClient(s.room.dir, name).AddFault(ctx, lab.Fault{Match: m, Effect: lab.EffectDelay, Delay: slowAnswer}))
	}
	return errors.Join(errs...)
}

// guests are those of the site of the story.
func (s *stepsLab) guests() []string {
	var out []string
	for _, g := range s.room.lab.GuestsOf(s.site) {
		out = append(out, g.Name)
	}
	return out
}

// play plays the story at a site.
func (s *stepsLab) play(at string, moments []moment) {
	s.site, s.moments = at, moments
	for _, a := range s.story.acts {
		if s.act = a; !a.played() {
			continue
		}
		s.say("%s: %s, struck %v", at, a.name, s.moments)
		ctx, cancel := context.WithTimeout(s.t.Context(), actLimit)
		err := s.playAct(ctx)
		cancel()
		if err != nil {
			s.t.Errorf("%s at %s: %v", a.name, at, err)
			return
		}
	}
}

func (s *stepsLab) playAct(ctx context.Context) error {
	if err := s.awaitBegin(ctx); err != nil {
		return err
	}
	op, err := s.carryThrough(ctx)
	if err != nil {
		return err
	}
	undone, want := s.act.undone(), failover.OpDone
	if undone {
		want = failover.OpCancelled
	}
	if op.Phase != want || s.took != (s.act.cancel != "") {
		return fmt.Errorf("%s is %s, want %s: %s", op.ID, op.Phase, want, brief(op))
	}
	for _, g := range op.Guests {
		if s.act.away && !undone {
			s.expected[g.Guest] = g.Target
		} else if !undone {
			s.expected[g.Guest] = failover.SiteID(s.site)
		}
	}
	if err := s.awaitSettled(ctx); err != nil {
		return err
	}
	for _, then := range []func(context.Context, *stepsLab) error{s.act.check, s.act.after} {
		if then != nil {
			if err := then(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// carryThrough begins the act's operation and follows it to its end. A planned move is taken back when
// something that it needs dies, or when the program with a veto was cut off: a person types it again.
func (s *stepsLab) carryThrough(ctx context.Context) (failover.OpView, error) {
	for again := 0; ; again++ {
		if err := s.act.begin(ctx, s); err != nil {
			return failover.OpView{}, err
		}
		op, err := s.strikeAll(ctx)
		back := op.Phase == failover.OpCancelled && !s.took && op.Cancelled.Code != "" &&
			(op.Cancelled.Code == failover.CodeHookVeto || s.blows() > 0)
		if err != nil || !back || again > s.blows() {
			return op, err
		}
		s.say("%s was taken back by itself, and is typed again", op.ID)
		s.stuck[op.ID] = append(s.stuck[op.ID], message.Text(message.English, op.Cancelled.Code, op.Cancelled.Args))
		if err := errors.Join(s.once(), s.mark()); err != nil { // what is done from here on is another operation's
			return op, err
		}
		s.known[op.ID], s.op = true, ""
	}
}

// mark remembers what was done at the machines until now.
func (s *stepsLab) mark() error {
	s.effects = map[string]int64{}
	var errs []error
	for _, name := range s.room.lab.Names() {
		_, end, err := site.ReadEffects(site.EffectsLog(s.room.dir, name), 0)
		s.effects[name] = end
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// awaitBegin waits for a network in which the act may begin, and remembers what was before it.
func (s *stepsLab) awaitBegin(ctx context.Context) error {
	ops, err := s.ops(ctx)
	for err != nil || ops.Index < s.index { // who has just started may know less than was seen
		if site.Sleep(ctx, stepPoll) != nil {
			return errors.Join(errBehind, err)
		}
		ops, err = s.ops(ctx)
	}
	s.known, s.op, s.claimed, s.done, s.retries, s.took = map[failover.OpID]bool{}, "", map[string]time.Time{}, map[strike]bool{}, 0, false
	s.dead = map[string]int{}
	for _, op := range ops.Items {
		s.known[op.ID] = true
	}
	if err := s.mark(); err != nil {
		return err
	}
	if s.act.kind == failover.KindFailover || s.act.kind == failover.KindRescue || s.act.kind == failover.KindSwitchover {
		return s.room.awaitHealth(ctx)
	}
	return nil
}

// strikeAll follows the operation of the act to its end, and strikes meanwhile.
func (s *stepsLab) strikeAll(ctx context.Context) (failover.OpView, error) {
	for {
		in, err := s.journal(ctx)
		if err != nil {
			s.refreshLeader(ctx)
		} else if s.op != "" {
			if err := s.visit(ctx, in); err != nil {
				return failover.OpView{}, err
			}
			if err := s.resumes(ctx); err != nil {
				return failover.OpView{}, err
			}
			if in.Phase.Ended() && s.resume.IsZero() && s.ended(ctx, in) {
				break
			}
		}
		if err := site.Sleep(ctx, stepPoll); err != nil {
			return failover.OpView{}, fmt.Errorf("%s %s does not end: %w: %s", s.act.name, s.op, err, journalText(in))
		}
	}
	return s.lastView(ctx)
}

func (s *stepsLab) lastView(ctx context.Context) (failover.OpView, error) {
	var err error
	for site.Sleep(ctx, stepPoll) == nil {
		var op api.Op
		if op, err = askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, s.op) }); err == nil && op.Op.Phase.Ended() {
			return op.Op, nil
		}
	}
	return failover.OpView{}, errors.Join(errTime, err)
}

// ops asks for all operations, whoever answers, the leader first.
func (s *stepsLab) ops(ctx context.Context) (api.OpList, error) {
	return askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.OpList, error) { return c.Ops(ctx) })
}

// journal asks for the journal of the act's operation, once it has begun.
func (s *stepsLab) journal(ctx context.Context) (failover.Incident, error) {
	if s.op == "" {
		ops, err := s.ops(ctx)
		if err != nil {
			return failover.Incident{}, err
		}
		for _, op := range ops.Items {
			if !s.known[op.ID] && op.Kind == s.act.kind {
				s.op = op.ID
				s.say("%s has begun as %s", s.act.name, op.ID)
			}
		}
		if s.op == "" {
			return failover.Incident{}, nil
		}
	}
	in, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Incident, error) { return c.Incident(ctx, s.op, "") })
	if err == nil && in.Index < s.index {
		return in.Incident, errBehind
	}
	s.index = max(s.index, in.Index)
	return in.Incident, err
}

// errBehind: who was asked knows less than was seen before, as an agent does that has just started.
var errBehind = errors.New("the agent is behind the log")

func (s *stepsLab) refreshLeader(ctx context.Context) {
	if st, err := s.room.anyStatus(ctx); err == nil && st.Leader != "" {
		s.leader = string(st.Leader)
	}
}

// visit strikes where the journal shows a step at a moment that is due: one agent at most, since
// the journal is another one then.
func (s *stepsLab) visit(ctx context.Context, in failover.Incident) error {
	for _, g := range in.Guests {
		for i, step := range g.Steps {
			switch step.Status {
			case failover.StatusRunning:
				if step.ID == s.act.cancel && !s.took && (s.act.by != machineGone || s.acted(g.Guest, step)) {
					return s.undo(ctx)
				}
				at := strings.TrimPrefix(step.Moved.Actor, "agent:")
				if m, ok := s.atWork(g.Guest, step, at); ok {
					return s.hit(ctx, strike{step.ID, m}, at, g.Guest)
				}
			case failover.StatusDone:
				if step.ID == s.act.cancel && !s.took && !slices.ContainsFunc(g.Steps, owns) {
					return s.undo(ctx) // it was too quick to be seen at work
				}
				if m, ok := s.atEnd(step.ID, string(g.Target)); ok && m.follows(g.Steps[i+1:]) {
					return s.hit(ctx, strike{step.ID, m}, string(g.Target), g.Guest)
				}
			}
		}
	}
	return nil
}

// follows says whether a step that is done may still be struck: the next one is not begun. Who is no
// agent may come a moment later.
func (m moment) follows(rest []failover.Step) bool {
	return len(rest) == 0 || rest[0].Status == failover.StatusPending || m.beside() && rest[0].Status == failover.StatusRunning
}

// undo has the operation undone; by a person who is a victim of the step, it is one more strike.
func (s *stepsLab) undo(ctx context.Context) error {
	if s.took = true; s.act.by != "" {
		s.count(strike{s.act.cancel, s.act.by})
	}
	return s.act.undo(ctx, s)
}

// acted says whether a step that an agent has claimed is so far that its request is done.
func (s *stepsLab) acted(g failover.GuestID, step failover.Step) bool {
	key := fmt.Sprintf("%s/%s/%d", g, step.ID, step.Attempt)
	if s.claimed[key].IsZero() {
		s.claimed[key] = time.Now()
	}
	return time.Since(s.claimed[key]) > actedAfter
}

func (s *stepsLab) count(x strike) {
	if s.struck[s.act.name] == nil {
		s.struck[s.act.name] = map[strike]int{}
	}
	s.struck[s.act.name][x]++
}

// atWork is the moment that is due of a step at which an agent works.
func (s *stepsLab) atWork(g failover.GuestID, step failover.Step, at string) (moment, bool) {
	acted := s.acted(g, step)
	for _, m := range s.moments {
		if m != leaderDone && (m == workerClaimed || acted) && s.due(step.ID, m, at) {
			return m, true
		}
	}
	return "", false
}

// atEnd is the moment that is due of a step that is done: of those that are the leader's own any, and of
// one that is soon over those of who is no agent.
func (s *stepsLab) atEnd(step failover.StepID, at string) (moment, bool) {
	if s.due(step, leaderDone, at) {
		return leaderDone, true
	}
	for _, m := range s.moments {
		if (slices.Contains(leaderSteps, step) || m.beside() && step == failover.StepWhole) && s.due(step, m, at) { // whole is soon over
			return m, true
		}
	}
	return "", false
}

// due says whether a step is to be struck at a moment, and was not yet in this act.
func (s *stepsLab) due(step failover.StepID, m moment, at string) bool {
	lone := m == leaderDone && slices.Contains(leaderSteps, step) && slices.Contains(casts()[0].moments(), s.moments[0]) // the one moment of these: struck at every site
	if s.done[strike{step, m}] || !slices.Contains(s.moments, m) && !lone || !slices.Contains(s.act.steps, step) || !m.concerns(step) || m.ends() || s.spared(step, m, at) {
		return false
	}
	return s.act.matches(step, m)
}

// hit strikes a step at which the agent of a site works.
func (s *stepsLab) hit(ctx context.Context, x strike, victim string, g failover.GuestID) error {
	s.done[x] = true
	s.count(x)
	switch x.at {
	case leaderActed, leaderDone:
		s.refreshLeader(ctx)
		victim = s.leader
	case workerClaimed, workerActed:
	default:
		s.say("%s/%s/%s: strikes at %s (%s)", s.act.name, x.step, x.at, victim, g)
		return s.blow(ctx, x, victim)
	}
	return s.killAgent(ctx, x, victim, g)
}

// killAgent kills an agent and starts it again after the time that its unit waits.
func (s *stepsLab) killAgent(ctx context.Context, x strike, victim string, g failover.GuestID) error {
	if _, err := s.room.lab.Index(victim); err != nil {
		return fmt.Errorf("who is at work at %s of %s: %w", x.step, g, err)
	}
	if err := s.room.children.Kill(agentOf(victim)); err != nil {
		return err
	}
	s.say("%s/%s/%s: killed the agent of %s (%s)", s.act.name, x.step, x.at, victim, g)
	if err := site.Sleep(ctx, unitRestart); err != nil {
		return err
	}
	return s.room.launchAgent(victim) // the journal is looked at again at once: a new leader goes on without it
}
