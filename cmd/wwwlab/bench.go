package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// figures are what the runs measured, in seconds; one entry per run or per guest.
type figures struct {
	suspect []float64 // plug pulled → suspected by a quorum
	over    []float64 // commitment beyond the declared delay
	restore []float64 // decision to prepare → first restore request at a Proxmox
	dns     []float64 // guest checked → every surviving name server answers the new address
	serving []float64 // plug pulled → last service back
	warm    []float64 // end of the commit delay → a warm guest that waits for no other serves
	next    []float64 // leader's agent killed in mid-operation → next step of the operation
	usage   []usage   // of the agents, in steady state
}

func benchCommand(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	runs := fs.Int("runs", 20, "how many plugs are pulled, each in a fresh network")
	steady := fs.Duration("steady", 30*time.Second, "how long the agents are watched at rest, in the first run")
	more := fs.Int("more", 3, "how many runs each of a warm guest, and of a leader that is killed in mid-operation")
	sites := fs.Int("sites", site.DefaultSites, "number of sites")
	verbose := fs.Bool("v", false, "show every run on standard error")
	binsOf := binFlags(fs)
	if _, err := parse(fs, args, s, 0, 0); err != nil {
		return err
	}
	if *runs < 1 || *more < 0 {
		return usagef("--runs: at least one; --more: none or some")
	}
	bins, err := binsOf()
	if err != nil {
		return err
	}
	var f figures
	for n := range *runs {
		b := benchRun{config: demoConfig{sites: *sites, bins: bins, out: io.Discard}}
		if *verbose {
			b.config.out = s.Err
		}
		if n == 0 {
			b.steady = *steady
		}
		if err := b.measure(ctx, &f); err != nil {
			return fmt.Errorf("run %d: %w", n+1, err)
		}
		fmt.Fprintf(s.Err, "run %d of %d: suspected after %.1f s, all serving after %.1f s\n",
			n+1, *runs, f.suspect[len(f.suspect)-1], f.serving[len(f.serving)-1])
	}
	config := demoConfig{sites: *sites, bins: bins, out: io.Discard}
	if *verbose {
		config.out = s.Err
	}
	if err := measureMore(ctx, config, *more, &f, s.Err); err != nil {
		return err
	}
	f.print(s.Out)
	return nil
}

// measureMore plays the scenarios of which one figure is wanted, some times each.
func measureMore(ctx context.Context, config demoConfig, runs int, out *figures, progress io.Writer) error {
	for _, m := range []struct {
		scenario string
		take     func(context.Context, *demo, facts) ([]float64, error)
		into     *[]float64
	}{
		{"warm", warmFigures, &out.warm},
		{"leader-killed", nextFigures, &out.next},
	} {
		for n := range runs {
			c, err := config, error(nil)
			if c.shows, err = scenarioOf(m.scenario); err != nil {
				return err
			}
			d := &demo{begun: time.Now(), out: c.out, config: c}
			var got []float64
			err = d.inRoom(ctx, func() error {
				f, err := d.playShown(ctx)
				if err != nil {
					return err
				}
				got, err = m.take(ctx, d, f)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s, run %d: %w", m.scenario, n+1, err)
			}
			fmt.Fprintf(progress, "%s, run %d of %d: %.1f s\n", m.scenario, n+1, runs, quantile(got, 1))
			*m.into = append(*m.into, got...)
		}
	}
	return nil
}

// warmFigures are the times from the end of the commit delay until a warm guest serves.
func warmFigures(ctx context.Context, d *demo, f facts) ([]float64, error) {
	r := summarize(f)
	if servedWarm(ctx, d, f, &r); !r.OK {
		return nil, fmt.Errorf("not ok: %v", r.failures)
	}
	var out []float64
	for _, g := range r.Guests {
		if id := failover.GuestID(g.Name); slices.Contains(d.warmGuests(), id) && !d.waits(id) && g.Serving != nil {
			out = append(out, *g.Serving-d.room.lab.Spec().Policy.Commit.D().Seconds())
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no warm guest served")
	}
	return out, nil
}

// nextFigures is the time from the leader's death until the operation went on.
func nextFigures(ctx context.Context, d *demo, f facts) ([]float64, error) {
	r := summarize(f)
	if !r.OK {
		return nil, fmt.Errorf("not ok: %v", r.failures)
	}
	next, ok, err := d.nextStep(ctx, f.op.ID)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("the operation took no step"), err)
	}
	return []float64{next.Seconds()}, nil
}

// benchRun is one pulled plug.
type benchRun struct {
	config demoConfig
	steady time.Duration
	demo   *demo

	mu   sync.Mutex
	told map[failover.GuestID]time.Time // when the last server began to tell the new address
}

