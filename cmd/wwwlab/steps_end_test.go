package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// What is demanded after an operation that was struck, and of all of them together.

// maxRetries is how often a person types wwwctl op retry: once for each of two agents that were
// killed while they called a program, of which nobody knows then what it did.
const maxRetries = 2

// ended says whether nothing more comes of an operation that has ended: one that is stuck must
// name a reason, and a person's retry must end it.
func (s *stepsLab) ended(ctx context.Context, in failover.Incident) bool {
	if in.Phase != failover.OpStuck || s.retries == maxRetries+s.blows() {
		return true
	}
	for _, g := range in.Guests {
		if g.State == failover.RunStuck {
			s.stuck[s.op] = append(s.stuck[s.op], fmt.Sprintf("%s: %+v", g.Guest, g.Stuck))
			if g.Stuck.Code == "" {
				s.t.Errorf("%s is stuck in %s without a reason", g.Guest, s.op)
			}
			if err := errors.Join(s.mend(ctx), s.doesAsTold(ctx, g.Stuck.Args["note"])); err != nil {
				s.t.Error(err)
				return true
			}
		}
	}
	s.say("%s is stuck: %v", s.op, s.stuck[s.op])
	if err := s.tellsToRetry(ctx); err != nil {
		s.t.Error(err)
	}
	s.retries++
	if err := s.types(ctx, "op", "retry", string(s.op)); err != nil {
		s.t.Error(err)
		return true
	}
	s.index++ // who does not know of that yet is behind
	return false
}

// tellLimit is how long the agent that a person asks may be behind the log: it may have just started.
const tellLimit = 10 * time.Second

// tellsToRetry looks what wwwctl op show tells a person to type.
func (s *stepsLab) tellsToRetry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	next := "wwwctl op retry " + string(s.op)
	for {
		_, shown, err := s.byHand(ctx, failover.SiteID(s.room.living()[0]), "op", "show", string(s.op))
		if err == nil && strings.Contains(strings.Join(strings.Fields(shown), " "), next) {
			return nil
		}
		if site.Sleep(ctx, followEvery) != nil {
			return errors.Join(fmt.Errorf("wwwctl op show does not tell to type %s: %s", next, shown), err)
		}
	}
}

// awaitSettled waits until nothing is wrong any more, and fails with what is.
func (s *stepsLab) awaitSettled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	var last []string // of the last look that was not cut short
	for {
		wrong, err := s.wrong(ctx)
		if err == nil && len(wrong) == 0 {
			return s.once()
		}
		if ctx.Err() == nil {
			last = wrong
		}
		if err := s.helps(ctx); err != nil {
			return err
		}
		if site.Sleep(ctx, followEvery) != nil {
			return errors.Join(fmt.Errorf("%s after %s: %s", settleLimit, s.op, strings.Join(last, "; ")), err)
		}
	}
}

