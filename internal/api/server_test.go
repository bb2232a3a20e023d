package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func newBackend(t *testing.T) *apitest.Backend {
	t.Helper()
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// as is a handler whose every request comes from the actor.
func as(actor *api.Actor, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if actor != nil {
			r = r.WithContext(api.WithActor(r.Context(), *actor))
		}
		h.ServeHTTP(w, r)
	})
}

var (
	root  = api.Actor{Kind: api.ActorUnix, Name: "root"}
	agent = api.Actor{Kind: api.ActorAgent, Name: "www://assos/quai/id-quai", Network: "assos", Site: "quai", ServerID: "id-quai"}
)

func serve(t *testing.T, actor *api.Actor, o api.Options) *api.Client {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	s := httptest.NewServer(as(actor, api.NewHandler(o)))
	t.Cleanup(s.Close)
	return api.NewClient(s.URL, s.Client())
}

func TestReadsAnswer(t *testing.T) {
	b := newBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	ctx := t.Context()
	st, err := c.Status(ctx)
	if err != nil || st.Network != "assos" || len(st.Sites) != 3 || !st.At.Equal(b.Now()) {
		t.Errorf("Status: got %+v, %v", st, err)
	}
	h, err := c.Health(ctx)
	if err != nil || h.Site != "fabrique" || h.Boot != "boot-1" || !h.HasLeader || h.Leader != "moulin" || h.Applied != b.State().Index {
		t.Errorf("Health: got %+v, %v", h, err)
	}
	sites, err := c.Sites(ctx)
	if err != nil || len(sites.Items) != 3 || sites.From != "fabrique" || sites.Index != b.State().Index {
		t.Errorf("Sites: got %+v, %v", sites, err)
	}
	site, err := c.Site(ctx, "moulin")
	if err != nil || site.Place.Address != "12 rue des Exemples" || len(site.Seen) != 6 || len(site.Guests) != 3 {
		t.Errorf("Site(moulin): got %+v, %v", site, err)
	}
	if len(site.Seen) > 0 && site.Seen[0].For != time.Hour {
		t.Errorf("Site(moulin).Seen[0].For: got %v, want 1h: durations must survive the wire", site.Seen[0].For)
	}
	guests, err := c.Guests(ctx)
	if err != nil || len(guests.Items) != 3 {
		t.Errorf("Guests: got %+v, %v", guests, err)
	}
	g, err := c.Guest(ctx, "nuage")
	if err != nil || g.Guest.ID != 1101 || len(g.Points["quai"]) != 1 {
		t.Errorf("Guest(nuage): got %+v, %v", g, err)
	}
	dns, err := c.DNS(ctx, false)
	if err != nil || len(dns.Names) != 2 || dns.Names[0].IPv4 != "203.0.113.17" || len(dns.Zones) != 1 {
		t.Errorf("DNS: got %+v, %v", dns, err)
	}
	n, err := c.Network(ctx)
	if err != nil || n.Version != b.State().NetworkVersion || n.Spec.Guests["nuage"].MaxLoss.D() != 24*time.Hour {
		t.Errorf("Network: got %+v, %v", n, err)
	}
	peers, err := c.Peers(ctx)
	if err != nil || len(peers.Items) != 3 || peers.Needed != 2 || peers.Items[1].Role != "leader" {
		t.Errorf("Peers: got %+v, %v", peers, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "0.1.0" || v.API != api.Version {
		t.Errorf("Version: got %+v, %v", v, err)
	}
}

func TestPlanIsWhatFailoverDoes(t *testing.T) {
	b := newBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	ctx := t.Context()
	req := api.FailoverRequest{Site: "moulin", To: "quai"}
	plan, err := c.PlanByHand(ctx, req)
	if err != nil || len(plan.Assignments) != 2 || plan.Confirm != "moulin" || len(plan.Answers) == 0 {
		t.Fatalf("PlanByHand: got %+v, %v", plan, err)
	}
	if plan.Assignments[0].Loss != time.Hour+time.Minute {
		t.Errorf("loss of %s: got %v, want 1h1m", plan.Assignments[0].Guest, plan.Assignments[0].Loss)
	}
	if _, err := c.Failover(ctx, req); !errors.Is(err, api.ErrStillAlive) {
		t.Errorf("Failover of a living site without its name: got %v, want ErrStillAlive", err)
	}
	req.Plan, req.Confirm = "p-other", "moulin"
	if _, err := c.Failover(ctx, req); !errors.Is(err, api.ErrStalePlan) {
		t.Errorf("Failover with another plan: got %v, want ErrStalePlan", err)
	}
	req.Plan = plan.Hash
	done, err := c.Failover(ctx, req)
	if err != nil {
		t.Fatalf("Failover: %v", err)
	}
	op := b.State().Ops[done.Op]
	if op.Phase != failover.OpCommitted || !op.Forced || op.Plan.Hash != plan.Hash {
		t.Errorf("operation %s: got phase %s, forced %v, plan %s, want committed, true, %s", done.Op, op.Phase, op.Forced, op.Plan.Hash, plan.Hash)
	}
	if actors := b.Actors(); actors[len(actors)-1] != "unix:root" {
		t.Errorf("actor of the entry: got %q, want unix:root", actors[len(actors)-1])
	}
	if _, err := c.Failover(ctx, api.FailoverRequest{Site: "moulin", Confirm: "moulin"}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("second Failover: got %v, want ErrRefused", err)
	}
	shown, err := c.Op(ctx, done.Op)
	if err != nil || shown.Op.ID != done.Op || len(shown.Events) == 0 {
		t.Errorf("Op(%s): got %+v, %v", done.Op, shown, err)
	}
	if list, err := c.Ops(ctx); err != nil || len(list.Items) != 1 {
		t.Errorf("Ops: got %+v, %v", list, err)
	}
}

func TestFailoverOfALostSiteNeedsNoName(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	plan, err := c.PlanByHand(t.Context(), api.FailoverRequest{Site: "moulin"})
	if err != nil || plan.Cause != failover.CauseLost || plan.Confirm != "" {
		t.Fatalf("PlanByHand: got cause %s, confirm %q, %v", plan.Cause, plan.Confirm, err)
	}
	done, err := c.Failover(t.Context(), api.FailoverRequest{Site: "moulin", Only: []failover.GuestID{"nuage"}})
	if err != nil {
		t.Fatalf("Failover: %v", err)
	}
	if op := b.State().Ops[done.Op]; len(op.Guests) != 1 || op.Guests["nuage"].Assignment.Target == "" {
		t.Errorf("operation: got %+v, want nuage alone", op.Guests)
	}
	if _, err := c.Act(t.Context(), done.Op, "cancel", api.ActionRequest{Reason: "changed my mind"}); err != nil {
		t.Errorf("cancel before anything is owned: %v", err)
	}
	op, err := c.Op(t.Context(), done.Op)
	if err != nil || op.Op.Cancelled.Args["actor"] != "unix:root" || op.Op.Cancelled.Args["reason"] != "changed my mind" {
		t.Errorf("cancelled: got %+v, %v, want the person and the reason", op.Op.Cancelled, err)
	}
}

func TestPauseAndResume(t *testing.T) {
	b := newBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	if _, err := c.Pause(t.Context(), api.PauseRequest{Seconds: 7200, Reason: "routers"}); err != nil {
		t.Fatal(err)
	}
	p := b.State().Pauses[""]
	if want := b.Now().Add(2 * time.Hour); !p.Until.Equal(want) || p.Reason != "routers" {
		t.Errorf("pause: got %+v, want until %v", p, want)
	}
	if _, err := c.Resume(t.Context(), ""); err != nil {
		t.Errorf("resume: %v", err)
	}
	if _, err := c.Resume(t.Context(), ""); !errors.Is(err, api.ErrRefused) {
		t.Errorf("second resume: got %v, want ErrRefused", err)
	}
	if _, err := c.Pause(t.Context(), api.PauseRequest{Site: "nowhere"}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("pause of an unknown site: got %v, want ErrRefused", err)
	}
}

func TestApplyNetwork(t *testing.T) {
	b := newBackend(t)
	c := serve(t, &root, api.Options{Backend: b})
	before := b.State()
	spec := *before.Network
	spec.Guests = map[failover.GuestID]network.Guest{}
	for id, g := range before.Network.Guests {
		spec.Guests[id] = g
	}
	delete(spec.Guests, "archives")
	req := api.ApplyRequest{Spec: &spec, IfVersion: before.NetworkVersion, DryRun: true}
	got, err := c.ApplyNetwork(t.Context(), req)
	if err != nil || len(got.Changes) != 1 || got.Changes[0].Path != "guests.archives" || b.State() != before {
		t.Fatalf("dry run: got %+v, %v", got, err)
	}
	req.DryRun, req.IfVersion = false, 1
	if _, err := c.ApplyNetwork(t.Context(), req); !errors.Is(err, api.ErrRefused) {
		t.Errorf("stale version: got %v, want ErrRefused", err)
	}
	req.IfVersion = before.NetworkVersion
	got, err = c.ApplyNetwork(t.Context(), req)
	if err != nil || b.State().NetworkVersion != got.Version || len(b.State().Guests) != 2 {
		t.Errorf("apply: got %+v, %v; state has %d guests", got, err, len(b.State().Guests))
	}
	bad := spec
	bad.Guests = map[failover.GuestID]network.Guest{"x": {ID: 1101, Structure: "nobody", Host: "nothing"}}
	_, err = c.ApplyNetwork(t.Context(), api.ApplyRequest{Spec: &bad, IfVersion: got.Version})
	e, ok := errors.AsType[*api.Error](err)
	if !ok || e.Code != api.CodeBadNetwork || len(e.Problems) == 0 {
		t.Errorf("invalid network: got %v, want %s with problems", err, api.CodeBadNetwork)
	}
}

func TestOutcomesOfAProposal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		is     error
		status int
	}{
		{"no leader", fmt.Errorf("propose: %w", failover.ErrNoLeader), failover.ErrNoLeader, 503},
		{"unknown", fmt.Errorf("propose: %w", failover.ErrUnknown), failover.ErrUnknown, 409},
		{"deadline", context.DeadlineExceeded, failover.ErrUnknown, 409},
		{"rejected", &failover.RejectedError{Reason: failover.Reason{Code: failover.CodeUnknownOp}}, api.ErrRefused, 422},
		{"other", errors.New("disk on fire"), nil, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			b.ProposeFunc = func(failover.Command) (failover.Stamp, error) { return failover.Stamp{}, tt.err }
			_, err := serve(t, &root, api.Options{Backend: b}).Pause(t.Context(), api.PauseRequest{})
			e, ok := errors.AsType[*api.Error](err)
			if !ok || e.Status != tt.status || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Pause: got %v (%+v), want status %d", err, e, tt.status)
			}
			if ok && strings.Contains(e.Message, "disk on fire") {
				t.Errorf("message %q shows an internal error to the caller", e.Message)
			}
		})
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	calls := map[string]struct {
		unix, agent, nobody error
		do                  func(context.Context, *api.Client) error
	}{
		"read":   {nil, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error { _, err := c.Status(ctx); return err }},
		"health": {nil, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error { _, err := c.Health(ctx); return err }},
		"write":  {nil, api.ErrNotAllowed, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error { _, err := c.Pause(ctx, api.PauseRequest{}); return err }},
		"maintenance": {nil, api.ErrNotAllowed, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error {
			_, err := c.BeginMaintenance(ctx, api.LimitRequest{Name: "host:pve-quai", Seconds: 60})
			return err
		}},
		"exclude": {nil, api.ErrNotAllowed, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error {
			_, err := c.ExcludeObserver(ctx, api.LimitRequest{Name: "quai", Seconds: 60})
			return err
		}},
		"simulate": {nil, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error {
			_, err := c.Simulate(ctx, "quai", "mesh")
			return err
		}},
		"propose": {api.ErrNotAllowed, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error { _, err := c.Propose(ctx, []byte("x")); return err }},
		"confirm": {api.ErrNotAllowed, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error {
			return c.Confirm(ctx, failover.Token{Op: "op-1", Guest: "g", Step: failover.StepStart})
		}},
		"join": {api.ErrNotAllowed, nil, api.ErrNotAllowed, func(ctx context.Context, c *api.Client) error {
			return c.Join(ctx, api.JoinRequest{Site: "quai", ServerID: "id-quai", Address: "10.77.3.1:9977"})
		}},
	}
	o := api.Options{Backend: newBackend(t), Raft: &fakeRaft{}}
	for who, actor := range map[string]*api.Actor{"unix": &root, "agent": &agent, "nobody": nil} {
		c := serve(t, actor, o)
		for name, call := range calls {
			want := map[string]error{"unix": call.unix, "agent": call.agent, "nobody": call.nobody}[who]
			if err := call.do(t.Context(), c); !errors.Is(err, want) {
				t.Errorf("%s by %s: got %v, want %v", name, who, err, want)
			}
		}
	}
}

