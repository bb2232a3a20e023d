package agent_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// clinic is the target site with its doctor, over fakes of its machines.
type clinic struct {
	t        *testing.T
	now      time.Time
	log      *log
	pve      *lab.PVE
	pbs      *lab.PBS
	faults   *lab.Faults
	acl      map[string]map[string][]string // of the PVE
	storeACL map[string]map[string][]string // of the PBS
	doctor   *agent.Doctor
	machines agent.Machines
	homeKey  *lab.Key // that backups are made with
	calls    int
	opened   int // archives
}

func clinicSpec() *network.Spec {
	s := spec()
	s.Guests["web"] = network.Guest{ID: 1102, Type: network.CT, Structure: "le-moulin", Host: "pve-moulin", Priority: 2}
	s.Guests["local"] = network.Guest{ID: 300, Type: network.VM, Structure: "le-moulin", Host: "pve-quai", Priority: 2}
	return s.WithDefaults()
}

// newClinic makes a target of a version of PVE ("8.4.1", "9.2.1"); its PBS is of the same age.
func newClinic(t *testing.T, version string, change ...func(*lab.PVEConfig, *lab.PBSConfig)) *clinic {
	t.Helper()
	c := &clinic{
		t: t, now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), faults: &lab.Faults{},
		acl: map[string]map[string][]string{}, storeACL: map[string]map[string][]string{},
	}
	c.log = &log{state: failover.NewState(), now: c.now}
	c.homeKey = lab.NewKey(rand.New(rand.NewPCG(1, 2)))
	clock := func() time.Time { return c.now }
	var err error
	store := lab.PBSConfig{
		Node: "pbs-quai", Version: storeOf(version), Datastore: "backups", Clock: clock,
		Namespaces: []string{"moulin"}, Tokens: map[string]string{token: pass, "www@pbs!other": pass}, ACL: c.storeACL,
		Jobs: []lab.SyncJob{{ID: "pull-moulin", NS: "moulin", Remote: "moulin", RemoteStore: "src", Owner: token}},
	}
	node := lab.PVEConfig{
		Site: string(away), Node: "pve-quai", Clock: clock, Version: version, Tokens: map[string]string{token: pass}, ACL: c.acl,
		Storages: []lab.StorageConfig{
			{ID: "local-zfs", Type: "zfspool", Size: 1 << 30},
			{ID: "pbs-moulin", Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: "moulin", Username: token, Password: pass, Key: c.homeKey},
		},
		Bridges: []lab.BridgeConfig{{Name: "vmbr0", Ports: "eno1", VLANAware: true}},
		DialPBS: func(string) *lab.PBS { return c.pbs },
	}
	for _, f := range change {
		f(&node, &store)
	}
	if c.pbs, err = lab.NewPBS(store); err != nil {
		t.Fatal(err)
	}
	if c.pve, err = lab.NewPVE(node); err != nil {
		t.Fatal(err)
	}
	conf := proxmox.Config{URL: "https://10.30.1.20:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: c}
	if c.machines.PVE, err = proxmox.NewPVE(conf); err != nil {
		t.Fatal(err)
	}
	conf.URL = "https://10.30.1.20:8007"
	if c.machines.PBS, err = proxmox.NewPBS(conf, "backups"); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []failover.Command{failover.Bootstrap{Generation: 1}, failover.ApplyNetwork{Spec: clinicSpec()}} {
		if _, err := c.log.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	c.doctor = &agent.Doctor{
		Site: away, Log: c.log, Clock: &agent.LogClock{}, Every: agent.DoctorEvery, Logger: slog.New(slog.DiscardHandler),
		Machines: func() agent.Machines { return c.machines },
		Disk: func() doctor.Disk {
			return doctor.Disk{Dir: "/var/lib/www", Device: "/dev/dm-0", Encrypted: doctor.EncryptedYes}
		},
	}
	return c
}

// RoundTrip implements http.RoundTripper over the fakes.
func (c *clinic) RoundTrip(req *http.Request) (*http.Response, error) {
	c.calls++
	if strings.HasSuffix(req.URL.Path, "/extractconfig") {
		c.opened++
	}
	where, h := "pve", http.Handler(c.pve)
	if req.URL.Port() == "8007" {
		where, h = "pbs", c.pbs
	}
	res, err := lab.InProcess(lab.WithFaults(where, h, c.faults)).RoundTrip(req)
	if err == nil {
		lab.TakeHint(res.Header)
	}
	return res, err
}

// backup leaves a backup of a guest that runs at its home.
func (c *clinic) backup(g lab.GuestSpec) { c.backupTo("moulin", g) }

func (c *clinic) backupTo(ns string, g lab.GuestSpec) {
	c.t.Helper()
	there, err := lab.NewPVE(lab.PVEConfig{
		Site: string(home), Node: "pve-moulin", Clock: func() time.Time { return c.now },
		Storages: []lab.StorageConfig{
			{ID: "local-zfs", Type: "zfspool", Size: 1 << 30},
			{ID: "pbs", Type: "pbs", Server: "10.30.1.20", Datastore: "backups", Namespace: ns, Username: token, Password: pass, Key: c.homeKey},
		},
		DialPBS: func(string) *lab.PBS { return c.pbs },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	there.Advance(c.now)
	g.DiskSize = 1 << 18
	if err = there.AddGuest(g, nil); err == nil {
		err = there.Backup(g.ID, "pbs", c.now)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *clinic) resident(g lab.GuestSpec) {
	c.t.Helper()
	if err := c.pve.AddGuest(g, nil); err != nil {
		c.t.Fatal(err)
	}
}

// round takes the steps of one round and returns what is told of the machines.
func (c *clinic) round() doctor.Report { return c.examineAt(away) }

func (c *clinic) examineAt(site failover.SiteID) doctor.Report {
	c.t.Helper()
	done := c.doctor.Ask()
	for range 200 {
		before := c.calls
		c.now = c.now.Add(100 * time.Millisecond)
		c.doctor.Step(c.t.Context(), c.now)
		if c.calls > before+1 {
			c.t.Fatalf("a step made %d calls, want at most one", c.calls-before)
		}
		select {
		case <-done:
			return doctor.Examine(doctor.Input{State: c.log.state, Local: failover.LocalView{Site: site, Channels: []failover.ChannelView{{Name: "mail"}}}, Facts: c.doctor.Facts(), Now: c.now})
		default:
		}
	}
	c.t.Fatal("the round does not end")
	return doctor.Report{}
}

// tells lists the findings about the machines as "CODE subject".
func tells(r doctor.Report) []string {
	var out []string
	for _, f := range r.Items {
		state := []doctor.Category{doctor.Network, doctor.Quorum, doctor.DNS, doctor.Backups}
		if f.Severity != doctor.OK && !slices.Contains(state, f.Category) {
			out = append(out, strings.TrimSpace(f.Code+" "+f.Subject))
		}
	}
	return out
}

func TestDoctorReadsTheMachines(t *testing.T) {
	c := newClinic(t, "9.2.1", func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.HA = []string{"vm:90005", "ct:90007", "vm:300"}
		p.Bridges[0].VLANAware, p.Bridges[0].Address = false, "10.30.1.20/24"
	})
	c.backup(lab.GuestSpec{ID: 1101, Kind: "vm", Name: "nuage", Extra: map[string]string{"machine": "pc-q35-11.0", "cpu": "x86-64-v4"}})
	c.backup(lab.GuestSpec{ID: 1102, Kind: "ct", Name: "web", Extra: map[string]string{"unprivileged": "0"}})
	c.backup(lab.GuestSpec{ID: 1777, Kind: "vm", Name: "unknown"})
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	c.resident(lab.GuestSpec{ID: 301, Kind: "vm", Name: "forgotten"})
	c.resident(lab.GuestSpec{ID: 90001, Kind: "vm", Name: "squatter"})
	ours := proxmox.Marker{Network: "test", Guest: "nuage", Op: "op-1", Token: 1}
	c.resident(lab.GuestSpec{ID: 90005, Kind: "vm", Name: "managed", Description: ours.Line()})
	want := []string{
		"WWW-2141 guest web", "WWW-2149 ct:90007", "WWW-2149 vm:90005", "WWW-2184 bridge vmbr0", "WWW-2190 guest nuage", "WWW-2193 guest nuage",
		"WWW-2150 vm:301 forgotten", "WWW-2152 vm:90001 squatter", "WWW-2153 vm:1777",
	}
	if d := cmp.Diff(want, tells(c.round())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if f := c.doctor.Facts(); len(f.Failed) > 0 || f.Release != "9.2.1" || len(f.Snapshots) != 2 {
		t.Errorf("facts %+v, want no failure, the release and two snapshots", f)
	}
}

func TestDoctorSeesAWrongKey(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	c.backup(lab.GuestSpec{ID: 1101, Kind: "vm", Name: "nuage"})
	c.homeKey = lab.NewKey(rand.New(rand.NewPCG(3, 4)))
	c.backup(lab.GuestSpec{ID: 1102, Kind: "ct", Name: "web", Extra: map[string]string{"unprivileged": "1"}})
	if d := cmp.Diff([]string{"WWW-2125 guest web"}, tells(c.round())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDoctorOpensArchives: the listing can look right and the key be damaged.
func TestDoctorOpensArchives(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	c.backup(lab.GuestSpec{ID: 1101, Kind: "vm", Name: "nuage"})
	fault := lab.Fault{Where: "pve", Match: lab.Match{Path: "*extractconfig*"}, Effect: lab.EffectWrongKey, Times: 1}
	if err := c.faults.Add(fault); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"WWW-2126 guest nuage"}, tells(c.round())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	c.pve.Heal()
	if got := tells(c.round()); len(got) > 0 {
		t.Errorf("got %q after the key was mended, want nothing", got)
	}
	opened := c.opened
	if opened == 0 {
		t.Fatal("no archive was opened")
	}
	if c.round(); c.opened != opened {
		t.Errorf("an archive that was read was opened %d times again", c.opened-opened)
	}
}

func TestDoctorGoesOnAfterFailures(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	if err := c.faults.Add(lab.Fault{Where: "pbs", Effect: lab.EffectStatus, Status: 500, Text: "got timeout"}); err != nil {
		t.Fatal(err)
	}
	r := c.round()
	unread := 0
	for _, f := range r.Items {
		if f.Code == doctor.CodeUnread && f.Category == doctor.Backups {
			unread++
		}
	}
	if unread != 3 { // sync jobs, prune jobs, and snapshots
		t.Errorf("%d calls told as failed, want 3: %v", unread, tells(r))
	}
	if got := c.doctor.Facts(); len(got.Residents["vm"]) != 1 || got.Permissions == nil {
		t.Errorf("facts %+v, want all that the PVE told", got)
	}
}

func TestDoctorRounds(t *testing.T) {
	c := newClinic(t, "9.2.1")
	step := func() time.Time { return c.doctor.Step(t.Context(), c.now) }
	run := func() {
		for range 100 {
			if next := step(); next.After(c.now) {
				return
			}
		}
		t.Fatal("the round does not end")
	}
	run()
	first := c.calls
	if first == 0 || c.doctor.Facts() == nil {
		t.Fatalf("%d calls, facts %v: no first round", first, c.doctor.Facts())
	}
	c.now = c.now.Add(agent.DoctorEvery - time.Second)
	if next := step(); c.calls != first || !next.After(c.now) {
		t.Errorf("%d calls before the next round is due, want none", c.calls-first)
	}
	c.now = c.now.Add(time.Second)
	run()
	if c.calls == first {
		t.Error("no round after ten minutes")
	}
	second := c.calls
	done := c.doctor.Ask()
	run()
	select {
	case <-done:
	default:
		t.Error("the round that was asked for did not end")
	}
	if c.calls == second {
		t.Error("asking began no round")
	}
	third := c.calls
	if _, err := c.log.Propose(t.Context(), failover.ApplyNetwork{Spec: clinicSpec(), IfVersion: c.log.state.NetworkVersion}); err != nil {
		t.Fatal(err)
	}
	if run(); c.calls == third {
		t.Error("another network began no round")
	}
}

func TestDoctorWithoutAccess(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.machines = agent.Machines{Err: fmt.Errorf("read token file: mode 0644")}
	r := c.round()
	if c.calls != 0 || r.Errors() == 0 || !slices.ContainsFunc(r.Items, func(f doctor.Finding) bool {
		return f.Code == doctor.CodeNoAccess && strings.Contains(f.Text, "mode 0644")
	}) {
		t.Errorf("%d calls, %v: want no call and the cause", c.calls, tells(r))
	}
}

// TestDoctorKnowsTheClientsWarnings: the words of both sides are the same.
func TestDoctorKnowsTheClientsWarnings(t *testing.T) {
	for code, kind := range map[proxmox.WarningCode]doctor.ObstacleKind{
		proxmox.WarnNotSaved: doctor.NotSaved, proxmox.WarnBindMount: doctor.BindMount, proxmox.WarnPrivileged: doctor.Privileged,
		proxmox.WarnRootOnly: doctor.RootOnly, proxmox.WarnHostBound: doctor.HostBound, proxmox.WarnTemplate: doctor.Template,
		proxmox.WarnUnread: doctor.UnreadLine, proxmox.WarnFirewall: doctor.Firewall,
	} {
		if string(code) != string(kind) {
			t.Errorf("the client says %q, the doctor %q", code, kind)
		}
	}
	for reason, ours := range map[proxmox.Reason]doctor.Reason{
		proxmox.ReasonMissingData: doctor.ReasonMissingData, proxmox.ReasonVerifyFailed: doctor.ReasonVerifyFailed,
		proxmox.ReasonNotEncrypted: doctor.ReasonNotEncrypted, proxmox.ReasonWrongKey: doctor.ReasonWrongKey, proxmox.ReasonNoKey: doctor.ReasonNoKey,
	} {
		if string(reason) != string(ours) {
			t.Errorf("the client says %q, the doctor %q", reason, ours)
		}
	}
}

// TestDoctorForgetsALateEntry: the first entry that an agent applies may have been on its way for a while, as its clock then
// seems to be ahead by that; a later one tells that it is right. One that is wrong stays wrong.
func TestDoctorForgetsALateEntry(t *testing.T) {
	for name, tt := range map[string]struct {
		later, want time.Duration
	}{
		"an entry that was late": {0, 0},
		"a clock that is wrong":  {6 * time.Second, 6 * time.Second},
	} {
		c := newClinic(t, "9.2.1")
		tell := func(late time.Duration) {
			c.log.now = c.now.Add(-late)
			if _, err := c.log.Propose(t.Context(), failover.SetPause{Reason: "test"}); err != nil { // calls for no other round
				t.Fatal(err)
			}
		}
		c.now = c.now.Add(6 * time.Second)
		c.doctor.Step(t.Context(), c.now)
		tell(6 * time.Second)
		c.round()
		if off := c.doctor.Facts().ClockOff; off < 6*time.Second { // and what the round took
			t.Fatalf("%s: the clock is off by %s after an entry that was 6 s old, want as much at least", name, off)
		}
		ended := c.doctor.Facts().Ended
		c.now = c.now.Add(time.Second)
		tell(tt.later)
		c.doctor.Step(t.Context(), c.now)
		if f := c.doctor.Facts(); (f.ClockOff-tt.want).Abs() > time.Second || f.Ended != ended {
			t.Errorf("%s: the clock is off by %s in the round of %s, want %s and still %s", name, f.ClockOff, f.Ended, tt.want, ended)
		}
	}
}