// wrong lists what is not as it should be: operations that have not ended, guests that do not
// run once, names that lead elsewhere, and what is left at the machines.
func (s *stepsLab) wrong(ctx context.Context) ([]string, error) {
	ops, err := s.ops(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, op := range ops.Items {
		if tidied := op.Kind == failover.KindTidy && s.gone != ""; !op.Phase.Ended() && !tidied { // it waits for the dead target
			out = append(out, fmt.Sprintf("%s has not ended: %s", op.ID, brief(op)))
		}
	}
	for _, n := range s.askNames(ctx, s.expected) {
		if !n.agrees {
			out = append(out, fmt.Sprintf("%s leads %s to %s, want the address of %s", n.server, n.guest, n.observed, s.expected[n.guest]))
		}
	}
	places, err := s.places(ctx)
	if err != nil {
		return out, err
	}
	running := map[string][]string{}
	dead := s.room.fabric.Dead()
	for _, name := range s.room.lab.Names() {
		if slices.Contains(dead, name) {
			continue
		}
		st, err := site.NewClient(s.room.dir, name).Status(ctx)
		if err != nil {
			return out, err
		}
		for _, h := range st.Hosts {
			if !h.Power {
				continue // what is left there is looked at when it is back
			}
			out = append(out, residue(h, places)...)
			for _, g := range h.Guests {
				if g.Running {
					running[g.Name] = append(running[g.Name], name)
					if !g.Serving {
						out = append(out, fmt.Sprintf("%d on %s (%s) runs and does not serve yet", g.ID, h.Name, g.Name))
					}
				}
			}
		}
	}
	return append(out, s.notOnce(running)...), nil
}

// notOnce lists the guests that do not run once, where they should.
func (s *stepsLab) notOnce(running map[string][]string) []string {
	var out []string
	for _, g := range sortedGuests(s.expected) {
		m, _ := s.room.lab.Guest(string(g))
		want := []string{string(s.expected[g])}
		got := running[string(g)]
		if s.act.parted && s.room.lab.Home(m) == s.site { // the copy at home runs, too, as before
			want = append(want, s.site)
			slices.Sort(want)
			slices.Sort(got)
		}
		if !slices.Equal(got, want) {
			out = append(out, fmt.Sprintf("%s runs at %v, want %v", g, got, want))
		}
	}
	return out
}

// places are the copies that the log knows of, by host and id: those that are their owner's, and
// those that were left and kept.
func (s *stepsLab) places(ctx context.Context) (map[string]bool, error) {
	known := map[string]bool{}
	for _, m := range s.room.lab.Guests {
		g, err := askEach(ctx, s.room, s.leader, func(ctx context.Context, c *api.Client) (api.Guest, error) {
			return c.Guest(ctx, failover.GuestID(m.Name))
		})
		if err != nil {
			return nil, err
		}
		i, err := s.room.lab.Index(s.room.lab.Home(m))
		if err != nil {
			return nil, err
		}
		known[fmt.Sprintf("%s/%d", s.room.lab.HostOf(i, m), g.Guest.ID)] = true
		for _, l := range g.Lineages {
			known[fmt.Sprintf("%s/%d", l.Host, l.VMID)] = true
		}
		for _, l := range g.Left {
			known[fmt.Sprintf("%s/%d", l.Host, l.VMID)] = true
		}
	}
	return known, nil
}

// residue lists what no operation may leave at a machine.
func residue(h site.HostStatus, known map[string]bool) []string {
	var out []string
	for _, g := range h.Guests {
		if g.Lock != "" {
			out = append(out, fmt.Sprintf("%d on %s (%s) is locked: %s", g.ID, h.Name, g.Name, g.Lock))
		}
		if !known[fmt.Sprintf("%s/%d", h.Name, g.ID)] {
			out = append(out, fmt.Sprintf("the copy %d of %s on %s stays behind", g.ID, g.Name, h.Name))
		}
	}
	for _, pin := range h.Pinned {
		out = append(out, fmt.Sprintf("the restore point %s stays protected at %s", pin, h.Name))
	}
	return out
}

// once: no copy was restored, started or shut down twice since the act began, and none was
// restored over another.
func (s *stepsLab) once() error {
	count := map[string]int{}
	for _, name := range s.room.lab.Names() {
		list, _, err := site.ReadEffects(site.EffectsLog(s.room.dir, name), s.effects[name])
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.Force {
				return fmt.Errorf("%s %s on %s would overwrite %d", e.Method, e.Path, e.Host, e.ID)
			}
			what := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
			if e.Method == http.MethodPost && e.Status == http.StatusOK && slices.Contains([]string{"qemu", "lxc", "start", "shutdown"}, what) {
				done := fmt.Sprintf("%s of %d on %s", what, e.ID, e.Host)
				if count[done]++; count[done] > s.again(what, name, e.Host) {
					return fmt.Errorf("%s was asked for %d times in %s", done, count[done], s.op)
				}
			}
		}
	}
	return nil
}

