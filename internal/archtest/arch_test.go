package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one file that is built into a program: tests may import more.
type source struct {
	path string // slash-separated, from the root of the module
	file *ast.File
	fset *token.FileSet
}

func (s source) pkg() string { return path.Dir(s.path) }

// imports returns the import paths of a file, without the module's own prefix.
func (s source) imports(module string) []string {
	var out []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			out = append(out, strings.TrimPrefix(p, module+"/"))
		}
	}
	return out
}

func TestModule(t *testing.T) {
	module, sources := readModule(t, "../..")
	if len(sources) < 50 {
		t.Fatalf("%d sources were found: this is not the module's root", len(sources))
	}
	t.Run("arrows", func(t *testing.T) {
		for _, s := range sources {
			for _, problem := range wrongImports(s, module) {
				t.Error(problem)
			}
		}
	})
	t.Run("purity", func(t *testing.T) { checkPurity(t, module, sources) })
	t.Run("tables", func(t *testing.T) { checkTables(t, module, sources) })
}

func checkPurity(t *testing.T, module string, sources []source) {
	checked := map[string]int{}
	for _, s := range sources {
		if !isPure(s.pkg()) {
			continue
		}
		checked[s.pkg()]++
		for _, problem := range impurities(s, module) {
			t.Error(problem)
		}
	}
	for pkg := range pure {
		if checked[pkg] == 0 {
			t.Errorf("%s: no source was found", pkg)
		}
	}
}

// checkTables: a row for a package that is gone is a row that checks nothing.
func checkTables(t *testing.T, module string, sources []source) {
	used := map[string]bool{}
	for _, s := range sources {
		for _, p := range s.imports(module) {
			for prefix := range foreign {
				used[prefix] = used[prefix] || within(p, prefix)
			}
		}
	}
	for pkg := range arrows {
		if !slices.ContainsFunc(sources, func(s source) bool { return within(s.pkg(), pkg) }) {
			t.Errorf("arrows: there is no package %s", pkg)
		}
	}
	for prefix := range foreign {
		if !used[prefix] {
			t.Errorf("foreign: nothing imports %s", prefix)
		}
	}
}

// TestRulesFind: each rule finds what it is for.
func TestRulesFind(t *testing.T) {
	const module = "example.org/m"
	for name, tt := range map[string]struct {
		path, src string
		want      string // in the problem; "" = none
	}{
		"the core may know the network":      {"failover/x.go", `import "example.org/m/internal/network"`, ""},
		"the core knows no adapter":          {"failover/x.go", `import "example.org/m/dnsctl"`, "dnsctl"},
		"the network knows nobody":           {"internal/network/x.go", `import "example.org/m/failover"`, "failover"},
		"its reader knows it":                {"internal/network/netyaml/x.go", `import "example.org/m/internal/network"`, ""},
		"adapters do not know each other":    {"dnsctl/x.go", `import "example.org/m/cluster"`, "cluster"},
		"the agent may know Proxmox":         {"internal/agent/x.go", `import "example.org/m/internal/proxmox"`, ""},
		"the agent does not know DNS":        {"internal/agent/x.go", `import "example.org/m/dnsctl"`, "dnsctl"},
		"a new package is an adapter":        {"internal/newest/x.go", `import "example.org/m/internal/api"`, "internal/api"},
		"a new adapter may know the core":    {"internal/newest/x.go", `import "example.org/m/failover"`, ""},
		"a part may know its whole":          {"internal/newest/part/x.go", `import "example.org/m/internal/newest"`, ""},
		"nobody knows a program":             {"internal/sim/x.go", `import "example.org/m/cmd/wwwd"`, "cmd/wwwd"},
		"programs see all":                   {"cmd/wwwd/x.go", `import "example.org/m/internal/config"`, ""},
		"Raft in cluster":                    {"cluster/x.go", `import "github.com/hashicorp/raft"`, ""},
		"Raft elsewhere":                     {"internal/agent/x.go", `import "github.com/hashicorp/raft"`, "hashicorp/raft"},
		"go-proxmox elsewhere":               {"internal/agent/x.go", `import "github.com/luthermonson/go-proxmox"`, "go-proxmox"},
		"an unknown module":                  {"dnsctl/x.go", `import "example.com/left-pad"`, "left-pad"},
		"netip in the core":                  {"failover/x.go", `import "net/netip"`, ""},
		"a socket in the core":               {"failover/x.go", `import "net"`, `"net"`},
		"files in the core":                  {"failover/x.go", `import "os"`, `"os"`},
		"a log in the core":                  {"failover/x.go", `import "log/slog"`, `"log/slog"`},
		"chance in the core":                 {"internal/network/x.go", `import "math/rand/v2"`, `"math/rand/v2"`},
		"a lock in the core":                 {"failover/x.go", `import "sync"`, `"sync"`},
		"a foreign module in the core":       {"failover/x.go", `import "go.etcd.io/bbolt"`, "bbolt"},
		"a duration in the core":             {"failover/x.go", "import \"time\"\nvar x = time.Second", ""},
		"a clock in the core":                {"failover/x.go", "import \"time\"\nvar x = time.Now()", "time.Now"},
		"a clock by another name":            {"failover/x.go", "import clock \"time\"\nvar x = clock.Since", "time.Since"},
		"all of time at once":                {"failover/x.go", "import . \"time\"", "import ."},
		"a goroutine in the core":            {"failover/x.go", "func f() { go f() }", "go statement"},
		"a select in the core":               {"failover/x.go", "func f() { select {} }", "select"},
		"a send in the core":                 {"failover/x.go", "func f(c chan int) { c <- 1 }", "channel"},
		"an init in the core":                {"failover/x.go", "func init() {}", "init"},
		"a clock where it belongs":           {"cmd/wwwd/x.go", "import \"time\"\nvar x = time.Now()", ""},
		"a test helper in a program's build": {"internal/api/x.go", `import "example.org/m/internal/lab"`, "internal/lab"},
	} {
		t.Run(name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, tt.path, "package x\n"+tt.src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			s := source{path: tt.path, file: file, fset: fset}
			got := wrongImports(s, module)
			if isPure(s.pkg()) {
				got = append(got, impurities(s, module)...)
			}
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("got %q, want no problem", got)
			case tt.want != "" && !strings.Contains(strings.Join(got, "\n"), tt.want):
				t.Errorf("got %q, want one about %s", got, tt.want)
			}
		})
	}
}

// readModule parses every source of the module below root.
func readModule(t *testing.T, root string) (module string, sources []source) {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(mod), "\n")
	module = strings.TrimSpace(strings.TrimPrefix(line, "module"))
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(root, p)
		switch {
		case err != nil || relErr != nil:
			return err
		case d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		s := source{path: filepath.ToSlash(rel), fset: token.NewFileSet()}
		mode := parser.ImportsOnly
		if isPure(s.pkg()) {
			mode = parser.SkipObjectResolution
		}
		if s.file, err = parser.ParseFile(s.fset, p, nil, mode); err != nil {
			return err
		}
		sources = append(sources, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return module, sources
}
