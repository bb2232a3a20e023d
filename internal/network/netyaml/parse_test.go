package netyaml_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// equal compares specs field by field; addresses compare as values.
var equal = cmp.Options{cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })}

const examplePath = "../../../deploy/examples/network.yaml"

func example(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExampleIsWithoutProblems(t *testing.T) {
	spec, problems := netyaml.Parse("network.yaml", example(t))
	if len(problems) > 0 || spec == nil {
		t.Fatalf("problems in the example:\n%s", netyaml.Format(problems))
	}
	moving, kinds := 0, map[network.GuestType]int{}
	notRescued := 0
	for _, g := range spec.Guests {
		if g.Priority == 4 {
			notRescued++
		} else if g.Exposure == "web" {
			moving++
			kinds[g.Type]++
		}
	}
	if len(spec.Sites) != 5 || len(spec.Structures) != 3 || moving < 9 || notRescued < 1 || kinds[network.VM] == 0 || kinds[network.CT] == 0 {
		t.Errorf("example has %d sites, %d structures, %d guests that move (%v), %d of priority 4",
			len(spec.Sites), len(spec.Structures), moving, kinds, notRescued)
	}
	if got := spec.Sites["moulin"].Mesh.String(); got != "10.77.1.1:9977" {
		t.Errorf("mesh address without a port is %s, want the default port", got)
	}
	if got := spec.Zones["assos.example"].Secondaries[0].String(); got != "192.0.2.53:53" {
		t.Errorf("secondary without a port is %s, want the default port", got)
	}
}

func TestMarshalReadsBackTheSame(t *testing.T) {
	spec, problems := netyaml.Parse("network.yaml", example(t))
	if spec == nil {
		t.Fatal(netyaml.Format(problems))
	}
	b, err := netyaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	again, problems := netyaml.Parse("written.yaml", b)
	if len(problems) > 0 {
		t.Fatalf("problems in what was written:\n%s\n%s", netyaml.Format(problems), b)
	}
	if d := cmp.Diff(spec, again, equal); d != "" {
		t.Errorf("written and read back (-want +got):\n%s", d)
	}
	if d := network.Diff(spec, again); len(d) > 0 {
		t.Errorf("Diff of the same network: %v", d)
	}
}

// TestInvalidFiles reads one mistake per file; the golden file beside it is
// the whole report.
func TestInvalidFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid-*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	known := network.ProblemCodes()
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, problems := netyaml.Parse(filepath.Base(file), b)
			if spec != nil || !network.HasErrors(problems) {
				t.Errorf("accepted; problems: %v", problems)
			}
			for _, p := range problems {
				if p.At.Line == 0 || p.At.Column == 0 {
					t.Errorf("no place: %+v", p)
				}
				if p.Hint == "" {
					t.Errorf("no hint: %s", p)
				}
				if !slices.Contains(known, p.Code) {
					t.Errorf("code %s is not in ProblemCodes", p.Code)
				}
				for _, goName := range []string{"network.S", "network.D", "netip", "int64", "uint16", "map[", "[]", "struct {", "nmarshal"} {
					if strings.Contains(p.Message+p.Hint, goName) {
						t.Errorf("message speaks Go: %s / %s", p.Message, p.Hint)
					}
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", netyaml.Format(problems))
		})
	}
}

