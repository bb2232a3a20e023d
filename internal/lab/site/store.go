package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const (
	storeTick   = 250 * time.Millisecond
	keepBackups = 4               // snapshots per guest and PBS
	collectGap  = 5 * time.Minute // between collections of what no snapshot uses
)

// order asks the keeper of the copies for something out of turn.
type order struct {
	do   func(now time.Time) error
	done chan error
}

// keepCopies is the driver of the site's PBS: sync jobs, backups and pruning follow
// one another, so that none meets the other's unfinished work.
func (p *process) keepCopies(ctx context.Context) {
	t := time.NewTicker(storeTick)
	defer t.Stop()
	next := map[int]time.Time{}
	collected := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-p.orders:
			o.done <- o.do(time.Now())
		case now := <-t.C:
			for _, m := range p.machines {
				if m.pbs != nil {
					m.pbs.Advance(now)
				}
			}
			if p.backUp(next, now) {
				p.prune()
			}
			if now.Sub(collected) >= collectGap && p.collect() {
				collected = now
			}
		}
	}
}

// ask has an order carried out and waits for it.
func (p *process) ask(ctx context.Context, do func(now time.Time) error) error {
	o := order{do: do, done: make(chan error, 1)}
	select {
	case p.orders <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// resident is a guest where it lives.
type resident struct {
	Member
	pve  *lab.PVE
	into string // the storage entry that its backups go through
}

// residents returns the guests of the site whose host has power, each where it lives.
func (p *process) residents() []resident {
	var out []resident
	for _, m := range p.machines {
		if m.pve == nil || m.power.isOff() {
			continue
		}
		into := ownBackups
		if m.Owner == network.OwnerRaoull {
			into = sourceEntry(p.name)
		}
		for _, g := range p.lab.GuestsOf(p.name) {
			if m.lodges(g) {
				out = append(out, resident{g, m.pve, into})
			}
		}
	}
	return out
}

// backUp backs the guests up when their time has come, as their host's own job does, and
// tells whether it did.
func (p *process) backUp(next map[int]time.Time, now time.Time) bool {
	did := false
	for _, g := range p.residents() {
		v, ok := g.pve.Guest(g.ID)
		if !ok || !v.Serving || now.Before(next[g.ID]) {
			continue
		}
		if _, again := next[g.ID]; !again && !ripe(v, p.lab.Timing.First.D()) {
			continue
		}
		next[g.ID] = now.Add(p.lab.Timing.Backup.D())
		if err := g.pve.Backup(g.ID, g.into, now); err != nil {
			p.log.Warn("backup failed", "guest", g.Name, "err", err)
			continue
		}
		did = true
	}
	return did
}

// ripe says whether a guest is worth its first backup: it has been up for that long, and has
// written something, which it has not when the machine gave it no time meanwhile.
func ripe(v lab.GuestView, first time.Duration) bool {
	return v.Uptime >= first+time.Second && len(v.Data()) > 0
}

// backUpNow backs every running guest up out of turn.
func (p *process) backUpNow(now time.Time) error {
	var errs []error
	for _, g := range p.residents() {
		if v, ok := g.pve.Guest(g.ID); ok && v.Running {
			errs = append(errs, g.pve.Backup(g.ID, g.into, now))
		}
	}
	return errors.Join(errs...)
}

// syncNow pulls from every other site out of turn.
func (p *process) syncNow(now time.Time) error {
	var errs []error
	for _, m := range p.machines {
		if m.pbs == nil {
			continue
		}
		for _, job := range p.jobs {
			if _, _, err := m.pbs.Sync(p.sources[job.Remote], job, now); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", job.ID, err))
			}
		}
	}
	return errors.Join(errs...)
}

// prune keeps the newest snapshots of every guest.
func (p *process) prune() {
	for _, m := range p.machines {
		if m.pbs == nil {
			continue
		}
		for _, s := range p.lab.Names() {
			m.pbs.Prune(s, keepBackups)
		}
	}
}

// collect drops what no snapshot uses, unless a restore may be reading.
func (p *process) collect() bool {
	for _, m := range p.machines {
		if m.pve == nil {
			continue
		}
		for _, v := range m.pve.Guests() {
			if v.Lock != "" {
				return false
			}
		}
	}
	for _, m := range p.machines {
		if m.pbs == nil {
			continue
		}
		n, err := m.pbs.CollectGarbage()
		p.log.Info("garbage collected", "host", m.Name, "chunks", n, "err", err)
	}
	return true
}
