package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// schemaPath returns the file to check against. Without the variable a missing file skips the test, since
// a clone of the repository has none, unless CONTRACT demands it, as `make contract` does.
func schemaPath(t testing.TB, variable, name string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path := filepath.Join("..", "..", "..", "shared", "reference", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CONTRACT") != "" {
			t.Fatalf("no vendor schema: set %s to a file (%v)", variable, err)
		}
		t.Skipf("no vendor schema: set %s or put %s there (%v)", variable, path, err)
	}
	return path
}

func pveSchema(t testing.TB) *lab.Schema {
	t.Helper()
	s, err := lab.LoadPVESchema(schemaPath(t, "PVE_SCHEMA", "pve-api.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pbsSchema(t testing.TB) *lab.Schema {
	t.Helper()
	s, err := lab.LoadPBSSchema(schemaPath(t, "PBS_SCHEMA", "pbs-api.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func otherSchema() bool { return os.Getenv("PVE_SCHEMA")+os.Getenv("PBS_SCHEMA") != "" }

// contract is one run of every call of the project's clients and every operation of the fakes against
// two schemas.
type contract struct {
	t        testing.TB
	pve, pbs *lab.Schema
	problems []string
	notes    []string                   // what the fakes have and a foreign schema has not
	used     map[string]map[string]bool // by the clients: operation -> parameters
	answers  map[string]int             // operation -> good answers checked
	unfit    map[string]bool            // operations of the clients with a problem
	only     string                     // "PVE" or "PBS": exercise this fake alone
	foreign  bool                       // the schemas are not those that the fakes were written after
}

// party is one side of the contract: a server, its schema and its fake.
type party struct {
	name   string // "PVE", "PBS"
	schema *lab.Schema
	routes []lab.RouteInfo
	client bool // the requests are those of the project's clients
	fake   http.RoundTripper
	c      *contract
}

func (c *contract) fail(format string, args ...any) {
	if msg := fmt.Sprintf(format, args...); !slices.Contains(c.problems, msg) {
		c.problems = append(c.problems, msg)
	}
}

func newContract(t testing.TB, pve, pbs *lab.Schema) *contract {
	return &contract{t: t, pve: pve, pbs: pbs, used: map[string]map[string]bool{}, answers: map[string]int{}, unfit: map[string]bool{}}
}

// run makes every request there is. The fakes play the releases that the schemas are of.
func (c *contract) run(option func(*lab.PVEConfig, *lab.PBSConfig)) {
	c.t.Helper()
	c.runClients(option)
	c.runFakes(option)
	for op := range c.used {
		if c.answers[op] == 0 && strings.HasPrefix(op, c.only) {
			c.fail("%s: the clients use it, and no answer of the fake was checked", op)
		}
	}
	slices.Sort(c.problems)
	slices.Sort(c.notes)
}

func (c *contract) party(name string, w *world, client bool) *party {
	if name == "PVE" {
		return &party{name: name, schema: c.pve, routes: w.pve.Routes(), client: client, fake: lab.InProcess(w.pve), c: c}
	}
	return &party{name: name, schema: c.pbs, routes: w.pbs.Routes(), client: client, fake: lab.InProcess(w.pbs), c: c}
}

// runClients makes every call of the clients: each with all its parameters, with as few as it can have,
// and as a restore needs them.
func (c *contract) runClients(option func(*lab.PVEConfig, *lab.PBSConfig)) {
	w := newWorld(c.t, option, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.Node, p.Pools = "pve1", []string{"dr"}
		p.Storages = append(p.Storages, lab.StorageConfig{ID: "pbs-quai", Type: "pbs", Server: "10.10.1.10", Datastore: "backups", Namespace: "quai"})
	})
	pve, pbs := clients(c.t, "pve1", c.party("PVE", w, true), c.party("PBS", w, true))
	called := map[string]bool{}
	for _, x := range slices.Concat(proxmoxtest.Cases(), leanCases()) {
		before := len(c.used)
		// The call may fail: its guest, snapshot or task need not exist in this world.
		err := x.Run(c.t.Context(), pve, pbs)
		if e, ok := err.(*proxmox.Error); ok && e.Method == "" && before == len(c.used) {
			c.fail("client call %s: no request was made: %v", x.Name, err)
		}
		called[method(x.Name)] = true
	}
	for name, client := range map[string]any{"PVE": pve, "PBS": pbs} {
		for _, m := range methods(client) {
			if !called[name+"."+m] {
				c.fail("client method %s.%s: no case of proxmoxtest calls it", name, m)
			}
		}
	}
	w = newWorld(c.t, option)
	pve, pbs = clients(c.t, node, c.party("PVE", w, true), c.party("PBS", w, true))
	clientRestores(c.t, w, pve, pbs)
}

// method turns the name of a case, "Restore vm" or "PBS Verify", into that of a method, "PVE.Restore".
func method(name string) string {
	of := "PVE."
	if rest, isPBS := strings.CutPrefix(name, "PBS "); isPBS {
		of, name = "PBS.", rest
	}
	name, _, _ = strings.Cut(name, " ")
	return of + name
}

// methods returns the methods of a client that take a context: those that make requests.
func methods(client any) (names []string) {
	ctx := reflect.TypeFor[context.Context]()
	v := reflect.ValueOf(client)
	for i := range v.NumMethod() {
		if f := v.Method(i).Type(); f.NumIn() > 0 && f.In(0) == ctx {
			names = append(names, v.Type().Method(i).Name)
		}
	}
	return names
}

// leanCases are the calls that have optional parameters, without them: what a schema demands must be in
// each of these too.
func leanCases() []proxmoxtest.Case {
	lean := func(r proxmox.RestoreRequest) proxmox.RestoreRequest {
		return proxmox.RestoreRequest{Kind: r.Kind, VMID: r.VMID, Volid: r.Volid, Storage: r.Storage}
	}
	return []proxmoxtest.Case{
		{Name: "Restore vm", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			_, err := p.Restore(c, lean(proxmoxtest.RestoreVM()))
			return err
		}},
		{Name: "Restore ct", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			_, err := p.Restore(c, lean(proxmoxtest.RestoreCT()))
			return err
		}},
		{Name: "Tasks", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			_, err := p.Tasks(c, proxmox.TaskFilter{})
			return err
		}},
		{Name: "Permissions", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			_, err := p.Permissions(c, "")
			return err
		}},
		{Name: "SetConfig vm", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			return p.SetConfig(c, proxmox.VM, 9001, map[string]string{"onboot": "0"}, nil, "")
		}},
		{Name: "SetConfig ct", Run: func(c context.Context, p *proxmox.PVE, _ *proxmox.PBS) error {
			return p.SetConfig(c, proxmox.CT, 9001, nil, []string{"net1"}, "")
		}},
		{Name: "PBS Snapshots", Run: func(c context.Context, _ *proxmox.PVE, b *proxmox.PBS) error {
			_, err := b.Snapshots(c, "", "", 0)
			return err
		}},
	}
}

