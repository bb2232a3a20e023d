package message_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/message"
)

func TestText(t *testing.T) {
	tests := []struct {
		name, code string
		args       map[string]string
		want       string
	}{
		{"first of two", "WWW-1303", map[string]string{"site": "quai", "reason": "works"}, "automatic failover of quai is paused: works"},
		{"domain before site", "WWW-1306", map[string]string{"domain": "site:moulin", "site": "moulin"}, "moulin: still seen"},
		{"bytes", "WWW-1203", map[string]string{"site": "quai", "need": "2147483648", "have": "1610612736"}, "no target has enough memory left (at quai: 2 GiB needed, 1.5 GiB free)"},
		{"code as value", "WWW-1312", map[string]string{"op": "op-3", "why": "WWW-1104"}, "op-3: cancelled: back (WWW-1104)"},
		{"required and optional", "WWW-1103", map[string]string{"domain": "site:moulin", "votes": "3"}, "moulin: lost, 3 observers agree"},
		{"host domain", "WWW-1109", map[string]string{"domain": "host:pbs-1"}, "host pbs-1: the backup server does not answer"},
		{"optional parts left out", "WWW-1304", map[string]string{"domain": "site:quai"}, "quai: one automatic attempt was made; blocked"},
		{"empty argument is missing", "WWW-1402", map[string]string{"site": "", "for": "2h"}, "automatic failover paused, 2h"},
		{"missing required argument shows", "WWW-2003", nil, "there is no operation ?"},
		{"unknown code keeps its arguments", "WWW-9999", map[string]string{"b": "2", "a": "1"}, "WWW-9999 a=1 b=2"},
		{"brackets and braces in values stay", "WWW-2003", map[string]string{"op": "[{x}]"}, "there is no operation [{x}]"},
		{"control characters cannot move a cursor", "WWW-2003", map[string]string{"op": "a\x1b[2Jb\nc"}, "there is no operation a·[2Jb·c"},
		{"configuration code without an entry", "WWW-0199", map[string]string{"path": "sites.a", "message": "bad"}, "sites.a: needs a correction: bad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := message.Text(message.English, tt.code, tt.args); got != tt.want {
				t.Errorf("Text(%s, %v):\n got %q\nwant %q", tt.code, tt.args, got, tt.want)
			}
		})
	}
}

func TestCatalogueIsComplete(t *testing.T) {
	codes := message.Codes()
	if len(codes) < 80 {
		t.Fatalf("Codes(): got %d entries, want the whole catalogue", len(codes))
	}
	words := map[string]string{}
	form := regexp.MustCompile(`^WWW-\d{4}$`)
	for _, code := range codes {
		m, ok := message.Entry(message.English, code)
		if !ok || m.Code != code || !form.MatchString(code) {
			t.Errorf("Entry(%s): got %v, ok %v", code, m.Code, ok)
		}
		for field, text := range map[string]string{
			"severity": string(m.Severity), "title": m.Title, "text": m.Text,
			"meaning": m.Meaning, "impact": m.Impact, "look": m.Look, "do": m.Do,
		} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s is empty", code, field)
			}
		}
		if strings.Count(m.Text, "{") != strings.Count(m.Text, "}") || strings.Count(m.Text, "[") != strings.Count(m.Text, "]") {
			t.Errorf("%s: template %q is not balanced", code, m.Text)
		}
		if m.Word == "" {
			continue
		}
		if other, taken := words[m.Word]; taken {
			t.Errorf("%s and %s share the word %q", code, other, m.Word)
		}
		words[m.Word] = code
	}
}

// TestNoMessageIsStale: the way home is built, and what no message may advise is to stop or restore by hand until it is.
func TestNoMessageIsStale(t *testing.T) {
	for _, code := range message.Codes() {
		m, _ := message.Entry(message.English, code)
		for _, text := range []string{m.Text, m.Meaning, m.Impact, m.Look, m.Do} {
			if strings.Contains(strings.ToLower(text), "until failback") {
				t.Errorf("%s says %q", code, text)
			}
		}
	}
	for code, want := range map[string]string{
		"WWW-1333": "wwwctl failback plan SITE", "WWW-1361": "wwwctl failback plan nuage", "WWW-1330": "wwwctl failback plan nuage",
		"WWW-1309": "wwwctl failback plan SITE", "WWW-3038": "--confirm=nuage",
	} {
		got := message.Hint(message.English, code, map[string]string{"guest": "nuage", "name": "nuage"})
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q does not name %q", code, got, want)
		}
	}
	args := map[string]string{"op": "op-7", "guests": "2", "why": "WWW-1401"}
	if got := message.Text(message.English, "WWW-1354", args); !strings.HasPrefix(got, "op-7: 2 guest(s) stay where they serve (") {
		t.Errorf("what is taken back may serve elsewhere than at home: %q", got)
	}
	if got := message.Hint(message.English, "WWW-1333", nil); strings.Contains(got, "by hand") {
		t.Errorf("WWW-1333 has copies stopped by hand: %q", got)
	}
}

