package lab_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

type object = map[string]any

// vendorFile is a schema file as plain JSON, to be changed.
type vendorFile struct {
	t    *testing.T
	tree []any
}

func openVendorFile(t *testing.T, path string, paths map[string]bool) *vendorFile {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Skipf("%s is not gzipped: %v", path, err)
	}
	v := &vendorFile{t: t}
	if err := json.NewDecoder(z).Decode(&v.tree); err != nil {
		t.Fatal(err)
	}
	v.tree = pruned(v.tree, paths)
	return v
}

// pruned returns the nodes of the given paths, flat: writing and reading the rest takes most of the time.
func pruned(nodes []any, paths map[string]bool) (kept []any) {
	for _, n := range nodes {
		node := n.(object)
		if path, ok := node["path"].(string); ok && paths[path] {
			kept = append(kept, object{"path": path, "info": node["info"]})
		}
		children, _ := node["children"].([]any)
		kept = append(kept, pruned(children, paths)...)
	}
	return kept
}

func routePaths(routes []lab.RouteInfo) map[string]bool {
	paths := map[string]bool{}
	for _, r := range routes {
		paths[r.Path] = true
	}
	return paths
}

// method finds an operation "GET /version".
func (v *vendorFile) method(operation string) (info object, verb string) {
	v.t.Helper()
	verb, path, _ := strings.Cut(operation, " ")
	for _, n := range v.tree {
		if node := n.(object); node["path"] == path {
			info, _ = node["info"].(object)
		}
	}
	if info[verb] == nil {
		v.t.Fatalf("no %s in the schema", operation)
	}
	return info, verb
}

// changed writes the file with one operation changed and returns its path.
func (v *vendorFile) changed(operation string, change func(method object)) string {
	v.t.Helper()
	info, verb := v.method(operation)
	whole := info[verb]
	text, err := json.Marshal(whole)
	if err != nil {
		v.t.Fatal(err)
	}
	var other object
	if err := json.Unmarshal(text, &other); err != nil {
		v.t.Fatal(err)
	}
	change(other)
	info[verb] = other
	if len(other) == 0 {
		delete(info, verb)
	}
	defer func() { info[verb] = whole }()
	text, err = json.Marshal(v.tree)
	if err != nil {
		v.t.Fatal(err)
	}
	path := filepath.Join(v.t.TempDir(), "apidoc.js")
	if err := os.WriteFile(path, append([]byte("const apiSchema = "), text...), 0o600); err != nil {
		v.t.Fatal(err)
	}
	return path
}

func params(m object) object { return m["parameters"].(object)["properties"].(object) }

func returned(m object, keys ...string) object {
	at := m["returns"].(object)
	for _, k := range keys {
		at = at[k].(object)
	}
	return at["properties"].(object)
}

