package agent_test

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// log is a replicated log of one node; its function fields come before what it does by itself.
type log struct {
	state   *failover.State
	index   uint64
	now     time.Time
	lead    bool
	made    []failover.Command
	propose func(failover.Command) error
	confirm func(failover.Token) error
	lose    func(failover.Command) bool // the answer of an entry is lost, not the entry
	hold    *failover.State             // what State returns instead of the newest
}

func (l *log) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	if l.propose != nil {
		if err := l.propose(c); err != nil {
			return failover.Stamp{}, err
		}
	}
	l.made = append(l.made, c)
	l.index++
	st := failover.Stamp{Index: l.index, Term: 1, At: l.now, ID: cmp.Or(failover.ProposalIDOf(ctx), fmt.Sprint("drawn ", l.index))}
	l.state = l.state.Clone()
	err := l.state.Apply(st, c)
	if l.lose != nil && l.lose(c) {
		return failover.Stamp{}, failover.ErrUnknown
	}
	return st, err
}

func (l *log) State() *failover.State {
	if l.hold != nil {
		return l.hold
	}
	return l.state
}
func (l *log) Changed() <-chan struct{} { return nil }
func (l *log) Lead() (uint64, bool)     { return 1, l.lead }

func (l *log) Confirm(_ context.Context, t failover.Token) error {
	if l.confirm != nil {
		return l.confirm(t)
	}
	return l.state.TokenCurrent(t)
}

// request is one call that reached Proxmox.
type request struct {
	method, path string
	status       int
}

// rig is the target site: its agent's executor over fakes of its machines.
type rig struct {
	t        *testing.T
	now      time.Time
	log      *log
	pve      *lab.PVE
	pbs      *lab.PBS
	faults   *lab.Faults
	acl      map[string]map[string][]string // of the PVE
	storeACL map[string]map[string][]string // of the PBS
	executor *agent.Executor
	requests []request
	checked  func(url string) error
	answer   func(path string) (status int, body string) // in place of the fakes; 0: they answer
	silent   func() bool                                 // nothing can be reached
}

const (
	home, away  = failover.SiteID("moulin"), failover.SiteID("quai")
	guest       = failover.GuestID("nuage")
	vmid        = 90000
	token, pass = "www@pve!agent", "00000000-0000-4000-8000-000000000000"
)

func spec() *network.Spec {
	return network.Spec{
		Network: "test",
		Sites: map[network.SiteID]network.Site{
			home: {Kind: network.Brique, Hosts: map[network.HostID]network.Host{
				"pve-moulin": {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.10:8006", Node: "pve-moulin"}},
			}},
			away: {Kind: network.Brique, Hosts: map[network.HostID]network.Host{
				"pve-quai": {
					Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://10.30.1.20:8006", Node: "pve-quai"},
					PBS:     &network.PBS{URL: "https://10.30.1.20:8007", Datastore: "backups"},
					Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: vmid, Last: vmid + 9}},
					Sources: map[network.SiteID][]string{home: {"pbs-moulin"}},
				},
			}},
		},
		Structures: map[network.StructureID]network.Structure{
			"le-moulin": {Home: home, VLAN: 120, Mode: network.ModeAuto, OffSite: network.OffSite{Policy: network.ConsentAllowed}},
		},
		Guests: map[network.GuestID]network.Guest{
			guest: {
				ID: 1101, Type: network.VM, Structure: "le-moulin", Host: "pve-moulin", Priority: 1,
				Check: &network.Check{URL: "http://{address}:80/status", Expect: "installed"},
			},
		},
	}.WithDefaults()
}

func newRig(t *testing.T) *rig { return newRigOf(t, "9.2.1") }

