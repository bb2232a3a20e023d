package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
)

// newcomer is an agent with nothing but its wwwd.yaml.
func newcomer(t *testing.T, site string, n int) *testAgent {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("network: assos\nsite: %s\ndata_dir: %s\nsocket: %s\nlisten: {mesh: %q}\n",
		site, filepath.Join(dir, "data"), filepath.Join(dir, "s"), freePort(t, fmt.Sprintf("127.0.0.%d", 10+n)))
	conf, problems := config.Parse("wwwd.yaml", []byte(text))
	if conf == nil {
		t.Fatalf("configuration: %v", problems)
	}
	return &testAgent{conf: conf, logs: &lockedBuffer{}}
}

// launch starts an agent and waits for its socket.
func (a *testAgent) launch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a.stop, a.done = cancel, make(chan error, 1)
	go func() {
		a.done <- serve(ctx, a.settings(), a.logs, func(context.Context) bool { return false })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-a.done; err != nil {
			t.Errorf("%s ended with: %v", a.conf.Site, err)
		}
		a.done <- nil
	})
	eventually(t, func() error {
		c, err := net.Dial("unix", a.conf.Socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (a *testAgent) ask(t *testing.T, path string, body any) error {
	t.Helper()
	return askLocal(t.Context(), a.conf, path, body, io.Discard)
}

// awaitMember waits until the agent runs as a member of the group.
func (a *testAgent) awaitMember(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		h, err := a.client().Health(t.Context())
		if err == nil && !h.HasLeader {
			err = errors.New("no leader")
		}
		return err
	})
}

// beginNetwork has an agent begin a network, as wwwctl init does.
func beginNetwork(t *testing.T, a *testAgent) {
	t.Helper()
	if err := a.ask(t, "/v1/onboard/init", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return a.ask(t, "/v1/cluster/bootstrap", nil) })
	a.awaitMember(t)
}

func makeToken(t *testing.T, at *testAgent, site string) api.TokenMade {
	t.Helper()
	made, err := at.client().CreateToken(t.Context(), api.TokenRequest{Site: failover.SiteID(site), Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// admit has a newcomer join by a token, as wwwctl join does.
func admit(t *testing.T, a, via *testAgent, token string) {
	t.Helper()
	if err := a.ask(t, "/v1/onboard/join", onboardJoin{Address: via.conf.Advertise.String(), Token: token}); err != nil {
		t.Fatalf("join %s: %v\n%s", a.conf.Site, err, a.logs)
	}
	eventually(t, func() error {
		return a.ask(t, "/v1/cluster/join", joinRequest{To: via.conf.Advertise.String(), Voter: true})
	})
	a.awaitMember(t)
}

func code(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// From three agents with nothing but a wwwd.yaml to a group, and out of it again.
func TestOnboarding(t *testing.T) {
	t.Parallel() // it waits for elections, and hardly works
	moulin, quai, halle := newcomer(t, "moulin", 40), newcomer(t, "quai", 41), newcomer(t, "halle", 42)
	for _, a := range []*testAgent{moulin, quai, halle} {
		a.launch(t)
	}
	if _, err := quai.client().Status(t.Context()); code(err) != api.CodeWaiting {
		t.Errorf("status of an agent of no network: %v, want %s", err, api.CodeWaiting)
	}
	beginNetwork(t, moulin)
	if err := moulin.ask(t, "/v1/cluster/bootstrap", nil); err == nil {
		t.Error("a second bootstrap succeeded")
	}
	refuseTokens(t, moulin, quai)

	admit(t, quai, moulin, makeToken(t, moulin, "quai").Token)
	// Any voter admits: the token is made at one agent and shown to another,
	// which has got the authority's key by then.
	eventually(t, func() error {
		_, err := os.Stat(quai.conf.TLS.CAKey)
		return err
	})
	made := makeToken(t, moulin, "")
	admit(t, halle, quai, made.Token)
	refuseUsedToken(t, quai, made.Token)

	for _, path := range []string{quai.conf.TLS.CAKey, quai.conf.TLS.Key} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", path, info, err)
		}
	}
	operators(t, moulin, halle)
	leaveGroup(t, []*testAgent{moulin, quai, halle})
}

// refuseTokens shows tokens that must not work, and the authority of another network.
func refuseTokens(t *testing.T, at, newcomer *testAgent) {
	t.Helper()
	good := makeToken(t, at, "quai")
	parsed, err := api.ParseJoinToken(good.Token)
	if err != nil {
		t.Fatal(err)
	}
	forged := parsed
	forged.Secret = strings.Repeat("a", len(parsed.Secret))
	foreign := parsed
	foreign.Authority = strings.Repeat("ab", 32)
	other := makeToken(t, at, "halle")
	revoked := makeToken(t, at, "")
	if _, err := at.client().EndToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ token, want string }{
		"forged secret":     {forged.String(), "never made here"},
		"another network's": {foreign.String(), "nothing was sent to it"},
		"another site's":    {other.Token, "it is for site halle"},
		"revoked":           {revoked.Token, "never made here"},
		"not a token":       {"www1.x", "not a token"},
	} {
		err := newcomer.ask(t, "/v1/onboard/join", onboardJoin{Address: at.conf.Advertise.String(), Token: c.token})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("token %s: %v, want %q", name, err, c.want)
		}
		if newcomer.hasFile(newcomer.conf.TLS.Cert) {
			t.Fatalf("token %s: a certificate was written", name)
		}
	}
	if log := at.logs.String(); strings.Contains(log, parsed.Secret) {
		t.Error("the log holds the secret of a token")
	}
}

