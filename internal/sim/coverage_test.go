package sim_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/sim"
)

// absent are the values that no campaign reaches, with the reason.
var absent = map[string]string{
	"locked":      "no simulated machine has an encrypted disk; verdicts are tested in failover",
	"mass-event":  "a word for two suspected sites: it is a hold (WWW-1305), not a cause on record",
	"unprotected": "every simulated guest has a backup",
}

// TestCoverageNamesWhatThereIs: a cause, phase, step, state or failure that is
// new in the core is expected to occur, or it is said here why it cannot.
func TestCoverageNamesWhatThereIs(t *testing.T) {
	kinds := map[string]string{
		"Cause": "cause", "Phase": "phase", "OpPhase": "op", "RunState": "run", "StepID": "step", "Failure": "failure",
	}
	found := 0
	for name, values := range constants(t, "../../failover/*.go") {
		kind, ok := kinds[name]
		if !ok {
			continue
		}
		for _, v := range values {
			found++
			_, excused := absent[v]
			if expects := sim.Expects(kind, v); expects == excused {
				t.Errorf("%s %q: expected to occur %t, and excused %t", name, v, expects, excused)
			}
		}
	}
	if found < 40 {
		t.Errorf("%d constants were found, want at least 40", found)
	}
}

// constants lists the string constants of files by their declared type.
func constants(t *testing.T, pattern string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files for %s: %v", pattern, err)
	}
	out := map[string][]string{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			of, ok := spec.Type.(*ast.Ident)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if v, err := strconv.Unquote(lit.Value); err == nil {
					out[of.Name] = append(out[of.Name], v)
				}
			}
			return true
		})
	}
	return out
}