// newRigOf makes a target of a version of PVE ("8.4.1", "9.2.1"); its PBS is of the same age.
func newRigOf(t *testing.T, version string, change ...func(*lab.PVEConfig)) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), faults: &lab.Faults{}, acl: map[string]map[string][]string{}, storeACL: map[string]map[string][]string{}}
	r.log = &log{state: failover.NewState(), now: r.now}
	clock := func() time.Time { return r.now }
	var err error
	r.pbs, err = lab.NewPBS(lab.PBSConfig{
		Node: "pbs-quai", Version: storeOf(version), Datastore: "backups", Clock: clock, Namespaces: []string{"moulin", "away", "away/moulin"},
		Tokens: map[string]string{token: pass}, ACL: r.storeACL, Jobs: []lab.SyncJob{pullJob},
	})
	if err != nil {
		t.Fatal(err)
	}
	conf := lab.PVEConfig{
		Site: string(away), Node: "pve-quai", Version: version, Clock: clock, RestoreRate: 64 << 10, Tokens: map[string]string{token: pass}, ACL: r.acl,
		Storages: []lab.StorageConfig{
			{ID: "local-zfs", Type: "zfspool", Size: 1 << 30},
			{ID: "pbs-moulin", Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: "moulin", Username: token, Password: pass},
		},
		Bridges: []lab.BridgeConfig{{Name: "vmbr0", Ports: "eno1", VLANAware: true}},
		DialPBS: func(string) *lab.PBS { return r.pbs },
	}
	for _, f := range change {
		f(&conf)
	}
	if r.pve, err = lab.NewPVE(conf); err != nil {
		t.Fatal(err)
	}
	r.backup()
	r.restart()
	return r
}

// encrypted gives the storage entry of the backups a key.
func encrypted(c *lab.PVEConfig) { c.Storages[1].Key = lab.NewKey(rand.New(rand.NewPCG(1, 2))) }

var pullJob = lab.SyncJob{ID: "pull-moulin", NS: "moulin", Remote: "moulin", RemoteStore: "backups", Owner: token}

// storeOf is the version of the PBS beside a version of PVE.
func storeOf(version string) string {
	if strings.HasPrefix(version, "8") {
		return "3.4.1"
	}
	return "4.2.0"
}

// backup leaves a backup of the guest, with what was written to it, in the target's PBS, and a guest
// under another id than a restored one has.
func (r *rig) backup(written ...string) {
	r.t.Helper()
	r.pve.Advance(r.now)
	err := r.pve.AddGuest(lab.GuestSpec{
		ID: 1101, Kind: "vm", Name: "nuage", DiskSize: 1 << 18, Onboot: 1,
		Nets:      map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr7,tag=7"},
		Addresses: map[string]string{"net0": "10.10.120.5/24"},
	}, []byte(strings.Join(written, "")))
	if err == nil {
		err = r.pve.Backup(1101, "pbs-moulin", r.now)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// instead is the answer in place of the fakes'; nil: they answer.
func (r *rig) instead(req *http.Request) *http.Response {
	if r.answer == nil {
		return nil
	}
	status, body := r.answer(strings.TrimPrefix(req.URL.Path, "/api2/json"))
	if status == 0 {
		return nil
	}
	return &http.Response{Status: fmt.Sprint(status, " "), StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: req}
}

// RoundTrip implements http.RoundTripper over the fakes.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.silent != nil && r.silent() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if res := r.instead(req); res != nil {
		return res, nil
	}
	where, h := "pve", http.Handler(r.pve)
	if req.URL.Port() == "8007" {
		where, h = "pbs", r.pbs
	}
	res, err := lab.InProcess(lab.WithFaults(where, h, r.faults)).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	hint := lab.TakeHint(res.Header)
	r.requests = append(r.requests, request{req.Method, strings.TrimPrefix(req.URL.Path, "/api2/json"), res.StatusCode})
	if hint.Reply != lab.ReplyArrives {
		return nil, io.ErrUnexpectedEOF
	}
	return res, nil
}

// Check and Connect implement agent.Checker.
func (r *rig) Check(_ context.Context, url string, _ int, _ string) error {
	if r.checked != nil {
		return r.checked(url)
	}
	if g, ok := r.pve.Guest(vmid); !ok || !g.Serving {
		return errors.New("connection refused")
	}
	return nil
}

// Connect implements agent.Checker.
func (r *rig) Connect(context.Context, string) error { return errors.New("not expected") }

