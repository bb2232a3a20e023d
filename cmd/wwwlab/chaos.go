package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/chaos"
)

// chaosCommand breaks networks in namespaces at random. What it tells goes to the error
// stream, but for the last line.
func chaosCommand(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	dir := fs.String("dir", ".chaos", "where rounds are kept, by seed")
	minutes := fs.Float64("minutes", 5, "how long; the round that is under way is ended, and one is played at least")
	seed := fs.Uint64("seed", 1, "of the first round; the others follow")
	length := fs.Duration("round", chaos.DefaultRound, "how long the chaos of a round is")
	programs := binFlags(fs)
	if _, err := parse(fs, args, s, 0, 0); err != nil {
		return err
	}
	if *minutes < 0 || *length < 10*time.Second {
		return usagef("--minutes must not be negative, and --round be 10s at least")
	}
	abs, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("find directory %s: %w", *dir, err)
	}
	bins, err := programs()
	if err != nil {
		return err
	}
	sum, err := chaos.Run(ctx, chaos.Config{
		Dir: abs, Seed: *seed, Minutes: time.Duration(*minutes * float64(time.Minute)), Round: *length,
		WWWD: bins.wwwd, WWWLab: bins.lab, WWWCtl: bins.wwwctl,
		Say: func(line string) { fmt.Fprintln(s.Err, line) },
	})
	for _, r := range sum.Broken {
		for _, v := range r.Violations {
			fmt.Fprintf(s.Err, "seed %d: %s\n", r.Seed, v)
		}
		fmt.Fprintf(s.Err, "seed %d: plan, timeline and logs are kept in %s; once more: make chaos SEED=%d MINUTES=1\n", r.Seed, r.Dir, r.Seed)
	}
	if sum.Rounds > 0 {
		fmt.Fprintln(s.Out, sum)
	}
	if err == nil && sum.Violations > 0 {
		return errTold
	}
	return err
}