func (b *benchRun) measure(ctx context.Context, out *figures) error {
	b.demo = &demo{begun: time.Now(), out: b.config.out, config: b.config, beside: b.watchNames}
	b.told = map[failover.GuestID]time.Time{}
	if b.steady > 0 {
		b.demo.before = func(ctx context.Context) (err error) {
			out.usage, err = watchUsage(ctx, b.demo.room, b.steady)
			return err
		}
	}
	return b.demo.inRoom(ctx, func() error {
		f, err := b.demo.play(ctx)
		if err != nil {
			return err
		}
		if r := summarize(f); !r.OK {
			return fmt.Errorf("not ok: %v", r.failures)
		}
		return b.collect(ctx, f, out)
	})
}

// collect adds one run to the figures.
func (b *benchRun) collect(ctx context.Context, f facts, out *figures) error {
	r := summarize(f)
	if r.Suspect == nil || r.Committed == nil || r.All == nil {
		return errors.New("the run tells no times")
	}
	delay := b.demo.room.lab.Spec().Policy.Commit.D().Seconds()
	out.suspect = append(out.suspect, *r.Suspect)
	out.over = append(out.over, *r.Committed-delay)
	out.serving = append(out.serving, *r.All)
	decided := f.first(failover.CodeOpBegun)
	asked, err := b.firstRestore(ctx, f.killed)
	if err != nil || decided == nil {
		return errors.Join(errors.New("no restore was asked for"), err)
	}
	out.restore = append(out.restore, asked.Sub(f.killed).Seconds()-*decided)
	for _, e := range f.events {
		told, ok := b.told[e.Guest]
		if e.Reason.Code == failover.CodeChecked && ok {
			out.dns = append(out.dns, told.Sub(e.Stamp.At).Seconds())
		}
	}
	return nil
}

// firstRestore asks the surviving hosts when the first of them was asked to restore.
func (b *benchRun) firstRestore(ctx context.Context, killed time.Time) (time.Time, error) {
	var first time.Time
	for _, name := range b.demo.room.living() {
		st, err := site.NewClient(b.demo.room.dir, name).Status(ctx)
		if err != nil {
			return first, err
		}
		for _, r := range st.Restores {
			if r.At.After(killed) && (first.IsZero() || r.At.Before(first)) {
				first = r.At
			}
		}
	}
	if first.IsZero() {
		return first, errors.New("no host was asked to restore")
	}
	return first, nil
}

// namePoll is how finely the name servers are watched, and namesFrom how long before
// the declared delay that begins.
const (
	namePoll  = 20 * time.Millisecond
	namesFrom = time.Second
)

// watchNames notes for every guest that moves when the last surviving server begins to
// tell another address than the dead site's.
func (b *benchRun) watchNames(ctx context.Context, f facts) error {
	r := b.demo.room
	dead, err := r.lab.Index(string(f.site))
	if err != nil {
		return err
	}
	begin := f.killed.Add(r.lab.Spec().Policy.Commit.D() - namesFrom)
	if err := site.Sleep(ctx, time.Until(begin)); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, f.killed.Add(moveLimit))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	old := r.lab.Plan().Public(dead)
	for guest := range f.moving {
		m, _ := r.lab.Guest(string(guest))
		for _, name := range r.living() {
			server, err := r.lab.Index(name)
			if err != nil {
				return err
			}
			g.Go(func() error {
				for {
					addr, err := b.demo.member.resolve(ctx, r.lab.DNS(server), m.Names[0])
					if err == nil && addr != old {
						b.heard(guest, time.Now())
						return nil
					}
					if err := site.Sleep(ctx, namePoll); err != nil {
						return fmt.Errorf("%s never moved at the name server of %s", guest, name)
					}
				}
			})
		}
	}
	return g.Wait()
}

func (b *benchRun) heard(g failover.GuestID, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.After(b.told[g]) {
		b.told[g] = at
	}
}

// quantile returns the value at rank q (nearest rank) of values in any order.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (f figures) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SECONDS\tN\tP50\tP99\tMAX\tAIM")
	row := func(what, aim string, v []float64) {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%s\n", what, len(v), quantile(v, 0.5), quantile(v, 0.99), quantile(v, 1), aim)
	}
	row("leader's plug pulled → suspected by a quorum", "p50 ≤ 7, p99 ≤ 10", f.suspect)
	row("commitment − declared delay", "≤ 3", f.over)
	row("decision to prepare → first restore request", "≤ 1", f.restore)
	row("guest checked → every embedded DNS server answers", "p99 ≤ 0.6", f.dns)
	row("leader's plug pulled → last service back", "-", f.serving)
	row("commit delay over → a warm guest serves", "≤ 15", f.warm)
	row("leader killed in mid-operation → next step", "≤ 5", f.next)
	_ = t.Flush() // as any print
	fmt.Fprintln(w)
	fmt.Fprintln(t, "AGENT AT REST\tRSS MiB\t% OF A CORE")
	for _, u := range f.usage {
		fmt.Fprintf(t, "%s\t%.1f\t%.2f\n", u.site, float64(u.rss)/mebibyte, 100*u.cpu)
	}
	_ = t.Flush() // as any print
}

const mebibyte = 1 << 20
