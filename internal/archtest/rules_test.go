package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// arrow says which packages of this module a package may import.
type arrow struct {
	may []string
	why string
}

// adapter is what a package may import that no row names.
var adapter = arrow{
	may: []string{"failover", "internal/network", "internal/message"},
	why: "an adapter knows the core and the declared network, and no other adapter",
}

// everything stands for every package but the programs.
const everything = "*"

// arrows are the import rules of design section 3. A row holds for the packages
// below its own too, unless they have one. A package may always import what
// stands above or below it in its own tree.
var arrows = map[string]arrow{
	"failover":                 {[]string{"internal/network"}, "the core knows the declared network and nothing else"},
	"internal/network":         {nil, "the declared network is values; everybody else builds on them"},
	"internal/network/netyaml": {[]string{"internal/network"}, "the reader of network.yaml fills those values"},
	"internal/message":         {nil, "a leaf that all may use uses nobody"},
	"internal/roothelper":      {[]string{"internal/network", "internal/network/netyaml"}, "the root helper reads its own range file strictly and trusts nobody else's code"},
	"cluster":                  {[]string{"failover", "internal/network"}, "Raft and nothing else: it carries the core's commands"},
	"internal/agent":           {[]string{"failover", "internal/network", "internal/message", "internal/doctor", "internal/proxmox", "internal/mesh"}, "the site's hands use Proxmox and the mesh"},
	"internal/api":             {[]string{"failover", "internal/network", "internal/message", "internal/doctor"}, "it shows State and findings, and carries commands"},
	"internal/doctor":          {[]string{"failover", "internal/network", "internal/message", "internal/privileges"}, "pure checks on State and on facts that the agent read: it calls nobody"},
	"internal/privileges":      {nil, "a table of what the tokens need"},
	"internal/config": {
		[]string{
			"internal/network", "internal/network/netyaml", "internal/message", "cluster", "probes", "dnsctl",
			"internal/agent", "internal/api", "internal/proxmox", "internal/mesh", "internal/notify",
		},
		"it composes every package's Config",
	},
	"internal/api/apitest": {[]string{"failover", "internal/network", "internal/network/netyaml", "internal/message", "internal/api"}, "fixtures of the API's users"},
	"internal/detectbench": {[]string{"failover", "internal/network", "probes"}, "the bench of detection drives the real windows and the real judge"},
	"internal/logtest":     {[]string{"failover", "internal/network"}, "the contract of Log is the core's"},
	"internal/lab":         {[]string{everything}, "the lab sees all"},
	"internal/sim":         {[]string{everything}, "the simulator sees all"},
	"cmd":                  {[]string{everything}, "a program wires everything"},
}

// closed are packages that only those who see all may import, whatever else
// their row says: no program that runs at a site carries them by accident.
var closed = []string{"internal/lab", "internal/sim", "internal/logtest", "internal/detectbench", "internal/archtest", "internal/api/apitest"}

// foreign says who may import a module of others. What is not here may not be
// imported at all.
var foreign = map[string]arrow{
	"github.com/hashicorp/raft":           {[]string{"cluster"}, "Raft is hidden behind failover.Log"},
	"github.com/hashicorp/raft-boltdb":    {[]string{"cluster"}, "the log's store is the cluster's"},
	"github.com/hashicorp/go-hclog":       {[]string{"cluster"}, "only Raft wants this logger"},
	"go.etcd.io/bbolt":                    {[]string{"cluster"}, "the log's store is the cluster's"},
	"github.com/luthermonson/go-proxmox":  {[]string{"internal/proxmox"}, "everybody else uses our own client with its typed errors"},
	"github.com/miekg/dns":                {[]string{"dnsctl", "probes", "internal/lab", "internal/sim", "cmd/wwwlab"}, "DNS on the wire"},
	"github.com/prometheus/client_golang": {[]string{"internal/api", "cmd/wwwd"}, "metrics are collected from State in one place"},
	"github.com/goccy/go-yaml":            {[]string{"internal/network/netyaml", "cmd/wwwctl"}, "configuration is read strictly in one place"},
	"github.com/itchyny/gojq":             {[]string{"cmd/wwwctl"}, "filters of the CLI's output"},
	"golang.org/x/term":                   {[]string{"cmd"}, "a terminal belongs to a program"},
	"golang.org/x/sync":                   {[]string{everything}, "errgroup"},
	"golang.org/x/time":                   {[]string{"internal/api"}, "how much a caller may ask for"},
	"golang.org/x/sys":                    {[]string{everything}, "system calls"},
	"golang.zx2c4.com/wireguard":          {[]string{"internal/mesh", "probes"}, "WireGuard"},
}