// TestAnotherSchemaIsReallyChecked changes one thing of the vendors' files at a time.
func TestAnotherSchemaIsReallyChecked(t *testing.T) {
	if otherSchema() {
		t.Skip("another schema is being checked")
	}
	const restore, tasks, snapshots = "POST /nodes/{node}/qemu", "GET /nodes/{node}/tasks", "GET /admin/datastore/{store}/snapshots"
	tests := []struct {
		name, operation string
		pbs             bool
		change          func(object)
		want            string // "" = it fits
	}{
		{name: "nothing", operation: restore, change: func(object) {}},
		{name: "an optional parameter more", operation: restore, change: func(m object) { params(m)["colour"] = object{"type": "string", "optional": 1} }},
		{name: "a parameter that nobody of us uses is gone", operation: restore, change: func(m object) { delete(params(m), "bwlimit") }},
		{name: "an operation that nobody of us uses is gone", operation: "GET /cluster/nextid", change: func(m object) { clear(m) }},
		{name: "a field of an answer more", operation: "GET /version", change: func(m object) { returned(m)["colour"] = object{"type": "string", "optional": 1} }},

		{name: "removed", operation: restore, change: func(m object) { delete(params(m), "archive") }, want: "archive: not in the schema"},
		{name: "renamed", operation: tasks, change: func(m object) { params(m)["since2"] = params(m)["since"]; delete(params(m), "since") }, want: "since: not in the schema"},
		{name: "retyped", operation: restore, change: func(m object) { params(m)["storage"] = object{"type": "integer", "optional": 1} }, want: "storage: type check ('integer')"},
		{name: "made required", operation: restore, change: func(m object) { delete(params(m)["pool"].(object), "optional") }, want: "pool: missing"},
		{name: "a new required one", operation: restore, change: func(m object) { params(m)["colour"] = object{"type": "string"} }, want: "colour: missing"},
		{name: "another enumeration", operation: tasks, change: func(m object) { params(m)["source"].(object)["enum"] = []any{"archive", "active"} }, want: `"all" is not one of`},
		{name: "a range", operation: restore, change: func(m object) { params(m)["vmid"].(object)["maximum"] = 500 }, want: "is above 500"},
		{name: "a length", operation: restore, change: func(m object) { params(m)["description"].(object)["maxLength"] = 5 }, want: "characters, at most 5"},
		{name: "a format", operation: restore, change: func(m object) { params(m)["pool"].(object)["format"] = "pve-vmid" }, want: `"dr" is no pve-vmid`},
		{name: "a required key of a property string", operation: restore, change: func(m object) {
			params(m)["net[n]"].(object)["format"].(object)["colour"] = object{"type": "string"}
		}, want: "key colour is missing"},
		{name: "the operation is gone", operation: "GET /nodes/{node}/vzdump/extractconfig", change: func(m object) { clear(m) }, want: "no such operation"},
		{name: "no longer proxied", operation: restore, change: func(m object) { delete(m, "protected") }, want: "protected true, want false"},

		{name: "a field of an answer retyped", operation: "GET /nodes/{node}/tasks/{upid}/status", change: func(m object) {
			returned(m)["status"] = object{"type": "integer"}
		}, want: "data.status: got string"},
		{name: "a field of an answer renamed", operation: "GET /nodes/{node}/tasks/{upid}/status", change: func(m object) {
			returned(m)["exit"] = returned(m)["exitstatus"]
			delete(returned(m), "exitstatus")
		}, want: "data.exitstatus: sent, and the schema is silent about it"},
		{name: "a field of an answer made required", operation: "GET /version", change: func(m object) { returned(m)["colour"] = object{"type": "string"} }, want: "data.colour: missing"},

		{name: "PBS: nothing", operation: snapshots, pbs: true, change: func(object) {}},
		{name: "PBS: removed", operation: snapshots, pbs: true, change: func(m object) { delete(params(m), "ns") }, want: "ns: not in the schema"},
		{name: "PBS: made required", operation: snapshots, pbs: true, change: func(m object) { delete(params(m)["backup-id"].(object), "optional") }, want: "backup-id: missing"},
		{name: "PBS: a field of an answer removed", operation: snapshots, pbs: true, change: func(m object) { delete(returned(m, "items"), "protected") }, want: "data[].protected: not in the schema"},
		{name: "PBS: a pattern", operation: "POST /admin/datastore/{store}/verify", pbs: true, change: func(m object) {
			params(m)["ns"].(object)["pattern"] = "/^[0-9]+$/"
		}, want: "does not match"},
	}
	pvePath, pbsPath := schemaPath(t, "PVE_SCHEMA", "pve-api.json.gz"), schemaPath(t, "PBS_SCHEMA", "pbs-api.json.gz")
	w := newWorld(t)
	pve, pbs := openVendorFile(t, pvePath, routePaths(w.pve.Routes())), openVendorFile(t, pbsPath, routePaths(w.pbs.Routes()))
	goodPVE, goodPBS := pveSchema(t), pbsSchema(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			one, two, err := goodPVE, goodPBS, error(nil)
			if tt.pbs {
				pbs.t = t
				two, err = lab.LoadPBSSchema(pbs.changed(tt.operation, tt.change))
			} else {
				pve.t = t
				one, err = lab.LoadPVESchema(pve.changed(tt.operation, tt.change))
			}
			if err != nil {
				t.Fatal(err)
			}
			c := newContract(t, one, two)
			c.foreign, c.only = true, map[bool]string{false: "PVE", true: "PBS"}[tt.pbs]
			c.run(playing(lab.PVE9, lab.PBS4))
			got := strings.Join(c.problems, "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("problems:\n%s\nwant %q", got, tt.want)
			}
			if full := strings.Contains(c.report(), " 100 % checked;"); full != (tt.want == "") && !strings.HasPrefix(tt.want, "protected") {
				t.Errorf("100 %% checked = %v with problems %q", full, got)
			}
		})
	}
}
