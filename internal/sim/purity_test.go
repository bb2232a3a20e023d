package sim_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// simulated is the production code that runs in the simulator. A clock, a
// goroutine or unseeded randomness in it would make the same seed two runs.
var simulated = []string{
	"failover/*.go", "internal/agent/*.go", "internal/network/*.go", "internal/proxmox/*.go", "internal/lab/*.go", "internal/lab/primary/*.go", "internal/sim/*.go",
	"cluster/codec.go",
	"probes/window.go", "probes/set.go", "probes/prober.go", "probes/reporter.go", "probes/reporting.go", "probes/health.go",
	"probes/targets.go", "probes/uplink.go",
	"dnsctl/desired.go", "dnsctl/publisher.go", "dnsctl/verify.go", "dnsctl/record.go", "dnsctl/rdata.go", "dnsctl/answer.go",
	"dnsctl/respond.go", "dnsctl/serial.go", "dnsctl/diff.go", "dnsctl/server.go", "dnsctl/goal.go", "dnsctl/round.go",
	"dnsctl/writer.go", "dnsctl/update.go", "dnsctl/view.go", "dnsctl/look.go",
}

// excused are uses that the simulator does not reach, by file and function,
// with the reason.
var excused = map[string]string{
	"dnsctl/server.go NewServer": "only where no clock is injected; the simulator injects one",
	"dnsctl/server.go ServeDNS":  "answers from the network; the simulator calls Respond",
	"dnsctl/server.go send":      "as ServeDNS",
}

var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

func TestSimulatedCodeIsDeterministic(t *testing.T) {
	files, used := 0, map[string]bool{}
	for _, pattern := range simulated {
		paths, err := filepath.Glob(filepath.Join("../..", filepath.FromSlash(pattern)))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files for %s: %v", pattern, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			files++
			for _, f := range findings(t, path) {
				rel := strings.TrimPrefix(filepath.ToSlash(path), "../../")
				key := rel + " " + f.function
				if _, ok := excused[key]; ok {
					used[key] = true
					continue
				}
				t.Errorf("%s:%d: %s in %s", rel, f.line, f.what, f.function)
			}
		}
	}
	for key := range excused {
		if !used[key] {
			t.Errorf("excuse %q is not needed any more", key)
		}
	}
	if files < 60 {
		t.Errorf("%d files were looked at, want at least 60", files)
	}
}

type finding struct {
	function, what string
	line           int
}

// findings lists the clocks, goroutines and unseeded randomness of a file.
func findings(t *testing.T, path string) []finding {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string]string{}
	for _, i := range file.Imports {
		full := strings.Trim(i.Path.Value, `"`)
		name := full[strings.LastIndex(full, "/")+1:]
		if full == "math/rand/v2" {
			name = "rand"
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		imports[name] = full
	}
	var out []finding
	for _, d := range file.Decls {
		name := "package level"
		if f, ok := d.(*ast.FuncDecl); ok {
			name = f.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if what := forbidden(n, imports); what != "" {
				out = append(out, finding{name, what, fset.Position(n.Pos()).Line})
			}
			return true
		})
	}
	return out
}

func forbidden(n ast.Node, imports map[string]string) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return ""
		}
		switch path := imports[x.Name]; {
		case path == "time" && slices.Contains(clocks, n.Sel.Name),
			strings.HasPrefix(path, "math/rand") && !slices.Contains(seeded, n.Sel.Name),
			path == "crypto/rand":
			return fmt.Sprintf("%s.%s", x.Name, n.Sel.Name)
		}
	}
	return ""
}