type fakeRaft struct {
	propose func([]byte) (failover.Stamp, error)
	confirm func(failover.Token) error
}

func (f *fakeRaft) ProposeEnvelope(_ context.Context, b []byte) (failover.Stamp, error) {
	if f.propose == nil {
		return failover.Stamp{Index: 7}, nil
	}
	return f.propose(b)
}

func (f *fakeRaft) Confirm(_ context.Context, t failover.Token) error {
	if f.confirm == nil {
		return nil
	}
	return f.confirm(t)
}
func (f *fakeRaft) Join(context.Context, api.JoinRequest) error { return nil }

func TestBetweenAgents(t *testing.T) {
	rejected := &failover.RejectedError{Reason: failover.Reason{Code: failover.CodeStaleToken, Args: map[string]string{"have": "4"}}}
	results := map[string]error{"ok": nil, "rejected": rejected, "unknown": failover.ErrUnknown, "leaderless": failover.ErrNoLeader}
	raft := &fakeRaft{
		propose: func(b []byte) (failover.Stamp, error) { return failover.Stamp{Index: 9, Term: 3}, results[string(b)] },
		confirm: func(tk failover.Token) error {
			if tk.Epoch.Index == 5 {
				return nil
			}
			return errors.New("epoch is old")
		},
	}
	c := serve(t, &agent, api.Options{Backend: newBackend(t), Raft: raft})
	st, err := c.Propose(t.Context(), []byte("ok"))
	if err != nil || st.Index != 9 || st.Term != 3 {
		t.Errorf("Propose: got %+v, %v", st, err)
	}
	st, err = c.Propose(t.Context(), []byte("rejected"))
	if r, ok := errors.AsType[*failover.RejectedError](err); !ok || r.Reason.Args["have"] != "4" || st.Index != 9 {
		t.Errorf("Propose of a refused command: got %+v, %v, want the stamp and the reason", st, err)
	}
	for name, want := range map[string]error{"unknown": failover.ErrUnknown, "leaderless": failover.ErrNoLeader, "": api.ErrBadRequest} {
		if _, err := c.Propose(t.Context(), []byte(name)); !errors.Is(err, want) {
			t.Errorf("Propose(%q): got %v, want %v", name, err, want)
		}
	}
	token := failover.Token{Op: "op-1", Guest: "g", Step: failover.StepStart, Index: 3, Epoch: failover.Epoch{Generation: 1, Index: 5}}
	if err := c.Confirm(t.Context(), token); err != nil {
		t.Errorf("Confirm: %v", err)
	}
	token.Epoch.Index = 4
	if err := c.Confirm(t.Context(), token); !errors.Is(err, api.ErrUnconfirmed) {
		t.Errorf("Confirm of an old token: got %v, want ErrUnconfirmed", err)
	}
	for _, req := range []api.JoinRequest{
		{Site: "moulin", ServerID: "id-quai", Address: "10.77.3.1:9977"},
		{Site: "quai", ServerID: "other", Address: "10.77.3.1:9977"},
		{Site: "quai", ServerID: "id-quai", Address: "0.0.0.0:9977"},
		{Site: "quai", ServerID: "id-quai", Address: "somewhere"},
	} {
		if err := c.Join(t.Context(), req); err == nil {
			t.Errorf("Join(%+v) by quai: got no error", req)
		}
	}
}

