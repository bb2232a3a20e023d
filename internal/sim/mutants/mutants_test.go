package mutants_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/sim/mutants"
)

var (
	hunt  = flag.Int("mutants.seeds", 0, "hunt every mutant through so many random runs; 0: only check that the list fits the code")
	named = flag.String("mutants.name", "", "only this mutant")
)

// root of the repository, from this package's directory.
const root = "../../.."

// TestMutantsFit keeps the list true to the code that it sabotages.
func TestMutantsFit(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants.All() {
		if seen[m.Name] || m.Why == "" || len(m.Edits) == 0 {
			t.Errorf("%s: listed twice, or changes nothing, or does not say why", m.Name)
		}
		seen[m.Name] = true
		for _, e := range m.Edits {
			source, err := os.ReadFile(filepath.Join(root, e.File))
			if err != nil {
				t.Error(err)
				continue
			}
			if n := strings.Count(string(source), e.Old); n != 1 || e.Old == e.New {
				t.Errorf("%s: the text occurs %d times in %s, want once and changed:\n%s", m.Name, n, e.File, e.Old)
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d mutants, want at least 25", len(seen))
	}
}

var huntLine = regexp.MustCompile(`(?m)^\s*hunt: (.*)$`)

// TestMutantsDie is `make mutants`: it takes some seconds for each.
func TestMutantsDie(t *testing.T) {
	if *hunt == 0 {
		t.Skip("no -mutants.seeds given (make mutants)")
	}
	hunted, survivors := 0, 0
	for _, m := range mutants.All() {
		if *named != "" && m.Name != *named {
			continue
		}
		hunted++
		began := time.Now()
		out, err := sabotage(t, m)
		if err == nil { // nothing noticed: the histories are cheap, and know what is lost
			out, err = sabotage(t, m, "-sim.scenario=histories", fmt.Sprintf("-sim.hunt=%d", max(*hunt, historiesAtLeast)))
		}
		caught := huntLine.FindStringSubmatch(out)
		switch {
		case err == nil:
			survivors++
			fmt.Printf("%-34s SURVIVES %s\n", m.Name, time.Since(began).Round(time.Second))
			t.Errorf("%s survives (%s)", m.Name, m.Why)
		case caught == nil:
			survivors++ // it does not compile, or panics: it shows nothing
			fmt.Printf("%-34s SHOWS NOTHING\n", m.Name)
			t.Errorf("%s: neither caught nor alive:\n%s", m.Name, out)
		default:
			fmt.Printf("%-34s %s\n", m.Name, caught[1])
		}
	}
	fmt.Printf("mutants: %d, %d survive\n", hunted, survivors)
}

// losing are mutants by which data is lost: the histories of the way home alone notice.
var losing = []string{
	"sealed-at-one-site", "sealed-copies-are-not-protected", "what-was-written-since-the-seal-goes", "comes-home-over-what-was-written",
}

// historiesAtLeast is how many are played for each: they are cheap.
const historiesAtLeast = 2500

// TestHistoriesMissWhatIsLost is the part of `make mutants` that plays histories only.
func TestHistoriesMissWhatIsLost(t *testing.T) {
	if *hunt == 0 {
		t.Skip("no -mutants.seeds given (make mutants)")
	}
	for _, m := range mutants.All() {
		if !slices.Contains(losing, m.Name) || *named != "" && m.Name != *named {
			continue
		}
		out, err := sabotage(t, m, "-sim.scenario=histories", fmt.Sprintf("-sim.hunt=%d", max(*hunt, historiesAtLeast)))
		caught := huntLine.FindStringSubmatch(out)
		if err == nil || caught == nil {
			t.Errorf("no history misses what %s loses (%s):\n%s", m.Name, m.Why, out)
			continue
		}
		fmt.Printf("%-34s %s\n", m.Name, caught[1])
	}
}

// sabotage runs the hunt in a build with the mutant's files replaced.
func sabotage(t *testing.T, m mutants.Mutant, more ...string) (string, error) {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir, replaced := t.TempDir(), map[string]string{}
	for i, e := range m.Edits {
		target := filepath.Join(abs, e.File)
		changed := replaced[target]
		source, err := os.ReadFile(cmp.Or(changed, target))
		if err != nil {
			t.Fatal(err)
		}
		if changed == "" {
			changed = filepath.Join(dir, fmt.Sprintf("changed%d.go", i))
		}
		replaced[target] = changed
		if err := os.WriteFile(changed, []byte(strings.Replace(string(source), e.Old, e.New, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{
		"test", "-vet=off", "-overlay", overlay, "-count=1", "-timeout", "10m", "-run", "TestHunt", "./internal/sim", fmt.Sprintf("-sim.hunt=%d", *hunt),
	}, more...)...)
	cmd.Dir = abs
	out, err := cmd.CombinedOutput()
	return string(out), err
}
