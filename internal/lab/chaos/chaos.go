package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
)

// Config says what to break.
type Config struct {
	Dir     string // rounds are kept in it, by seed
	Seed    uint64 // of the first round; the others follow
	Minutes time.Duration
	Round   time.Duration // of chaos in each round; 0: DefaultRound
	Sites   int           // 0: those of the demo
	WWWD    string        // the programs
	WWWLab  string
	WWWCtl  string
	Say     func(line string) // progress; nil: not told
}

// DefaultRound has room for an incident and what comes of it, and the next.
const DefaultRound = 2 * time.Minute

// Summary is what a run came to.
type Summary struct {
	Took       time.Duration
	Seed       uint64
	Rounds     int
	Faults     int
	Violations int
	Broken     []Result // rounds with violations
}

func (s Summary) String() string {
	return fmt.Sprintf("chaos: %.1f minutes, %d faults, %d violations, seed %d", s.Took.Minutes(), s.Faults, s.Violations, s.Seed)
}

// Run plays rounds until the time is over, one at least; what is begun is ended. Each
// has the seed after that of the one before. The error says why it could not go on.
func Run(ctx context.Context, c Config) (Summary, error) {
	sum := Summary{Seed: c.Seed}
	if err := netns.Missing(); err != nil {
		return sum, err
	}
	if c.Round <= 0 {
		c.Round = DefaultRound
	}
	release, err := claim(c.Dir)
	if err != nil {
		return sum, err
	}
	defer release()
	begun := time.Now()
	for sum.Rounds == 0 || time.Since(begun) < c.Minutes {
		res, err := runRound(ctx, c, c.Seed+uint64(sum.Rounds), c.Round, sum.Rounds+1)
		sum.Rounds++
		sum.Faults += res.Faults
		sum.Violations += len(res.Violations)
		if len(res.Violations) > 0 {
			sum.Broken = append(sum.Broken, res)
		}
		sum.Took = time.Since(begun)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// claim takes the directory for this process, as long as it lives.
func claim(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("claim %s: another chaos runs there: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // the lock goes with it
}