func (a *testAgent) hasFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// refuseUsedToken shows a token again, for another key.
func refuseUsedToken(t *testing.T, at *testAgent, token string) {
	t.Helper()
	late := newcomer(t, "late", 43)
	late.launch(t)
	err := late.ask(t, "/v1/onboard/join", onboardJoin{Address: at.conf.Advertise.String(), Token: token})
	if err == nil || !strings.Contains(err.Error(), "another agent has used it") {
		t.Errorf("a token that was used: %v", err)
	}
}

// operators makes login files and uses them at another agent.
func operators(t *testing.T, at, other *testAgent) {
	t.Helper()
	login := func(name string, role failover.Role) *api.Client {
		t.Helper()
		l, err := at.client().AdmitOperator(t.Context(), api.OperatorRequest{Name: name, Role: role, Seconds: 3600})
		if err != nil {
			t.Fatal(err)
		}
		l.Endpoints = []string{"127.0.0.1:1", other.conf.Advertise.String()} // the first is dead
		c, err := l.Client()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	viewer, operator, admin := login("vera", failover.RoleViewer), login("otto", failover.RoleOperator), login("ada", failover.RoleAdmin)
	ctx := t.Context()
	for name, c := range map[string]struct {
		call func() error
		want string // code; "" = allowed
	}{
		"viewer reads":            {func() error { _, err := viewer.Access(ctx); return err }, ""},
		"viewer pauses":           {func() error { _, err := viewer.Pause(ctx, api.PauseRequest{}); return err }, api.CodeNotAllowed},
		"operator pauses":         {func() error { _, err := operator.Pause(ctx, api.PauseRequest{Reason: "by otto"}); return err }, ""},
		"operator makes tokens":   {func() error { _, err := operator.CreateToken(ctx, api.TokenRequest{Seconds: 60}); return err }, api.CodeNotAllowed},
		"admin makes tokens":      {func() error { _, err := admin.CreateToken(ctx, api.TokenRequest{Seconds: 60}); return err }, ""},
		"operator is no agent":    {func() error { _, err := admin.Authority(ctx); return err }, api.CodeNotAllowed},
		"operator does not speak": {func() error { _, err := admin.Propose(ctx, []byte("x")); return err }, api.CodeNotAllowed},
	} {
		if got := ""; c.want == "" {
			if err := c.call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if got = code(c.call()); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	events, err := at.client().Events(ctx, api.EventQuery{Code: failover.CodePauseSet})
	if err != nil || len(events.Items) == 0 || events.Items[0].Stamp.Actor != "operator:otto@127.0.0.1" {
		t.Errorf("who paused: %+v, %v, want operator:otto@127.0.0.1", events.Items, err)
	}
	if log := other.logs.String(); !strings.Contains(log, `component=api audit=true actor=operator:vera@127.0.0.1 method=POST path=/v1/pause`) {
		t.Errorf("no audit line of what vera was refused:\n%s", grep(log, "audit"))
	}
	if _, err := at.client().RevokeOperator(ctx, "ada", "laptop stolen"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // the open connection is closed, and a new one is refused
		if _, err := admin.Access(ctx); err == nil {
			return errors.New("a revoked certificate is still accepted")
		}
		return nil
	})
	if _, err := viewer.Access(ctx); err != nil {
		t.Errorf("another operator's certificate: %v", err)
	}
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// leaveGroup has the leader step down and then leave.
func leaveGroup(t *testing.T, agents []*testAgent) {
	t.Helper()
	leader := func() *testAgent {
		st, err := agents[1].client().Peers(t.Context())
		if err != nil {
			return nil
		}
		for _, p := range st.Items {
			i := slices.IndexFunc(agents, func(a *testAgent) bool { return a.conf.Site == p.Site })
			if p.Role == "leader" && i >= 0 {
				return agents[i]
			}
		}
		return nil
	}
	first := leader()
	if first == nil {
		t.Fatal("no leader")
	}
	if err := first.ask(t, "/v1/cluster/leave", nil); err == nil || !strings.Contains(err.Error(), "step-down") {
		t.Errorf("the leader left: %v", err)
	}
	if _, err := agents[2].client().StepDown(t.Context()); err != nil {
		t.Fatalf("step down: %v", err)
	}
	eventually(t, func() error {
		if l := leader(); l == nil || l == first {
			return errors.New("the leader still leads")
		}
		return nil
	})
	first.awaitMember(t)
	eventually(t, func() error { return first.ask(t, "/v1/cluster/leave", nil) })
	if first.hasFile(first.conf.TLS.CAKey) {
		t.Error("who left keeps the authority's key")
	}
	rest := agents[0]
	if rest == first {
		rest = agents[1]
	}
	eventually(t, func() error {
		list, err := rest.client().Access(t.Context())
		if err == nil && !slices.ContainsFunc(list.Revoked, func(r api.RevocationView) bool { return r.Name == string(first.conf.Site) }) {
			err = fmt.Errorf("revoked: %+v", list.Revoked)
		}
		return err
	})
	// It cannot come back by itself.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	join := joinRequest{To: rest.conf.Advertise.String(), Voter: true}
	if err := askLocal(ctx, first.conf, "/v1/cluster/join", join, io.Discard); err == nil {
		t.Error("an expelled agent joined again with its old certificate")
	}
}

// A certificate that nears its end is renewed in a running agent.
func TestCertificateIsRenewed(t *testing.T) {
	ca, err := cluster.NewCA("assos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := newcomer(t, "moulin", 45)
	id, err := cluster.ServerID(a.conf.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Now().Add(-80 * 24 * time.Hour)
	pair, err := ca.Issue("moulin", id, []netip.Addr{a.conf.Advertise.Addr()}, issued, agentLife)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writePair(a.conf.TLS, pair), writeSecret(a.conf.TLS.CA, keys.Cert), writeSecret(a.conf.TLS.CAKey, keys.Key)); err != nil {
		t.Fatal(err)
	}
	a.start(t)
	eventually(t, func() error {
		now, err := os.ReadFile(a.conf.TLS.Cert)
		if err == nil && string(now) == string(pair.Cert) {
			err = errors.New("the old certificate is still there")
		}
		return err
	})
	eventually(t, func() error { // and it is the one that is shown, without a restart
		conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
		conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", a.conf.Listen.Mesh.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		shown := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if shown.NotAfter.Before(time.Now().Add(agentLife / 2)) {
			return fmt.Errorf("shown is a certificate until %s", shown.NotAfter)
		}
		return nil
	})
}

// When all others are lost for good, one agent begins anew with what it knows;
// when all are, a file does. Neither happens by accident.
func TestGroupIsRebuilt(t *testing.T) {
	t.Parallel() // it waits for elections, and hardly works
	moulin, quai := newcomer(t, "moulin", 50), newcomer(t, "quai", 51)
	moulin.leaderless, quai.leaderless = 3*time.Second, 3*time.Second
	moulin.launch(t)
	quai.launch(t)
	beginNetwork(t, moulin)
	admit(t, quai, moulin, makeToken(t, moulin, "quai").Token)
	eventually(t, func() error { // it holds the authority's key
		_, err := os.Stat(quai.conf.TLS.CAKey)
		return err
	})
	if _, err := quai.client().ApplyNetwork(t.Context(), api.ApplyRequest{Spec: witnesses([]*testAgent{moulin, quai})}); err != nil {
		t.Fatal(err)
	}
	try := func(want, network string, lost ...failover.SiteID) {
		t.Helper()
		err := quai.ask(t, "/v1/cluster/recover", rebuildRequest{Network: network, Lost: lost})
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("recover of %s giving up %v: %v, want %q", network, lost, err, want)
		}
	}
	try("its name must be typed", "other", "moulin")
	try("the group has a leader", "assos", "moulin")
	saved, err := quai.client().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	moulin.stop()
	<-moulin.done
	moulin.done <- nil
	eventually(t, func() error {
		err := quai.ask(t, "/v1/cluster/recover", rebuildRequest{Network: "assos", Lost: []failover.SiteID{"halle"}})
		if err == nil || !strings.Contains(err.Error(), "--lost moulin") {
			return fmt.Errorf("giving up another than the lost one: %w", err)
		}
		return nil
	})
	if err := quai.ask(t, "/v1/cluster/recover", rebuildRequest{Network: "assos", Lost: []failover.SiteID{"moulin"}}); err != nil {
		t.Fatal(err)
	}
	wantRebuilt(t, quai)

	// The lost one comes back as it was: neither side speaks to it.
	moulin.launch(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	join := joinRequest{To: quai.conf.Advertise.String(), Voter: true}
	if err := askLocal(ctx, moulin.conf, "/v1/cluster/join", join, io.Discard); err == nil {
		t.Error("a member that was given up joined again")
	}
	restoreElsewhere(t, saved.Snapshot)
}

// wantRebuilt waits for a group of one, of a higher generation, that is paused.
func wantRebuilt(t *testing.T, a *testAgent) {
	t.Helper()
	eventually(t, func() error {
		got, err := a.client().Snapshot(t.Context())
		if err != nil {
			return err
		}
		s, err := cluster.DecodeSnapshot(got.Snapshot)
		if err != nil {
			return err
		}
		h, err := a.client().Health(t.Context())
		if _, paused := s.Pauses[""]; err == nil && (s.Generation != 2 || len(s.Members) != 1 || !paused || s.Network == nil || !h.HasLeader) {
			err = fmt.Errorf("generation %d, members %v, paused %v, leader %v", s.Generation, s.Members, paused, h.HasLeader)
		}
		return err
	})
}

// restoreElsewhere begins the network on a machine that never was in it.
func restoreElsewhere(t *testing.T, snapshot []byte) {
	t.Helper()
	fresh := newcomer(t, "halle", 52)
	fresh.launch(t)
	if err := fresh.ask(t, "/v1/onboard/restore", onboardRestore{Snapshot: []byte("no snapshot")}); err == nil {
		t.Error("a file that is no snapshot was restored")
	}
	if err := fresh.ask(t, "/v1/onboard/restore", onboardRestore{Snapshot: snapshot}); err != nil {
		t.Fatal(err)
	}
	wantRebuilt(t, fresh)
	if err := fresh.ask(t, "/v1/cluster/bootstrap", nil); err == nil {
		t.Error("a restored group was bootstrapped again")
	}
}