// TestWarnings reads networks that are well-formed and could not do their job.
func TestWarnings(t *testing.T) {
	base, err := os.ReadFile("testdata/valid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"ttl", "{secondaries:", "{ttl: 1h, secondaries:", "WWW-0121"},
		{"two voters", "  temoin: {kind: witness, mesh: 10.77.9.1}\n", "", "WWW-0120"},
		{"no public entry", "    public: {ipv4: 203.0.113.34}\n", "", "WWW-0120"},
		{"auto without consent", "policy: allowed, consent: 2026-03-02", "policy: encrypted-backup-only", "WWW-0122"},
		{"consent without date", ", consent: 2026-03-02", "", "WWW-0122"},
		{"no source elsewhere", "        sources: {moulin: [pbs-moulin]}\n", "", "WWW-0123"},
		{"one server", "{secondaries: [192.0.2.53]}", "{}", "WWW-0125"},
		{"waits for the lost", "priority: 1", "priority: 4", "WWW-0126"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(base), tt.old, tt.new, 1)
			if tt.old != "" && text == string(base) {
				t.Fatalf("%q does not occur", tt.old)
			}
			spec, problems := netyaml.Parse("n.yaml", []byte(text))
			var got []string
			for _, p := range problems {
				if p.Severity != network.Warning || p.At.Line == 0 || p.Hint == "" {
					t.Errorf("not a complete warning: %+v", p)
				}
				got = append(got, p.Code)
			}
			if spec == nil || strings.Join(got, " ") != tt.want {
				t.Errorf("got spec %t, codes %v; want %q\n%s", spec != nil, got, tt.want, netyaml.Format(problems))
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	const text = `network: assos
sites:
  a: {kind: brick, mesh: 10.77.1.1, hosts: {h: {owner: raoull, pve: {url: "https://10.0.0.1:8006", node: h}}}}
  b: {kind: witness, mesh: 10.77.1.1, mseh: 3}
structures:
  s: {home: a, vlan: 1101.5, mode: aut}
  s: {home: b, vlan: 7}
guests:
  g: {id: 101, type: vm, structure: t, host: h, priority: 9, max_loss: 300}
`
	_, problems := netyaml.Parse("n.yaml", []byte(text))
	want := []string{
		"n.yaml:3:13: error WWW-0110", "n.yaml:4:28: error WWW-0107", "n.yaml:4:39: error WWW-0102",
		"n.yaml:6:22: error WWW-0104", "n.yaml:6:36: error WWW-0110", "n.yaml:7:3: error WWW-0103",
		"n.yaml:9:37: error WWW-0109", "n.yaml:9:59: error WWW-0115", "n.yaml:9:72: error WWW-0104",
	}
	var got []string
	for _, p := range problems {
		got = append(got, strings.Join(strings.SplitN(p.String(), ": ", 3)[:2], ": "))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, netyaml.Format(problems))
	}
}

// TestHostileTextIsRefusedFast: large texts in the shapes that cost a YAML
// parser most: repeated, and in groups that stay under the limit of one
// mapping.
func TestHostileTextIsRefusedFast(t *testing.T) {
	const size = netyaml.MaxSize / 16 // the whole takes 5 s at most, and ten times that with -race
	shapes := map[string]string{}
	for _, unit := range []string{
		"[", "{", "- ", "a: ", "\"", "? ", "&a ", "!a ", "%a\n", "[a,", "{a: ", "a: 1\n", "|\n", ": ", "---\n", "- - a\n", "a: |\n b\n", "x", "\t", "*a\n", "- a\n", "a:\n- a\n", "-\n", "a:\n", "- a:\n", "a:\n #\n",
	} {
		shapes[unit] = strings.Repeat(unit, size/len(unit))
	}
	for _, unit := range []string{" a: 1\n", " a:\n", " a:\n  - 1\n", " a: {b: c}\n"} {
		group := "- k:\n  " + strings.ReplaceAll(strings.Repeat(unit, netyaml.MaxKeys-1), "\n", "\n  ") + "\n"
		shapes["grouped "+unit] = strings.Repeat(group, max(1, size/len(group)))
	}
	shapes["flow map"] = "a: {" + strings.Repeat("a: 1, ", size/6-2) + "}"
	shapes["flow empty"] = "a: {" + strings.Repeat("a, ", size/3-2) + "}"
	shapes["flow null"] = "a: {" + strings.Repeat("a: , ", size/5-2) + "}"
	for name, text := range shapes {
		begin := time.Now()
		spec, problems := netyaml.Parse("n.yaml", []byte(text))
		took := time.Since(begin)
		t.Logf("%-20q %8d bytes %6d problems %s", name, len(text), len(problems), took.Round(time.Millisecond))
		if took > 60*time.Second {
			t.Errorf("%q took %s", name, took)
		}
		if spec != nil || !network.HasErrors(problems) {
			t.Errorf("%q was accepted", name)
		}
	}
	if _, problems := netyaml.Parse("n.yaml", make([]byte, netyaml.MaxSize+1)); len(problems) != 1 || problems[0].Code != network.CodeSyntax {
		t.Errorf("too large a file: %v", problems)
	}
}

func TestDepthIsLimited(t *testing.T) {
	for name, deep := range map[string]func(int) string{
		"flow":  func(n int) string { return "a: " + strings.Repeat("[", n) + strings.Repeat("]", n) },
		"block": func(n int) string { return strings.Repeat("- ", n) + "x" },
		"lines": func(n int) (s string) {
			for i := range n {
				s += strings.Repeat(" ", i) + "k:\n"
			}
			return s
		},
	} {
		_, problems := netyaml.Parse("n.yaml", []byte(deep(netyaml.MaxDepth+2)))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "levels of nesting") {
			t.Errorf("%s: too deep: %v", name, problems)
		}
		_, problems = netyaml.Parse("n.yaml", []byte(deep(netyaml.MaxDepth-2)))
		if strings.Contains(fmt.Sprint(problems), "levels of nesting") {
			t.Errorf("%s: just deep enough: %v", name, problems)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example(f))
	files, _ := filepath.Glob("testdata/invalid-*.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		spec, problems := netyaml.Parse("n.yaml", b)
		if (spec == nil) != network.HasErrors(problems) {
			t.Fatalf("spec %v with problems %v", spec, problems)
		}
		for _, p := range problems {
			if p.At.Line < 1 || p.Code == "" || p.Message == "" {
				t.Fatalf("incomplete problem %+v", p)
			}
		}
		if spec == nil {
			return
		}
		out, err := netyaml.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		again, problems := netyaml.Parse("again.yaml", out)
		if again == nil {
			t.Fatalf("written network is refused:\n%s\n%s", netyaml.Format(problems), out)
		}
		if d := cmp.Diff(spec, again, equal); d != "" {
			t.Fatalf("written and read back (-want +got):\n%s\n%s", d, out)
		}
	})
}
