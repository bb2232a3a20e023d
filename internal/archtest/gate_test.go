package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The gate of design section 7: what takes data of a guest away is reached by one
// function, which demands the proof that nothing is lost by it.
const (
	gateFile = "internal/agent/gate.go"
	gateFunc = "destroy"
)

// destructive are methods of the Proxmox clients that take data away, or let it be taken
// away, and by which functions alone they are called. Whoever adds one to the clients adds
// it here: deletions of the clients that are not here are found below.
var destructive = map[string][]string{
	"Destroy":   {gateFile + " " + gateFunc},
	"Unprotect": {gateFile + " giveUp", "internal/agent/restore.go release"}, // a sealed backup; the pin of an operation's restore point
}

// proofs are what the functions of the gate ask of the newest State before they call.
var proofs = map[string]string{gateFunc: "MayDestroy", "giveUp": "MayUnseal"}

// deleters are the functions of the clients that may send a DELETE, and what it deletes.
var deleters = map[string]string{
	"Destroy":    "a guest",
	"CancelTask": "no data: it ends a task",
	"send":       "whatever its caller says",
}

// risky are names of parameters with which Proxmox takes away what is not named by the
// path: restores over a guest, pulls and backups that remove what they do not know.
var risky = []string{"force", "remove-vanished", "prune-backups", "skiplock", "force-remove-storage", "destroy-unreferenced-disks"}

// gateProblems lists what in a source goes around the gate.
func gateProblems(s source) []string {
	var out []string
	add := func(n ast.Node, format string, args ...any) {
		out = append(out, fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...)))
	}
	client := s.pkg() == "internal/proxmox"
	in := ""
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			in = n.Name.Name
		case *ast.SelectorExpr:
			if by, takes := destructive[n.Sel.Name]; takes && !client && !slices.Contains(by, s.path+" "+in) {
				add(n, "%s is called by %s alone", n.Sel.Name, strings.Join(by, " and "))
			}
			if client && n.Sel.Name == "MethodDelete" && deleters[in] == "" {
				add(n, "%s deletes: say what, and have the gate ask for a proof", in)
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil && client && slices.Contains(risky, text) && in != "Destroy" && in != "SetConfig" && in != "" {
				add(n, "%s sends %q, which takes away what nobody named", in, text)
			}
		}
		return true
	})
	return out
}

// readWhole parses the sources that could call the Proxmox clients.
func readWhole(t *testing.T) (all []source) {
	t.Helper()
	module, sources := readModule(t, "../..")
	for _, s := range sources {
		if within(s.pkg(), "internal/lab") || within(s.pkg(), "internal/sim") || path.Base(s.pkg()) == "proxmoxtest" {
			continue // tests and stand-ins of Proxmox
		}
		if s.pkg() != "internal/proxmox" && !slices.ContainsFunc(s.imports(module), func(p string) bool {
			return p == "internal/proxmox" || p == "internal/agent"
		}) && s.pkg() != "internal/agent" {
			continue
		}
		name := s.fset.Position(s.file.Pos()).Filename
		file, err := parser.ParseFile(s.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.file = file
		all = append(all, s)
	}
	return all
}

func TestDestructiveCallsGoThroughTheGate(t *testing.T) {
	gates := map[string]bool{}
	for _, s := range readWhole(t) {
		for _, problem := range gateProblems(s) {
			t.Error(problem)
		}
		if s.path != gateFile {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && asks(f, proofs[f.Name.Name]) {
				gates[f.Name.Name] = true
			}
		}
	}
	for name, proof := range proofs {
		if !gates[name] {
			t.Errorf("%s has no function %s that asks State for %s", gateFile, name, proof)
		}
	}
}

// asks says whether a function calls the method of a name.
func asks(f *ast.FuncDecl, method string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		found = found || ok && method != "" && sel.Sel.Name == method
		return true
	})
	return found
}

// TestGateRuleFinds: the rule finds what it is for.
func TestGateRuleFinds(t *testing.T) {
	for name, tt := range map[string]struct{ path, src, want string }{
		"the gate itself":              {gateFile, `func (j *job) destroy() { j.pve.Destroy() }`, ""},
		"another function of the file": {gateFile, `func (j *job) other() { j.pve.Destroy() }`, "Destroy"},
		"another file":                 {"internal/agent/cleanup.go", `func (j *job) destroy() { j.pve.Destroy() }`, "Destroy"},
		"a program":                    {"cmd/wwwd/x.go", `func f() { pve.Destroy() }`, "Destroy"},
		"the method as a value":        {"internal/agent/x.go", `func f() { g := pve.Destroy; g() }`, "Destroy"},
		"a protection is lifted":       {"internal/agent/seal.go", `func (j *job) seal() { j.pbs.Unprotect() }`, "Unprotect"},
		"a pin is released":            {"internal/agent/restore.go", `func (j *job) release() { j.pbs.Unprotect() }`, ""},
		"a deletion of the client":     {"internal/proxmox/x.go", `import "net/http"; func Forget() { do(http.MethodDelete) }`, "Forget"},
		"the client ends a task":       {"internal/proxmox/x.go", `import "net/http"; func CancelTask() { do(http.MethodDelete) }`, ""},
		"a restore over a guest":       {"internal/proxmox/x.go", `func Over() { p["force"] = 1 }`, "force"},
		"a pull that removes":          {"internal/proxmox/x.go", `func Pull() { p["remove-vanished"] = true }`, "remove-vanished"},
	} {
		t.Run(name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, tt.path, "package x\n"+tt.src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(gateProblems(source{path: tt.path, file: file, fset: fset}), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want one about %q", got, tt.want)
			}
		})
	}
}
