package mutants_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		if seen[m.Name] || m.Old == m.New || m.Why == "" {
			t.Errorf("%s: listed twice, or changes nothing, or does not say why", m.Name)
		}
		seen[m.Name] = true
		source, err := os.ReadFile(filepath.Join(root, m.File))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := strings.Count(string(source), m.Old); n != 1 {
			t.Errorf("%s: the line occurs %d times in %s, want once:\n%s", m.Name, n, m.File, m.Old)
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d mutants, want at least 20", len(seen))
	}
}

var huntLine = regexp.MustCompile(`(?m)^\s*hunt: (.*)$`)

// TestMutantsDie is `make mutants`: it takes some seconds for each.
func TestMutantsDie(t *testing.T) {
	if *hunt == 0 {
		t.Skip("no -mutants.seeds given (make mutants)")
	}
	survivors := 0
	list := mutants.All()
	for _, m := range list {
		if *named != "" && m.Name != *named {
			continue
		}
		began := time.Now()
		out, err := sabotage(t, m)
		caught := huntLine.FindStringSubmatch(out)
		switch {
		case err == nil:
			survivors++
			fmt.Printf("%-34s SURVIVES %s\n", m.Name, time.Since(began).Round(time.Second))
			t.Errorf("%s survives (%s)", m.Name, m.Why)
		case caught == nil:
			t.Errorf("%s: neither caught nor alive:\n%s", m.Name, out)
		default:
			fmt.Printf("%-34s %s\n", m.Name, caught[1])
		}
	}
	fmt.Printf("mutants: %d, %d survive\n", len(list), survivors)
}

// sabotage runs the hunt in a build with one file replaced.
func sabotage(t *testing.T, m mutants.Mutant) (string, error) {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(abs, m.File)
	source, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {target: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay", overlay, "-count=1", "-timeout", "10m",
		"-run", "TestHunt", "./internal/sim", fmt.Sprintf("-sim.hunt=%d", *hunt))
	cmd.Dir = abs
	out, err := cmd.CombinedOutput()
	return string(out), err
}
