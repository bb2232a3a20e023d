package lab_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources returns the text of the Go files of some packages, tests or not.
func sources(t *testing.T, tests bool, dirs ...string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no Go files in %s (%v)", dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") != tests {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
	}
	return b.String()
}

// TestAuditNamesWhatExists holds docs/proxmox.md to the code: each function and test that it names is there,
// and no fact and no row is left out.
func TestAuditNamesWhatExists(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "proxmox.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	tests := sources(t, true, "internal/lab", "internal/proxmox", "internal/agent", "cmd/wwwlab")
	named := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(text, -1)
	for _, m := range named {
		if !strings.Contains(tests, "\nfunc "+m[1]+"(") {
			t.Errorf("the audit names %s, which no package has", m[1])
		}
	}
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type |var |\t)([A-Za-z]+)(?:\[[^\]]*\])?(?:\(| struct| = )`)
	for _, pkg := range []string{"lab", "proxmox"} {
		for _, m := range declaration.FindAllStringSubmatch(sources(t, false, "internal/"+pkg), -1) {
			declared[pkg+"."+m[1]] = true
		}
	}
	functions := regexp.MustCompile("`(lab|proxmox)\\.([A-Za-z]+)(?:\\.[A-Za-z]+)?`").FindAllStringSubmatch(text, -1)
	for _, m := range functions {
		if m[0] == "`lab.json`" {
			continue // a file
		}
		if !declared[m[1]+"."+m[2]] {
			t.Errorf("the audit names %s.%s, which does not exist", m[1], m[2])
		}
	}
	if len(named) < 100 || len(functions) < 80 {
		t.Errorf("the audit names %d tests and %d functions: has its form changed?", len(named), len(functions))
	}
	var facts []string
	_, part, _ := strings.Cut(text, "## The twenty facts")
	part, _, _ = strings.Cut(part, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) `).FindAllStringSubmatch(part, -1) {
		facts = append(facts, m[1])
	}
	if want := strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"); !slices.Equal(facts, want) {
		t.Errorf("facts = %v, want 1 to 20", facts)
	}
}