// restart makes a new executor, as a new process has it.
func (r *rig) restart() {
	r.t.Helper()
	conf := proxmox.Config{URL: "https://10.30.1.20:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: r}
	pve, err := proxmox.NewPVE(conf)
	if err != nil {
		r.t.Fatal(err)
	}
	conf.URL = "https://10.30.1.20:8007"
	pbs, err := proxmox.NewPBS(conf, "backups")
	if err != nil {
		r.t.Fatal(err)
	}
	r.executor = &agent.Executor{
		Site: away, Log: r.log, PVE: pve, PBS: pbs, Checker: r, Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler), NewID: crand.Text,
	}
}

// must proposes what fits.
func (r *rig) must(c failover.Command) failover.Stamp {
	r.t.Helper()
	st, err := r.log.Propose(r.t.Context(), c)
	if err != nil {
		r.t.Fatalf("Propose(%T): %v", c, err)
	}
	return st
}

// begin begins a failover by hand, whose first step is runnable.
func (r *rig) begin() {
	r.t.Helper()
	r.beginWith(spec(), "vm/1101")
}

// beginWith begins it on a declaration, from the newest backup of a group.
func (r *rig) beginWith(s *network.Spec, group string) {
	r.t.Helper()
	r.must(failover.Bootstrap{Generation: 1})
	r.must(failover.ApplyNetwork{Spec: s})
	at := r.now.UTC().Format(time.RFC3339)
	r.must(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{{
			Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120, Automatic: true,
			Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: "pbs-moulin:backup/" + group + "/" + at, Namespace: "moulin", Time: r.now, Size: 1 << 18},
		}}},
	})
}

func (r *rig) op() failover.Operation {
	var newest failover.Operation
	for _, op := range r.log.state.Ops {
		if op.Kind != failover.KindTidy && op.Begun.Index >= newest.Begun.Index {
			newest = op
		}
	}
	return newest
}

func (r *rig) run() failover.GuestRun { return r.op().Guests[guest] }

// status returns the current step as "restore running".
func (r *rig) status() string {
	step, _, left := r.run().Current()
	if !left {
		return "nothing left"
	}
	return fmt.Sprintf("%s %s", step.ID, step.Status)
}

// step moves time on and has every worker take one step.
func (r *rig) step() {
	r.now = r.now.Add(300 * time.Millisecond)
	r.log.now = r.now
	for _, w := range r.executor.Workers(r.now) {
		w.Step(r.t.Context(), r.now)
	}
	// The two steps that are the leader's.
	if op := r.op(); op.ID != "" {
		switch t := op.TokenOf(guest); {
		case t.Step == failover.StepOwn && r.run().Admitted != 0:
			r.must(failover.Own{Token: t})
		case t.Step == failover.StepServe:
			r.must(failover.Serve{Token: t})
		}
	}
}

// until steps until the current step is as wanted.
func (r *rig) until(want string) {
	r.t.Helper()
	for range 400 {
		if r.status() == want {
			return
		}
		r.step()
	}
	r.t.Fatalf("the run stands at %q, want %q; note %q; requests %v", r.status(), want, r.note(), r.requests)
}

// when steps until a state of the world holds.
func (r *rig) when(what string, holds func() bool) {
	r.t.Helper()
	for range 400 {
		if holds() {
			return
		}
		r.step()
	}
	r.t.Fatalf("never: %s; the run stands at %q", what, r.status())
}

// later lets time pass in which nobody does anything.
func (r *rig) later(d time.Duration) {
	r.now = r.now.Add(d)
	r.log.now = r.now
	r.pve.Advance(r.now)
}

func (r *rig) note() string {
	step, _, _ := r.run().Current()
	return string(step.Failure) + " " + step.Note
}

// count counts the requests of a method whose path ends in a suffix.
func (r *rig) count(method, suffix string) int {
	n := 0
	for _, q := range r.requests {
		if q.method == method && strings.HasSuffix(q.path, suffix) {
			n++
		}
	}
	return n
}