// runFakes holds the whole surface of the fakes against the schemas and makes a request to each operation.
func (c *contract) runFakes(option func(*lab.PVEConfig, *lab.PBSConfig)) {
	quick := func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.RestoreRate = 16 << 20 }
	w := newWorld(c.t, option, quick)
	pve := c.party("PVE", w, false)
	pve.checkRoutes()
	w.pveRT = pve
	if c.only != "PBS" {
		exercisePVE(w)
	}
	w = newWorld(c.t, option, quick)
	pbs := c.party("PBS", w, false)
	pbs.checkRoutes()
	w.pbsRT = pbs
	if c.only != "PVE" {
		exercisePBS(w)
	}
	for _, p := range []*party{pve, pbs} {
		if c.only != "" && c.only != p.name {
			continue
		}
		for _, r := range p.routes {
			if op := p.name + " " + r.Method + " " + r.Path; c.answers[op] == 0 && p.knows(r.Method+" "+r.Path) {
				c.fail("%s: no request of this test reached it", op)
			}
		}
	}
}

func (p *party) knows(operation string) bool {
	return slices.Contains(p.schema.Operations(), operation)
}

// missing reports something of the fake that the schema has not. It is a fault if our clients use it, or
// if the schema is the one that the fake was written after.
func (p *party) missing(used bool, format string, args ...any) {
	if used || !p.c.foreign {
		p.c.fail(format, args...)
		return
	}
	p.c.notes = append(p.c.notes, fmt.Sprintf(format, args...))
}

