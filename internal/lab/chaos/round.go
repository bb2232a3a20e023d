package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// Bounds of the phases. A machine that is busy with other things is slow: they say that
// it ends, not how fast it is.
const (
	soundLimit = 2 * time.Minute // until a network that was just started is well
	coreLimit  = 2 * time.Minute // until a healed majority has converged
	healLimit  = 3 * time.Minute // until everything has
	stableFor  = 3 * time.Second // it must stay so
)

// policy is quick, so that an incident takes seconds. It ascends as a real one does.
func policy() network.Policy {
	second := network.Duration(time.Second)
	return network.Policy{
		SuspectMisses: 3, PrepareA: 4 * second, Alert: 5 * second, PrepareB: 6 * second, Commit: 10 * second, CommitDual: 10 * second,
		CommitReason: "namespaces of one machine, where every line that is interrupted is so on purpose",
		ReturnAfter:  2 * second, KeepPrepared: 10 * second, Block: 30 * second,
	}
}

// Result is what a round came to.
type Result struct {
	Seed       uint64
	Dir        string
	Faults     int
	Ops        int
	Violations []Violation
}

// round is one network under one seed.
type round struct {
	config Config
	seed   uint64
	dir    string
	length time.Duration
	lab    *site.Lab
	plan   []Event
	home   []Event // of the way home
	tl     *timeline
	truth  *truth
	check  *checker
	disks  *disks
	room   *netns.Room
	nem    *nemesis
}

// runRound plays a round in a directory of its own. The error says why it could not be
// played; what the network did wrong is in the result.
func runRound(ctx context.Context, c Config, seed uint64, length time.Duration, serial int) (res Result, err error) {
	r := &round{config: c, seed: seed, length: length, dir: filepath.Join(c.Dir, fmt.Sprintf("SEED-%d", seed)), disks: &disks{mounted: map[string]string{}}}
	res = Result{Seed: seed, Dir: r.dir}
	if err := r.prepare(); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.tl.close()) }()
	defer func() {
		if closing := r.close(context.WithoutCancel(ctx)); closing != nil {
			err = errors.Join(err, fmt.Errorf("remove the network of seed %d: %w", seed, closing))
		}
	}()
	if err := r.open(ctx, serial); err != nil {
		return res, fmt.Errorf("start the network of seed %d: %w; see %s", seed, err, r.dir)
	}
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, name := range r.lab.Names() {
		wg.Go(func() { newWatcher(r.room, r.lab, r.labDir(), name).run(watching, r.check, r.tl) })
	}
	err = r.phases(ctx)
	r.nem.wg.Wait()
	stop()
	wg.Wait()
	res.Faults, res.Violations, res.Ops = r.nem.faults, r.check.Violations(), len(r.check.phases)
	return res, err
}

func (r *round) labDir() string { return filepath.Join(r.dir, labDir) }

// prepare makes the directory anew, and the plan.
func (r *round) prepare() error {
	if err := errors.Join(sweepDisks(r.dir), os.RemoveAll(r.dir), os.MkdirAll(r.labDir(), 0o700)); err != nil {
		return fmt.Errorf("prepare round: %w", err)
	}
	l, err := site.Layout(cmp.Or(r.config.Sites, site.DefaultSites), 77)
	if err != nil {
		return err
	}
	l.Routed, l.Rescue, l.Return = true, true, true
	if err := l.LodgeAtRaoull(); err != nil {
		return err
	}
	r.lab, r.plan, r.home = l, Plan(r.seed, l, r.length), HomePlan(r.seed, l)
	b, err := json.MarshalIndent(struct {
		Seed   uint64        `json:"seed"`
		Length time.Duration `json:"length"`
		Core   []string      `json:"core"`
		Plan   []Event       `json:"plan"`
		Home   []Event       `json:"home"`
	}{r.seed, r.length, r.core(), r.plan, r.home}, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, PlanFile), append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	r.tl, err = newTimeline(r.dir, r.config.Say)
	return err
}

// open starts the network, with the checker and the nemesis.
func (r *round) open(ctx context.Context, serial int) error {
	r.tl.add("phase", fmt.Sprintf("seed %d: starting %d sites", r.seed, len(r.lab.Sites)), nil)
	r.truth = newTruth(r.lab.Names(), time.Now())
	r.check = newChecker(r.lab, r.truth, policy().Commit.D(), func(v Violation) { r.tl.add("violation", v.String(), v) })
	r.check.news = func(text string) { r.tl.add("operation", text, nil) }
	var err error
	r.room, err = netns.Open(ctx, netns.Config{
		Dir: r.labDir(), Lab: r.lab, Serial: serial, Policy: policy(), WWWD: r.config.WWWD, WWWLab: r.config.WWWLab, WWWCtl: r.config.WWWCtl,
		Prepare: func(context.Context) error {
			var errs []error
			for _, s := range r.lab.Names() {
				errs = append(errs, r.disks.mount(s, site.AgentData(r.labDir(), s)))
			}
			return errors.Join(errs...)
		},
	})
	if err != nil {
		return err
	}
	if err := r.room.AwaitMesh(ctx); err != nil {
		return err
	}
	for _, s := range r.lab.Names() {
		r.check.powered(s, time.Now())
	}
	r.nem = newNemesis(r.room, r.lab, r.labDir(), r.disks, r.truth, r.check, r.tl)
	return nil
}

