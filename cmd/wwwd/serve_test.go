package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// freePort takes a port that is free for TCP and UDP on a loopback address.
// given are the ports that freePort has handed out: once closed, the kernel may
// give the same one again.
var given sync.Map

func freePort(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Fatal(err)
		}
		port := netip.MustParseAddrPort(l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port
		}
	}
}

type testAgent struct {
	conf *config.Config
	stop context.CancelFunc
	done chan error
	logs *lockedBuffer

	file      string         // its wwwd.yaml, if it is on disk
	hangup    chan os.Signal // as if SIGHUP came
	hostStops atomic.Bool    // the machine goes down with the agent

	leaderless time.Duration // see leaderlessFor; zero: as always
}

// settings are what the agent is started with.
func (a *testAgent) settings() *settings {
	s := newSettings(a.conf, a.file, a.hangup)
	s.leaderless = cmp.Or(a.leaderless, s.leaderless)
	return s
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newAgent writes what an agent needs on disk.
func newAgent(t *testing.T, ca *cluster.CA, site string, n int) *testAgent {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	id, err := cluster.ServerID(data)
	if err != nil {
		t.Fatal(err)
	}
	mesh := freePort(t, fmt.Sprintf("127.0.0.%d", 10+n))
	pair, err := ca.Issue(failover.SiteID(site), id, []netip.Addr{mesh.Addr()}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"ca.pem": ca.CertPEM(), "cert.pem": pair.Cert, "key.pem": pair.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`network: assos
site: %s
data_dir: %s
socket: %s
listen: {mesh: "%s", metrics: "%s", dns: ["%s"]}
tls: {ca: %s, cert: %s, key: %s}
log: {level: debug}
`, site, data, filepath.Join(dir, "s"), mesh, freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1"),
		filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	conf, problems := config.Parse("wwwd.yaml", []byte(text))
	if conf == nil {
		t.Fatalf("configuration: %v", problems)
	}
	file := filepath.Join(dir, "wwwd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &testAgent{conf: conf, logs: &lockedBuffer{}, file: file, hangup: make(chan os.Signal)}
}

func (a *testAgent) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a.stop, a.done = cancel, make(chan error, 1)
	go func() {
		a.done <- serve(ctx, a.settings(), a.logs, func(context.Context) bool { return a.hostStops.Load() })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-a.done; err != nil {
			t.Errorf("%s ended with: %v", a.conf.Site, err)
		}
		a.done <- nil
	})
	eventually(t, func() error {
		_, err := a.client().Health(t.Context())
		return err
	})
}

func (a *testAgent) client() *api.Client { return api.NewSocketClient(a.conf.Socket) }

// eventually polls until f succeeds: real processes offer nothing to wait on.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = f(); err == nil {
			return
		}
		select {
		case <-timeout:
			t.Fatalf("not within 30 s: %v", err)
		case <-tick.C:
		}
	}
}

func witnesses(agents []*testAgent) *network.Spec {
	s := network.Spec{Network: "assos", Sites: map[network.SiteID]network.Site{}}
	for _, a := range agents {
		s.Sites[a.conf.Site] = network.Site{Kind: network.Witness, Mesh: a.conf.Listen.Mesh}
	}
	return s.WithDefaults()
}