// checkRoutes holds every operation and parameter of the fake against the schema.
func (p *party) checkRoutes() {
	for _, r := range p.routes {
		op := r.Method + " " + r.Path
		used, isUsed := p.c.used[p.name+" "+op]
		if !p.knows(op) {
			p.missing(isUsed, "%s %s: not in the schema", p.name, op)
			continue
		}
		if p.name == "PVE" && p.schema.Protected(op) != r.Protected {
			p.c.fail("PVE %s: protected %v, want %v", op, r.Protected, p.schema.Protected(op))
		}
		for _, have := range r.Params {
			want, ok := p.schema.Param(op, have.Name)
			switch {
			case !ok:
				p.missing(used[have.Name], "%s %s: parameter %s is not in the schema", p.name, op, have.Name)
				continue
			case want.Type != have.Type:
				p.c.fail("%s %s: parameter %s is %s, want %s", p.name, op, have.Name, have.Type, want.Type)
			case want.Required != have.Required:
				p.c.fail("%s %s: parameter %s required %v, want %v", p.name, op, have.Name, have.Required, want.Required)
			}
			for _, e := range have.Enum {
				if !slices.Contains(want.Enum, e) {
					p.missing(false, "%s %s: parameter %s takes %q, the schema only %v", p.name, op, have.Name, e, want.Enum)
				}
			}
		}
	}
}

// requestArgs reads a request's parameters and leaves its body as it was.
func requestArgs(r *http.Request) (url.Values, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	probe := r.Clone(r.Context())
	probe.Body = io.NopCloser(bytes.NewReader(body))
	return lab.RequestParams(probe)
}

// RoundTrip holds a request and its answer against the schema. The fake may refuse for the world's state,
// never for the request's form.
func (p *party) RoundTrip(r *http.Request) (*http.Response, error) {
	args, err := requestArgs(r)
	if err != nil {
		p.c.fail("%s %s %s: %v", p.name, r.Method, r.URL.Path, err)
	}
	op, found := p.schema.Find(r.Method, r.URL.EscapedPath())
	name := p.name + " " + op
	if !found {
		name = p.name + " " + r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api2/json")
	}
	if p.client {
		p.use(name, op, args)
	}
	if found || p.client || !p.c.foreign {
		if err := p.schema.CheckRequest(r.Method, r.URL.EscapedPath(), p.mustFit(op, args)); err != nil {
			p.c.fail("request differs from the schema: %s %v", p.name, err)
			p.c.unfit[name] = p.c.unfit[name] || p.client
		}
	}
	res, err := p.fake.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case res.StatusCode == http.StatusOK:
		p.c.answers[name]++
		if err := p.schema.CheckAnswer(r.Method, r.URL.EscapedPath(), body); err != nil && found {
			p.c.fail("answer differs from the schema: %s %v", p.name, err)
			p.c.unfit[name] = true
		}
	case res.StatusCode == http.StatusNotImplemented, res.StatusCode == http.StatusNotFound, refusedForm(body):
		p.c.fail("the fake does not serve %s %s (%s): %s", p.name, r.Method+" "+r.URL.Path, args.Encode(), res.Status)
	}
	return res, nil
}

// mustFit returns the parameters that the schema has to have: a foreign one may lack what only this test
// sends; checkRoutes notes that.
func (p *party) mustFit(op string, args url.Values) url.Values {
	if p.client || !p.c.foreign {
		return args
	}
	args = maps.Clone(args)
	maps.DeleteFunc(args, func(name string, _ []string) bool {
		_, ok := p.schema.Param(op, name)
		return !ok && !p.c.used[p.name+" "+op][name]
	})
	return args
}

// refusedForm tells whether a refusal is about the form of the request.
func refusedForm(body []byte) bool {
	for _, text := range []string{"not defined in schema", "does not allow additional properties", "type check (", "is not optional", "in the enumeration"} {
		if bytes.Contains(body, []byte(text)) {
			return true
		}
	}
	return false
}