func TestEntryOfBadCodes(t *testing.T) {
	for _, code := range []string{"", "WWW-", "WWW-1", "WWW-13011", "www-1301", "WWW-99", "1301", "WWW-13\x00\x00", "WWW-0000"} {
		if m, ok := message.Entry(message.English, code); ok {
			t.Errorf("Entry(%q): got %+v, want none", code, m)
		}
	}
	if m, ok := message.Entry(message.English, "WWW-0199"); !ok || m.Code != "WWW-0199" {
		t.Errorf("Entry(WWW-0199): got %+v, %v, want the general entry of its area", m, ok)
	}
}

// use is one place in the core that makes a reason: its code and, when they
// are written there, the names of its arguments.
type use struct {
	at, code string
	args     []string
	counted  bool // the call names its arguments
}

// TestCoreUsesTheCatalogue reads the source of the core: every code there must
// have an entry, and each call that builds a reason must give the arguments
// that the entry's template demands.
func TestCoreUsesTheCatalogue(t *testing.T) {
	files, err := filepath.Glob("../../failover/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("find the core's source: %v, %v", files, err)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, f := range files {
		file, err := parser.ParseFile(fset, f, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("parse %s: %v", f, err)
		}
		parsed = append(parsed, file)
	}
	codes := map[string]string{}
	for _, file := range parsed {
		collectConstants(file, codes)
	}
	if len(codes) == 0 {
		t.Fatal("the core declares no code: this test reads the wrong place")
	}
	for _, name := range slices.Sorted(maps.Keys(codes)) {
		if _, ok := message.Entry(message.English, codes[name]); !ok {
			t.Errorf("failover.%s = %s has no entry in the catalogue", name, codes[name])
		}
	}
	for _, file := range parsed {
		if strings.HasSuffix(fset.Position(file.Pos()).Filename, "_test.go") {
			continue
		}
		for _, u := range uses(fset, file, codes) {
			checkUse(t, u)
		}
	}
}

// TestConfigurationCodesHaveEntries: the general entry is for codes of newer
// agents, not for ours.
func TestConfigurationCodesHaveEntries(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../network/problem.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	collectConstants(file, codes)
	if len(codes) == 0 {
		t.Fatal("internal/network declares no code: this test reads the wrong place")
	}
	own := message.Codes()
	for _, name := range slices.Sorted(maps.Keys(codes)) {
		if !slices.Contains(own, codes[name]) {
			t.Errorf("network.%s = %s has no entry in the catalogue", name, codes[name])
		}
	}
}

func checkUse(t *testing.T, u use) {
	t.Helper()
	m, ok := message.Entry(message.English, u.code)
	if !ok {
		t.Errorf("%s: %s has no entry in the catalogue", u.at, u.code)
		return
	}
	required, optional := message.Placeholders(m.Text)
	for _, r := range required {
		if u.counted && !slices.ContainsFunc(strings.Split(r, "|"), func(alt string) bool { return slices.Contains(u.args, alt) }) {
			t.Errorf("%s: %s is called with %v, its text %q needs %q", u.at, u.code, u.args, m.Text, r)
		}
	}
	// Guest and operation may be left out: screens show the reason beside them.
	shown := strings.Split(strings.Join(append(required, optional...), "|"), "|")
	told := slices.DeleteFunc(slices.Clone(u.args), func(a string) bool { return a == "guest" || a == "op" || a == "structure" })
	if len(told) > 0 && !slices.ContainsFunc(told, func(a string) bool { return slices.Contains(shown, a) }) {
		t.Errorf("%s: none of the arguments %v of %s shows in its text %q", u.at, u.args, u.code, m.Text)
	}
}

// collectConstants maps the name of each constant of the form "WWW-nnnn" to its code.
func collectConstants(file *ast.File, codes map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, v := range spec.Values {
			if code := literal(v); strings.HasPrefix(code, "WWW-") {
				codes[spec.Names[i].Name] = code
			}
		}
		return true
	})
}

// uses finds the calls because(code, "name", value, …) and reject(code, …),
// and bare literals of codes.
func uses(fset *token.FileSet, file *ast.File, codes map[string]string) []use {
	var found []use
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			if code := literal(lit); regexp.MustCompile(`^WWW-\d{4}$`).MatchString(code) {
				found = append(found, use{at: fset.Position(lit.Pos()).String(), code: code})
			}
		}
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		name, _ := call.Fun.(*ast.Ident)
		if name == nil || name.Name != "because" && name.Name != "reject" {
			return true
		}
		code := literal(call.Args[0])
		if id, ok := call.Args[0].(*ast.Ident); ok {
			code = codes[id.Name]
		}
		if code == "" || call.Ellipsis.IsValid() {
			return true
		}
		u := use{at: fset.Position(call.Pos()).String(), code: code, counted: true}
		for i := 1; i < len(call.Args); i += 2 {
			u.args = append(u.args, literal(call.Args[i]))
		}
		found = append(found, u)
		return true
	})
	return found
}

func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

func TestOneOfAThing(t *testing.T) {
	for n, want := range map[string]string{"1": "op-7: committed, 1 guest, 1 vote", "2": "op-7: committed, 2 guests, 2 votes", "11": "op-7: committed, 11 guests, 11 votes"} {
		if got := message.Text(message.English, "WWW-1311", map[string]string{"op": "op-7", "guests": n, "votes": n}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	args := map[string]string{"guests": "1", "guest": "nuage", "site": "quai", "days": "1"}
	if got, want := message.Text(message.English, "WWW-1345", args), "away from home: 1 guest, nuage at quai for 1 day"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