func TestBadRequests(t *testing.T) {
	h := as(&root, api.NewHandler(api.Options{Backend: newBackend(t), Log: quiet()}))
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no such route", "GET", "/v1/nothing", "", 404, api.CodeNotFound},
		{"traversal", "GET", "/v1/sites/..%2f..%2fetc", "", 404, api.CodeNotFound},
		{"wrong method", "DELETE", "/v1/status", "", 405, api.CodeMethod},
		{"unknown site", "GET", "/v1/sites/nowhere", "", 404, api.CodeNotFound},
		{"unknown guest", "GET", "/v1/guests/nobody", "", 404, api.CodeNotFound},
		{"unknown op", "GET", "/v1/ops/op-0", "", 404, api.CodeNotFound},
		{"unknown action", "POST", "/v1/ops/op-0/explode", "", 404, api.CodeNotFound},
		{"plan of nothing", "GET", "/v1/plan", "", 400, api.CodeMalformed},
		{"plan of two things", "GET", "/v1/plan?site=quai&guest=nuage", "", 400, api.CodeMalformed},
		{"plan to nowhere", "GET", "/v1/plan?site=moulin&to=x", "", 404, api.CodeNotFound},
		{"plan to itself", "GET", "/v1/plan?site=moulin&to=moulin", "", 422, failover.CodeNotTarget},
		{"only of another site", "GET", "/v1/plan?site=quai&only=nuage", "", 400, api.CodeMalformed},
		{"bad bool", "GET", "/v1/plan?site=quai&by_hand=perhaps", "", 400, api.CodeMalformed},
		{"bad since", "GET", "/v1/events?since=yesterday", "", 400, api.CodeMalformed},
		{"bad limit", "GET", "/v1/events?limit=0", "", 400, api.CodeMalformed},
		{"empty body", "POST", "/v1/failover", "", 400, api.CodeMalformed},
		{"not json", "POST", "/v1/failover", "<html>", 400, api.CodeMalformed},
		{"unknown key", "POST", "/v1/failover", `{"site":"moulin","force":true}`, 400, api.CodeMalformed},
		{"wrong type", "POST", "/v1/failover", `{"site":7}`, 400, api.CodeMalformed},
		{"two values", "POST", "/v1/failover", `{"site":"moulin"} {}`, 400, api.CodeMalformed},
		{"too large", "POST", "/v1/network", `{"spec":"` + strings.Repeat("x", api.MaxBody) + `"}`, 413, api.CodeTooLarge},
		{"no spec", "POST", "/v1/network", `{}`, 400, api.CodeMalformed},
		{"negative pause", "POST", "/v1/pause", `{"for":-1}`, 400, api.CodeMalformed},
		{"endless pause", "POST", "/v1/pause", `{"for":1e300}`, 400, api.CodeMalformed},
		{"long reason", "POST", "/v1/pause", `{"reason":"` + strings.Repeat("x", 600) + `"}`, 400, api.CodeMalformed},
		{"nothing to move", "POST", "/v1/failover", `{"site":"quai","confirm":"quai"}`, 422, failover.CodeNothing},
		{"raft without raft", "POST", "/v1/raft/propose", "x", 404, api.CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
			var got struct {
				APIVersion, Kind string
				Error            api.Error
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("answer %q: %v", w.Body, err)
			}
			if w.Code != tt.status || got.Error.Code != tt.code || got.Kind != "Error" || got.Error.Message == "" {
				t.Errorf("%s %s: got %d %+v, want %d %s", tt.method, tt.path, w.Code, got, tt.status, tt.code)
			}
		})
	}
}

