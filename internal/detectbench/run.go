package detectbench

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Config of a run.
type Config struct {
	Seed      uint64
	SiteYears int // rounded up to whole networks of five sites
	// Life of one network; 0: a year.
	Life   time.Duration
	Shards int // that work at once; the outcome does not depend on it
	// Share: one network in so many is lived through a second time under hasty
	// levels, and watched by the rivals. 0: none.
	Share int
	// Sample: see Options.
	Sample int
}

// allDelays: one network in so many measures every commit delay, the others
// those in force by default only, which takes less time.
const allDelays = 4

// denser is how many times as many of the lone disturbances are lived through
// under hasty levels, which few networks are.
const denser = 16

// Run lives through all networks and adds up. It ends early with the context.
func Run(ctx context.Context, c Config) (*Tally, error) {
	if c.Life == 0 {
		c.Life = 365 * day
	}
	networks := int(math.Ceil(float64(c.SiteYears) / sites / c.years()))
	shards := max(1, min(c.Shards, networks))
	parts := make([]Tally, shards)
	var wg sync.WaitGroup
	for shard := range shards {
		wg.Go(func() {
			for n := shard; n < networks && ctx.Err() == nil; n += shards {
				c.network(n, &parts[shard])
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run %d networks: %w", networks, err)
	}
	sum := &Tally{}
	for i := range parts {
		sum.merge(&parts[i])
	}
	sum.Networks = networks
	return sum, nil
}

// years of one network's life.
func (c Config) years() float64 { return float64(c.Life) / float64(365*day) }

// network lives through the life of the network number n.
func (c Config) network(n int, sum *Tally) {
	seed := draw(c.Seed, 1, uint64(n))
	policies := []Policy{leanPolicy()}
	if n%allDelays == 0 {
		policies[0] = defaultPolicy()
	}
	shared := c.Share > 0 && n%c.Share == 0
	if shared {
		policies = append(policies, hastyPolicy())
	}
	for i, p := range policies {
		place := NewPlace(n, p)
		trace := NewTrace(seed, place, c.Life, 1)
		if shared && i == 0 {
			for k, r := range compare(place, trace, seed, c.years()) {
				sum.Rivals[k].merge(&r)
			}
		}
		ledger := NewLedger(place, p, c.years())
		o := Options{Seed: seed, Policy: p, Sample: c.Sample}
		if i > 0 {
			o.Sample = max(1, c.Sample/denser)
		}
		w := NewWorld(place, trace, ledger, o)
		w.Run()
		ledger.Tally.Refused += w.errs
		ledger.Tally.Decisions += w.decisions
		sum.merge(ledger.Close())
	}
}
