package detectbench_test

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/detectbench"
)

var (
	years  = flag.Int("detect.years", 5, "site-years of TestDetectionBench, over all lines (SITE_YEARS)")
	seed   = flag.Uint64("detect.seed", 1, "seed of TestDetectionBench (SEED)")
	share  = flag.Int("detect.share", 100, "networks per one that is also lived through under hasty levels and watched by the rivals; 0: none")
	sample = flag.Int("detect.sample", 0, "live through one in so many of the lone short disturbances; 0: 1 between 6 and 200 site-years, else 64")
)

// fromEnvironment lets SITE_YEARS and SEED win over the flags.
func fromEnvironment(t *testing.T) {
	t.Helper()
	if v := os.Getenv("SITE_YEARS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			t.Fatalf("SITE_YEARS=%q: want a number of years", v)
		}
		*years = n
	}
	if v := os.Getenv("SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("SEED=%q: %v", v, err)
		}
		*seed = n
	}
}

// TestDetectionBench is the quality bench: make bench-detection.
func TestDetectionBench(t *testing.T) {
	fromEnvironment(t)
	c := detectbench.Config{
		Seed: *seed, SiteYears: *years, Shards: runtime.GOMAXPROCS(0), Share: *share, Sample: *sample,
	}
	if c.Sample == 0 {
		c.Sample = 1
		if c.SiteYears > 200 || c.SiteYears <= 5 {
			c.Sample = 64
		}
	}
	// The heap is some megabytes: collecting it less often costs little and saves much.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	began := time.Now()
	tally, err := detectbench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, one in %d of the lone short disturbances lived through, %v", c.Seed, c.Sample, time.Since(began).Round(time.Second))
	// Not through t.Log: the last line is read by programs and must not be indented.
	if err := tally.Print(os.Stdout); err != nil {
		t.Fatal(err)
	}
	if n := tally.WrongAtDefaults(); n > 0 {
		t.Errorf("%d wrong failovers at the defaults: want none", n)
	}
	if tally.Refused > 0 {
		t.Errorf("%d commands of Decide were refused: want none", tally.Refused)
	}
	if p50, p99 := tally.Suspect.Quantile(0.5), tally.Suspect.Quantile(0.99); p50 > 7 || p99 > 10 {
		t.Errorf("suspect p50 %.2f s, p99 %.2f s: want at most 7 and 10 s", p50, p99)
	}
}