func TestNoNetworkYet(t *testing.T) {
	c := serve(t, &root, api.Options{Backend: apitest.Empty()})
	if st, err := c.Status(t.Context()); err != nil || len(st.Todo) == 0 {
		t.Errorf("Status: got %+v, %v, want something to do", st, err)
	}
	if g, err := c.Guests(t.Context()); err != nil || len(g.Items) != 0 {
		t.Errorf("Guests: got %+v, %v", g, err)
	}
	if _, err := c.PlanAsLoss(t.Context(), api.FailoverRequest{Site: "moulin"}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("Plan: got %v, want ErrRefused", err)
	}
	if n, err := c.Network(t.Context()); err != nil || n.Spec != nil || n.Version != 0 {
		t.Errorf("Network: got %+v, %v", n, err)
	}
	if _, err := c.DNS(t.Context(), false); err != nil {
		t.Errorf("DNS: %v", err)
	}
}

func TestEvents(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	c := serve(t, &root, api.Options{Backend: b})
	all, err := c.Events(t.Context(), api.EventQuery{})
	if err != nil || len(all.Items) < 4 || all.More {
		t.Fatalf("Events: got %d, %v", len(all.Items), err)
	}
	last := all.Items[len(all.Items)-1]
	if last.Reason.Code != failover.CodeLost || last.Site != "moulin" {
		t.Errorf("newest event: got %+v, want the loss of moulin", last)
	}
	for _, tt := range []struct {
		name string
		q    api.EventQuery
		want int
	}{
		{"limit", api.EventQuery{Limit: 2}, 2},
		{"after the last", api.EventQuery{Since: fmt.Sprint(last.Stamp.Index)}, 0},
		{"after one before", api.EventQuery{Since: fmt.Sprint(last.Stamp.Index - 1)}, 1},
		{"code", api.EventQuery{Code: failover.CodeBootstrapped}, 1},
		{"last minute", api.EventQuery{Since: "1m", Site: "moulin"}, 1},
		{"since a time", api.EventQuery{Since: b.Now().Add(time.Second).Format(time.RFC3339)}, 0},
	} {
		got, err := c.Events(t.Context(), tt.q)
		if err != nil || len(got.Items) != tt.want {
			t.Errorf("%s: got %d events, %v, want %d", tt.name, len(got.Items), err, tt.want)
		}
	}
	if got, _ := c.Events(t.Context(), api.EventQuery{Limit: 2}); !got.More {
		t.Error("events cut by the limit do not say that there are more")
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	b := newBackend(t)
	b.LocalFunc = func() failover.LocalView { panic("broken") }
	var log bytes.Buffer
	c := serve(t, &root, api.Options{Backend: b, Log: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := c.Health(t.Context())
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != 500 || !strings.Contains(log.String(), "broken") {
		t.Errorf("Health: got %v, log %q, want an internal error that is logged", err, log.String())
	}
}