// pure are the packages that must do the same on every agent for the same log,
// and in the simulator for the same seed.
var pure = map[string]string{
	"failover":         "every agent applies the same log to the same state",
	"internal/network": "it is part of that state",
}

// allowed is the part of the standard library that reads nothing but its
// arguments.
var allowed = []string{
	"bytes", "cmp", "context", "crypto/sha256", "encoding", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json",
	"errors", "fmt", "iter", "maps", "math", "math/bits", "net/netip", "net/url", "path",
	"slices", "sort", "strconv", "strings", "sync/atomic", "time", "unicode", "unicode/utf8",
}

// forbidden are the functions of allowed packages that read a clock, wait, or
// depend on the machine.
var forbidden = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation"},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// within says whether a path is prefix or below it.
func within(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

// rule returns the row of a package: its own, or the nearest above it.
func rule(pkg string) arrow {
	for p := pkg; p != "." && p != "/"; p = path.Dir(p) {
		if a, ok := arrows[p]; ok {
			return a
		}
	}
	return adapter
}

func (a arrow) allows(p string) bool {
	return slices.ContainsFunc(a.may, func(m string) bool { return m == p })
}

func (a arrow) all() bool { return slices.Contains(a.may, everything) }

// wrongImports lists the imports of a source that no arrow allows.
func wrongImports(s source, module string) []string {
	var out []string
	pkg := s.pkg()
	a := rule(pkg)
	for _, p := range s.imports(module) {
		first, _, _ := strings.Cut(p, "/")
		switch {
		case strings.Contains(first, "."):
			if f, ok := foreignRule(p); !ok {
				out = append(out, fmt.Sprintf("%s imports %s: no rule lets anybody", s.path, p))
			} else if !f.all() && !slices.ContainsFunc(f.may, func(m string) bool { return within(pkg, m) }) {
				out = append(out, fmt.Sprintf("%s imports %s: only %v may (%s)", s.path, p, f.may, f.why))
			}
		case !isOurs(p, s, module):
			// The standard library.
		case within(p, "cmd"):
			out = append(out, fmt.Sprintf("%s imports %s: nobody imports a program", s.path, p))
		case within(pkg, p) && !isPure(pkg) || within(p, pkg) && !isPure(pkg) || a.all():
		case slices.ContainsFunc(closed, func(c string) bool { return within(p, c) }):
			out = append(out, fmt.Sprintf("%s imports %s: it belongs to tests and the lab", s.path, p))
		case !a.allows(p):
			out = append(out, fmt.Sprintf("%s imports %s: it may import %v (%s)", s.path, p, a.may, a.why))
		}
	}
	return out
}

func isPure(pkg string) bool { return pure[pkg] != "" }

// foreignRule returns the row of a module of others, the longest that fits:
// "…/raft-boltdb/v2" is not "…/raft".
func foreignRule(p string) (arrow, bool) {
	best := ""
	for prefix := range foreign {
		if within(p, prefix) && len(prefix) > len(best) {
			best = prefix
		}
	}
	a, ok := foreign[best]
	return a, ok
}

// isOurs says whether an import path that imports returned was one of the
// module's: the standard library has none of its prefix.
func isOurs(p string, s source, module string) bool {
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool {
		return spec.Path.Value == strconv.Quote(module+"/"+p)
	})
}

// impurities lists what a source of a pure package must not hold.
func impurities(s source, module string) []string {
	var out []string
	add := func(n ast.Node, what string) {
		out = append(out, fmt.Sprintf("%s:%d: %s: %s is pure, since %s", s.path, s.fset.Position(n.Pos()).Line, what, s.pkg(), pure[s.pkg()]))
	}
	names := map[string]string{} // in this file → import path
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil || within(p, module) {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
		if name == "." {
			add(spec, "import . "+spec.Path.Value)
		}
		if !slices.Contains(allowed, p) {
			add(spec, "import "+spec.Path.Value)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n, "go statement")
		case *ast.SelectStmt:
			add(n, "select statement")
		case *ast.SendStmt:
			add(n, "send to a channel")
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				add(n, "init function")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(forbidden[names[x.Name]], n.Sel.Name) {
				add(n, names[x.Name]+"."+n.Sel.Name)
			}
		}
		return true
	})
	return out
}