func (r *round) close(ctx context.Context) error {
	var errs []error
	if r.room != nil {
		errs = append(errs, r.room.Close(ctx))
	}
	return errors.Join(append(errs, r.disks.close())...)
}

// phases plays the round. Only the end of ctx, and what cannot be done to the network,
// is an error.
func (r *round) phases(ctx context.Context) error {
	r.tl.add("phase", "everything runs; until all is well", nil)
	supervising, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.nem.supervise(supervising) })
	defer wg.Wait()
	defer stop()
	if left, err := r.until(ctx, soundLimit, func() []Violation { return r.check.unsettled(r.lab.Names(), time.Now()) }, r.check.unready); err != nil || len(left) > 0 {
		return errors.Join(err, told("the network that was just started is not well", left))
	}
	r.tl.add("phase", fmt.Sprintf("chaos for %s: %d events", r.length, len(r.plan)), nil)
	if err := r.chaos(ctx, r.plan, r.length); err != nil {
		return err
	}
	core := r.core()
	r.tl.add("phase", fmt.Sprintf("%s are healed for good, the others stay dead", strings.Join(core, ", ")), nil)
	if err := r.converge(ctx, core, "a majority was healed", coreLimit); err != nil {
		return err
	}
	r.tl.add("phase", "everything is healed", nil)
	if err := r.converge(ctx, r.lab.Names(), "everything was healed", healLimit); err != nil {
		return err
	}
	return r.comeHome(ctx)
}

// core is a majority of the sites, drawn by the seed.
func (r *round) core() []string {
	names := r.lab.Names()
	rand := sim.NewStreams(r.seed).Stream("chaos core")
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	core := names[:len(names)/2+1]
	slices.Sort(core)
	return core
}

func (r *round) converge(ctx context.Context, sites []string, phase string, bound time.Duration) error {
	if err := r.nem.heal(ctx, sites); err != nil && ctx.Err() == nil {
		return fmt.Errorf("heal: %w", err)
	}
	if len(sites) == len(r.lab.Sites) {
		r.nem.plugIn(ctx)
	}
	begun := time.Now()
	left, err := r.until(ctx, bound, func() []Violation { return r.check.unsettled(sites, time.Now()) })
	if err != nil {
		return err
	}
	if len(left) > 0 {
		r.check.broken(left, phase, bound)
		return nil
	}
	r.tl.add("phase", fmt.Sprintf("converged %.1f s after %s", time.Since(begun).Seconds(), phase), nil)
	return nil
}

// until waits until nothing is left to complain of, and stays so; it returns what is
// left at the bound.
func (r *round) until(ctx context.Context, bound time.Duration, asks ...func() []Violation) ([]Violation, error) {
	deadline, good, last := time.Now().Add(bound), time.Time{}, ""
	for {
		var left []Violation
		for _, ask := range asks {
			left = append(left, ask()...)
		}
		now := time.Now()
		if len(left) > 0 {
			good = time.Time{}
			if left[0].Text != last {
				last = left[0].Text
				r.tl.add("state", fmt.Sprintf("%d left, first: %s", len(left), left[0].Text), nil)
			}
		} else if good.IsZero() {
			good = now
		}
		if !good.IsZero() && now.Sub(good) >= stableFor || now.After(deadline) {
			return left, nil
		}
		if err := site.Sleep(ctx, lookEvery/2); err != nil {
			return nil, err
		}
	}
}

// moment is the begin or the end of an event.
type moment struct {
	at  time.Duration
	id  int
	end bool
}

func schedule(plan []Event, length time.Duration) []moment {
	var out []moment
	for id, e := range plan {
		out = append(out, moment{at: e.At, id: id})
		if e.For > 0 && e.At+e.For < length {
			out = append(out, moment{at: e.At + e.For, id: id, end: true})
		}
	}
	slices.SortStableFunc(out, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return out
}

// chaos carries the plan out. Who cannot keep its times is late, in the same order.
func (r *round) chaos(ctx context.Context, plan []Event, length time.Duration) error {
	begun := time.Now()
	for _, m := range schedule(plan, length) {
		if err := site.Sleep(ctx, max(0, time.Until(begun.Add(m.at)))); err != nil {
			return err
		}
		var err error
		if m.end {
			err = r.nem.end(ctx, m.id)
		} else {
			err = r.nem.begin(ctx, m.id, plan[m.id])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(plan[m.id]), err)
		}
	}
	return site.Sleep(ctx, max(0, time.Until(begun.Add(length))))
}

func told(what string, list []Violation) error {
	if len(list) == 0 {
		return nil
	}
	var lines []string
	for _, v := range list {
		lines = append(lines, v.Text)
	}
	return fmt.Errorf("%s: %s", what, strings.Join(lines, "; "))
}