// use notes what a client's request has: its parameters, and those in its path.
func (p *party) use(name, op string, args url.Values) {
	params := p.c.used[name]
	if params == nil {
		params = map[string]bool{}
		p.c.used[name] = params
	}
	for k := range args {
		params[k] = true
	}
	for part := range strings.SplitSeq(op, "/") {
		if v, ok := strings.CutPrefix(part, "{"); ok {
			params[strings.TrimSuffix(v, "}")] = true
		}
	}
}

// report writes what the clients use and what was checked; the last line is the sum.
func (c *contract) report() string {
	var b strings.Builder
	params, good := 0, 0
	for _, op := range slices.Sorted(maps.Keys(c.used)) {
		names := slices.Sorted(maps.Keys(c.used[op]))
		params += len(names)
		state := "checked"
		if c.unfit[op] || (c.answers[op] == 0 && strings.HasPrefix(op, c.only)) {
			state = "DOES NOT FIT"
		} else {
			good += 1 + len(names)
		}
		fmt.Fprintf(&b, "%-12s %3d answers  %s: %s\n", state, c.answers[op], op, strings.Join(names, " "))
	}
	for _, n := range c.notes {
		fmt.Fprintf(&b, "note: only the lab has it: %s\n", n)
	}
	answers := 0
	for _, n := range c.answers {
		answers += n
	}
	percent := 0
	if all := params + len(c.used); all > 0 {
		percent = good * 100 / all
	}
	fmt.Fprintf(&b, "contract: %d operations, %d parameters used by the client, %d %% checked; %d answers of %d operations\n",
		len(c.used), params, percent, answers, len(c.answers))
	return b.String()
}

// releaseOf tells which release a schema is of, by what it has.
func releaseOf(pve, pbs *lab.Schema) (pveVersion, pbsVersion string) {
	pveVersion, pbsVersion = lab.PVE8, lab.PBS3
	if _, ok := pve.Param("POST /nodes/{node}/qemu", "ha-managed"); ok {
		pveVersion = "9.1"
		if slices.Contains(pve.Operations(), "GET /nodes/{node}/storage/{storage}/identity") {
			pveVersion = lab.PVE9
		}
	}
	if _, ok := pbs.Param("POST /config/sync", "run-on-mount"); ok {
		pbsVersion = lab.PBS4
	}
	return pveVersion, pbsVersion
}

// TestContract checks every call of our clients and every answer of our fakes. With CONTRACT_REPORT its
// report goes to that file.
func TestContract(t *testing.T) {
	pve, pbs := pveSchema(t), pbsSchema(t)
	pveVersion, pbsVersion := releaseOf(pve, pbs)
	start := time.Now()
	c := newContract(t, pve, pbs)
	c.foreign = otherSchema()
	c.run(playing(pveVersion, pbsVersion))
	for _, msg := range c.problems {
		t.Error(msg)
	}
	text := fmt.Sprintf("schemas of PVE %s and PBS %s or newer\n", pveVersion, pbsVersion) + c.report()
	t.Logf("after %v:\n%s", time.Since(start).Round(time.Millisecond), text)
	if len(c.used) < 30 || !strings.Contains(text, " 100 % checked;") {
		t.Errorf("the clients' operations are not all checked:\n%s", text)
	}
	if path := os.Getenv("CONTRACT_REPORT"); path != "" {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClientsFitOlderHosts: against hosts of the older releases every call still has the right form. There
// is no schema of these; what the newer one demands, the older ones demanded too.
func TestClientsFitOlderHosts(t *testing.T) {
	if otherSchema() {
		t.Skip("another schema is being checked")
	}
	c := newContract(t, pveSchema(t), pbsSchema(t))
	c.run(playing(lab.PVE8, lab.PBS3))
	for _, msg := range c.problems {
		if !strings.Contains(msg, "backend-type: missing") && !strings.Contains(msg, "mount-status: missing") { // PBS 4 only
			t.Error(msg)
		}
	}
}
