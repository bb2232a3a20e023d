package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// demoConfig says what to show.
type demoConfig struct {
	dir    string // "": a temporary one
	sites  int
	victim string // "": the brique that leads
	shows  scenario
	plays  releases
	dns    string // who serves the zone
	bins   binaries
	out    io.Writer // progress
}

func demoCommand(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	c := demoConfig{out: s.Out}
	fs.StringVar(&c.victim, "kill", "", "the `site` whose plug is pulled (default: the brique that leads)")
	fs.StringVar(&c.dir, "dir", "", "directory of the network (default: a temporary one)")
	fs.IntVar(&c.sites, "sites", site.DefaultSites, "number of sites")
	inJSON := fs.Bool("json", false, "one line of JSON on standard output, progress on standard error")
	fs.StringVar(&c.dns, "dns", site.Embedded, "who serves the zone: "+dnsChoices())
	name := fs.String("scenario", "site", "what to show: "+strings.Join(scenarioNames(), ", "))
	binsOf, releasesOf := binFlags(fs), releaseFlags(fs)
	if _, err := parse(fs, args, s, 0, 0); err != nil {
		return err
	}
	var err error
	if c.shows, err = scenarioOf(*name); err != nil {
		return err
	}
	if err := checkDNS(c.dns); err != nil {
		return err
	}
	if err := checkVictim(c); err != nil {
		return err
	}
	if c.plays, err = releasesOf(); err != nil {
		return err
	}
	if c.bins, err = binsOf(); err != nil {
		return err
	}
	if *inJSON {
		c.out = s.Err
	}
	r := playDemo(ctx, c)
	if *inJSON {
		if err := json.NewEncoder(s.Out).Encode(r); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	if r.Site != "" {
		r.print(c.out)
	}
	if !r.OK {
		fmt.Fprintf(c.out, "demo: FAILED: %s\n", strings.Join(r.failures, "; "))
		return errTold
	}
	fmt.Fprintln(c.out, "demo: ok")
	return nil
}

func dnsChoices() string { return site.Embedded + ", " + strings.Join(nameserver.Kinds(), ", ") }

// checkDNS refuses a server that is not known or not installed.
func checkDNS(kind string) error {
	if kind == site.Embedded {
		return nil
	}
	if !slices.Contains(nameserver.Kinds(), kind) {
		return usagef("--dns: want one of %s, not %q", dnsChoices(), kind)
	}
	return nameserver.Check(kind)
}

// checkVictim refuses what could not be shown.
func checkVictim(c demoConfig) error {
	l, err := site.Layout(c.sites, 77)
	if err == nil && c.shows.shape != nil {
		err = c.shows.shape(l)
	}
	if err != nil {
		return usagef("--sites: %v", err)
	}
	if c.victim == "" {
		return nil
	}
	if _, err := l.Index(c.victim); err != nil {
		return usagef("--kill: %v", err)
	}
	return nil
}

// playDemo builds a network, pulls the plug and looks at what comes of it. When it
// returns every process has ended; the directory stays only if something went wrong.
func playDemo(ctx context.Context, c demoConfig) report {
	r := report{OK: true, Guests: []guestReport{}}
	d := &demo{begun: time.Now(), out: c.out, config: c}
	err := d.inRoom(ctx, func() (err error) {
		var f facts
		if f, err = d.playShown(ctx); err == nil {
			r = summarize(f)
			if d.config.shows.also != nil {
				d.config.shows.also(ctx, d, f, &r)
			}
		}
		if !r.OK {
			err = errTold
		}
		return err
	})
	if err != nil && !errors.Is(err, errTold) {
		r.fail("%v", err)
	}
	return r
}

// playShown plays the scenario of the configuration.
func (d *demo) playShown(ctx context.Context) (facts, error) {
	shows := d.config.shows
	if shows.before != nil {
		d.before = func(ctx context.Context) error { return shows.before(ctx, d) }
	}
	if shows.beside != nil {
		d.beside = func(ctx context.Context, f facts) error { return shows.beside(ctx, d, f) }
	}
	return d.play(ctx)
}

// inRoom builds a network, does something in it and ends it. The directory stays only
// if something went wrong, for its logs.
func (d *demo) inRoom(ctx context.Context, do func() error) error {
	dir, held, err := demoDir(d.config.dir)
	if err != nil {
		return err
	}
	defer held.Close() // the lock of a directory that nobody uses any more
	d.room, err = newRoom(ctx, roomConfig{dir: dir, sites: d.config.sites, dns: d.config.dns, plays: d.config.plays, bins: d.config.bins, shape: d.config.shows.shape, say: d.say})
	if err == nil {
		err = do()
		d.say("ending the network")
		err = errors.Join(err, d.room.close())
	}
	if err != nil && ctx.Err() == nil {
		d.say("the logs are kept in %s", dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func demoDir(dir string) (string, *os.File, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "wwwlab-")
	} else {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", nil, fmt.Errorf("make directory: %w", err)
	}
	held, err := claimDir(dir)
	return dir, held, err
}

// demo is one run.
type demo struct {
	config  demoConfig
	room    *room
	member  *member
	out     io.Writer
	begun   time.Time
	killed  time.Time // zero: not yet
	spoke   time.Time
	second  secondBlow
	written movedData
	ledger  []account // of an isolation

	before func(ctx context.Context) error          // just before the plug is pulled; nil: nothing
	beside func(ctx context.Context, f facts) error // beside the following; nil: nothing
}

// say prints a line of progress with its time.
func (d *demo) say(format string, args ...any) {
	at := fmt.Sprintf("[%4.0fs]", time.Since(d.begun).Seconds())
	if !d.killed.IsZero() {
		at = fmt.Sprintf("[+%4.1fs]", time.Since(d.killed).Seconds())
	}
	fmt.Fprintf(d.out, "%s %s\n", at, fmt.Sprintf(format, args...))
	d.spoke = time.Now()
}

// play shows everything on a network that is laid out.
func (d *demo) play(ctx context.Context) (facts, error) {
	if err := d.room.start(ctx); err != nil {
		return facts{}, err
	}
	var err error
	if d.member, err = newMember(site.EntryCA(d.room.dir)); err != nil {
		return facts{}, err
	}
	victim := d.config.victim
	if victim == "" {
		victim = d.config.shows.victim
	}
	if victim == "" {
		if victim, err = d.leadingBrique(ctx); err != nil {
			return facts{}, err
		}
	}
	d.showStatus(ctx)
	if d.before != nil {
		if err := d.before(ctx); err != nil {
			return facts{}, err
		}
	}
	return d.pull(ctx, victim)
}

// leadingBrique returns the brique that leads; an agent of another kind that leads is
// restarted until one does.
func (d *demo) leadingBrique(ctx context.Context) (string, error) {
	for range 10 {
		st, err := d.room.anyStatus(ctx)
		if err != nil {
			return "", err
		}
		leader := string(st.Leader)
		i, err := d.room.lab.Index(leader)
		if err != nil {
			return "", err
		}
		if d.room.lab.Sites[i].Kind == network.Brique {
			return leader, nil
		}
		d.say("%s leads, where nothing would have to move: its agent is restarted until a brique leads", leader)
		if err := d.room.restart(ctx, leader, restartPause); err != nil {
			return "", err
		}
		if err := d.room.awaitHealth(ctx); err != nil {
			return "", err
		}
	}
	return "", errors.New("no brique takes the lead")
}

// showStatus prints what wwwctl status shows at a surviving site.
func (d *demo) showStatus(ctx context.Context) {
	living := d.room.living()
	at := living[len(living)-1]
	out, err := d.room.wwwctl(ctx, at, "status")
	if err != nil {
		d.say("wwwctl status at %s: %v", at, err)
		return
	}
	fmt.Fprintf(d.out, "\n$ wwwctl status        (at %s)\n%s\n", at, strings.TrimRight(out, "\n"))
	fmt.Fprintln(d.out)
	d.spoke = time.Now()
}

// How long is watched what comes of the pulled plug, and, where nothing may come of it,
// that nothing does.
const (
	moveLimit  = 70 * time.Second
	stillWatch = 20 * time.Second
	agreeLimit = 6 * time.Second
)

// pull reads what members see, pulls the plug and follows what happens to its end.
func (d *demo) pull(ctx context.Context, victim string) (facts, error) {
	f := facts{site: failover.SiteID(victim), domain: failover.SiteDomain(failover.SiteID(victim)), moving: map[failover.GuestID]failover.SiteID{}, before: map[failover.GuestID][]string{}, after: map[failover.GuestID][]string{}}
	for _, g := range d.room.lab.GuestsOf(victim) {
		if g.Priority < 4 {
			f.moving[failover.GuestID(g.Name)] = f.site
		}
	}
	since, err := d.lastIndex(ctx)
	if err != nil {
		return f, err
	}
	if err := d.readData(ctx, victim, f.moving, f.before); err != nil {
		return f, err
	}
	if d.config.shows.strike != nil {
		err = d.config.shows.strike(ctx, d, &f)
	} else {
		err = d.killSite(&f)
	}
	if err != nil {
		return f, err
	}
	if len(f.moving) == 0 {
		d.say("no guest lives at %s: nothing has to move, and for %s nothing may", victim, stillWatch)
	}
	if err := d.followBeside(ctx, &f, since); err != nil {
		return f, err
	}
	d.showStatus(ctx)
	d.verify(ctx, &f)
	return f, nil
}

// killSite takes the power of a whole site.
func (d *demo) killSite(f *facts) error {
	d.say("pulling the plug of %s", f.site)
	d.begin(f, string(f.site))
	return d.room.kill(string(f.site))
}

// begin notes that something is struck now.
func (d *demo) begin(f *facts, what string) {
	d.killed = time.Now()
	f.killed, f.struck = d.killed, what
}

// followBeside follows what happens while d.beside does its own.
func (d *demo) followBeside(ctx context.Context, f *facts, since uint64) error {
	if d.beside == nil {
		return d.follow(ctx, f, since)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	at := *f
	go func() { done <- d.beside(ctx, at) }()
	err := d.follow(ctx, f, since)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-done)
}

// readData reads the data of the guests as a member: each name is asked at its own
// site's server and fetched from where it leads.
func (d *demo) readData(ctx context.Context, at string, guests map[failover.GuestID]failover.SiteID, into map[failover.GuestID][]string) error {
	i, err := d.room.lab.Index(at)
	if err != nil {
		return err
	}
	for g := range guests {
		lines, err := d.readGuest(ctx, i, g)
		if err != nil {
			return err
		}
		into[g] = lines
	}
	return nil
}

func (d *demo) readGuest(ctx context.Context, server int, g failover.GuestID) ([]string, error) {
	m, ok := d.room.lab.Guest(string(g))
	if !ok || len(m.Names) == 0 {
		return nil, fmt.Errorf("%s has no public name", g)
	}
	at := d.room.lab.DNS(server)
	if real := d.room.lab.NameServers(); len(real) > 0 {
		at = real[0]
	}
	addr, err := d.member.resolve(ctx, at, m.Names[0])
	if err != nil {
		return nil, err
	}
	page, err := d.member.fetch(ctx, entryAt(addr), m.Names[0], "/data")
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(page), "\n"), nil
}