// Three agents, started only from their files, form a group by bootstrap and
// join, take a network.yaml, see each other, and tell it as metrics.
func TestThreeAgentsFormAGroup(t *testing.T) {
	t.Parallel() // it waits for elections, and hardly works
	ca, err := cluster.NewCA("assos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var agents []*testAgent
	for i, site := range []string{"moulin", "quai", "halle"} {
		a := newAgent(t, ca, site, i)
		agents = append(agents, a)
		a.start(t)
	}
	ctx := t.Context()
	var out strings.Builder
	if err := bootstrap(ctx, agents[0].conf, &out); err != nil {
		t.Fatal(err)
	}
	if err := bootstrap(ctx, agents[0].conf, io.Discard); err == nil {
		t.Error("a second bootstrap succeeded")
	}
	for _, a := range agents[1:] {
		if err := join(ctx, a.conf, agents[0].conf.Listen.Mesh.String(), true, io.Discard); err != nil {
			t.Fatalf("join %s: %v\n%s", a.conf.Site, err, a.logs)
		}
	}
	eventually(t, func() error {
		_, err := agents[2].client().ApplyNetwork(ctx, api.ApplyRequest{Spec: witnesses(agents)})
		return err
	})
	eventually(t, func() error {
		for _, a := range agents {
			st, err := a.client().Status(ctx)
			if err != nil {
				return err
			}
			if st.Quorum.Voters != 3 || st.Quorum.Present != 3 || !st.Local.HasLeader {
				return fmt.Errorf("%s: quorum %+v, leader %v", a.conf.Site, st.Quorum, st.Local)
			}
			for _, row := range st.Sites {
				if row.State != "up" {
					return fmt.Errorf("%s sees %s as %s (%s)", a.conf.Site, row.Site, row.State, row.Cause)
				}
			}
		}
		return nil
	})
	resp, err := http.Get("http://" + agents[1].conf.Listen.Metrics.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "wwwd_raft_has_leader 1") {
		t.Errorf("metrics: %v\n%.2000s", err, text)
	}
	compareFiles(t, agents)
	changeMembers(t, agents)
	announceShutdown(t, agents)
}

// compareFiles has one agent ask the others of their files, and each of its own.
func compareFiles(t *testing.T, agents []*testAgent) {
	t.Helper()
	d, err := agents[1].client().Doctor(t.Context(), api.DoctorQuery{Category: doctor.Files})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Items {
		if f.Code == doctor.CodeFileUntold || f.Code == doctor.CodeFileVersions {
			t.Errorf("files: %+v", f)
		}
	}
	seen := map[string]bool{}
	for _, a := range agents {
		own, err := a.client().File(t.Context())
		if err != nil || own.File.Site != a.conf.Site || own.File.Advertise != a.conf.Advertise.String() || seen[own.File.Digest] {
			t.Errorf("file of %s: %+v, %v", a.conf.Site, own, err)
		}
		seen[own.File.Digest] = true
	}
}

// changeMembers takes a vote and gives it back, at the agent that leads.
func changeMembers(t *testing.T, agents []*testAgent) {
	t.Helper()
	if err := member(t.Context(), agents[0].conf, memberRequest{Site: "quai", Set: "nonvoter"}, io.Discard); err == nil || !strings.Contains(err.Error(), "--confirm quai") {
		t.Errorf("a vote taken without confirmation: %v", err)
	}
	chosen := ""
	change := func(set string, voters int, sites ...string) {
		t.Helper()
		eventually(t, func() error {
			last := errors.New("nobody was asked")
			for _, a := range agents {
				for _, site := range sites {
					if last == nil || site == string(a.conf.Site) {
						continue // a leader keeps its own vote
					}
					last = member(t.Context(), a.conf, memberRequest{Site: site, Set: set, Confirm: site}, io.Discard)
					chosen = site
				}
			}
			if last != nil {
				return last
			}
			st, err := agents[0].client().Status(t.Context())
			if err == nil && st.Quorum.Voters != voters {
				err = fmt.Errorf("%d voters, want %d", st.Quorum.Voters, voters)
			}
			return err
		})
	}
	change("nonvoter", 2, "quai", "halle")
	change("voter", 3, chosen)
}

// announceShutdown stops an agent with its machine, which is announced, and
// another without, which is not.
func announceShutdown(t *testing.T, agents []*testAgent) {
	t.Helper()
	agents[1].hostStops.Store(true)
	for i, a := range agents[1:] {
		a.stop()
		err := <-a.done
		a.done <- err // for the clean-up
		if err != nil {
			t.Errorf("%s ended with: %v", a.conf.Site, err)
		}
		eventually(t, func() error {
			st, err := agents[0].client().Status(t.Context())
			if err != nil {
				return err
			}
			if len(st.Resting) != 1 || st.Resting[0].Domain != "site:quai" || st.Resting[0].By != "agent:quai" {
				return fmt.Errorf("maintenance: %+v, want quai's alone, announced by its agent (%d stopped)\n%s", st.Resting, i+1, agents[1].logs)
			}
			return nil
		})
	}
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, exitOK, ""},
		{[]string{"dance", "--config", "/nonexistent"}, exitFailed, "/nonexistent"},
		{[]string{"--config"}, exitUsage, "flag needs an argument"},
		{[]string{"--config", "/nonexistent", "more"}, exitUsage, `unexpected argument "more"`},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("wwwd %v: exit %d, stderr %q, want %d and %q", c.args, code, errs.String(), c.code, c.want)
		}
	}
}