// account tells what was struck, and fails when too many steps were in no act of the story struck at
// some kind of victim that they need. On a busy machine single cells go by unseen.
func (s *stepsLab) account(c cast) {
	s.t.Helper()
	for op, why := range s.stuck {
		s.t.Logf("%s needed a person: %v", op, why)
	}
	total, times := 0, map[strike]int{}
	for _, a := range s.story.acts {
		for _, step := range a.steps {
			row := ""
			for _, m := range c.moments() {
				n := s.struck[a.name][strike{step, m}]
				times[strike{step, m}] += n
				total += n
				if m.concerns(step) {
					row += fmt.Sprintf("  %s %d", m, n)
				}
			}
			s.t.Logf("%-32s%s", a.name+"/"+string(step), row)
		}
	}
	if total == 0 {
		s.t.Errorf("nothing was struck: %q matches no step", *stepsCase)
	}
	s.t.Logf("%s: %d strikes", s.story.name, total)
	if *stepsCase != "" || s.t.Failed() {
		return
	}
	cells, missed := s.missed(c, times)
	for _, what := range missed {
		s.t.Log(what)
	}
	if len(missed)*mayMiss > cells {
		s.t.Errorf("%d of %d pairs of a step and those who strike it were missed", len(missed), cells)
	}
}

// missed counts the pairs of a step and a kind of victim that it needs, and lists those that were
// never struck.
func (s *stepsLab) missed(c cast, times map[strike]int) (cells int, missed []string) {
	for _, step := range s.story.steps() {
		if s.story.once && slices.Contains(leaderSteps, step) {
			continue // a moment without length may go by unseen
		}
		for _, one := range c.needed {
			one = slices.DeleteFunc(slices.Clone(one), func(m moment) bool {
				return !m.concerns(step) || s.passed[strike{step, m}] || m == machineDies && slices.Contains(runningSteps, step) // one of these in an operation
			})
			if len(one) == 0 {
				continue
			}
			cells++
			if !slices.ContainsFunc(one, func(m moment) bool { return times[strike{step, m}] > 0 }) {
				missed = append(missed, fmt.Sprintf("%s was struck at none of %v", step, one))
			}
		}
	}
	return cells, missed
}

// mayMiss is of how many pairs of a step and a kind of victim one may go by unseen on a busy machine.
const mayMiss = 8

// steps are those that are struck in a story.
func (st story) steps() []failover.StepID {
	var out []failover.StepID
	for _, a := range st.acts {
		for _, step := range a.steps {
			if !slices.Contains(out, step) {
				out = append(out, step)
			}
		}
	}
	return out
}

// brief is how the guests of an operation stand.
func brief(op failover.OpView) string {
	out := []string{string(op.Phase)}
	for _, g := range op.Guests {
		out = append(out, fmt.Sprintf("%s %s at %s %s, attempt %d %s %s", g.Guest, g.State, g.Step, g.Status, g.Attempt, g.Note, g.Stuck.Code))
	}
	return strings.Join(out, ", ")
}

// journalText is a journal in short.
func journalText(in failover.Incident) string {
	out := []string{string(in.Phase)}
	for _, g := range in.Guests {
		line := fmt.Sprintf("%s %s:", g.Guest, g.State)
		for _, step := range g.Steps {
			line += fmt.Sprintf(" %s %s %d", step.ID, step.Status, step.Attempt)
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

// TestEveryStepHasACase: a step that is new in the core belongs to an operation that is struck
// here, or it is said why not.
func TestEveryStepHasACase(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../failover/operation.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var all []failover.StepID
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			of, typed := spec.Type.(*ast.Ident)
			lit, text := spec.Values[0].(*ast.BasicLit)
			if typed && text && of.Name == "StepID" {
				v, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, failover.StepID(v))
			}
		}
		return true
	})
	if len(all) < 30 {
		t.Fatalf("%d steps were found in the core, want 30 at least", len(all))
	}
	struck := map[failover.StepID]bool{}
	for _, st := range stepStories() {
		for _, step := range st.steps() {
			struck[step] = true
		}
	}
	taken := map[failover.StepID]bool{}
	for _, st := range stepStories() {
		for _, a := range st.acts {
			if a.by == operatorCancels {
				taken[a.cancel] = true
			}
		}
	}
	for _, step := range all {
		if _, excused := untaken[step]; taken[step] == excused {
			t.Errorf("step %q: a person takes the operation back at it %t, and it is excused from that %t; give it to an act of takenBack, or a reason in untaken", step, taken[step], excused)
		}
		if _, excused := unstruck[step]; struck[step] == excused {
			t.Errorf("step %q: struck with real processes %t, and excused from it %t; give it to an act of stepStories, or a reason in unstruck", step, struck[step], excused)
		}
	}
}
