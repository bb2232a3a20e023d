package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

var update = flag.Bool("update", false, "rewrite the golden screens")

// listen serves a handler on a unix socket until the test ends.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wwwd.sock")
	l, err := api.ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewSocketServer(h, slog.New(slog.NewTextHandler(io.Discard, nil)))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return path
}

// agentOf is a real API over an agent in memory.
func agentOf(t *testing.T, b *apitest.Backend) string {
	t.Helper()
	return listen(t, api.NewHandler(api.Options{Backend: b, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}))
}

func newBackend(t *testing.T) *apitest.Backend {
	t.Helper()
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// result of one command line.
type result struct {
	code        int
	out, errOut string
}

type setting func(*console, map[string]string)

func env(name, value string) setting {
	return func(_ *console, e map[string]string) { e[name] = value }
}

func input(text string) setting {
	return func(c *console, _ map[string]string) { c.In, c.InTTY = strings.NewReader(text), true }
}

// screen is a terminal of that size.
func screen(width, height int) setting {
	return func(c *console, _ map[string]string) {
		c.OutTTY, c.Size = true, func() (int, int) { return width, height }
	}
}

func wwwctl(ctx context.Context, socket, line string, settings ...setting) result {
	var out, errOut bytes.Buffer
	vars := map[string]string{"WWW_SOCKET": socket, "LANG": "en_GB.UTF-8", "NO_COLOR": "1"}
	con := console{
		In: strings.NewReader(""), Out: &out, Err: &errOut, Zone: time.UTC,
		Getenv: func(k string) string { return vars[k] }, Size: func() (int, int) { return 0, 0 },
	}
	for _, s := range settings {
		s(&con, vars)
	}
	code := run(ctx, strings.Fields(line), con)
	return result{code, out.String(), errOut.String()}
}

func TestReadCommands(t *testing.T) {
	socket := agentOf(t, newBackend(t))
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"status", []string{"assos: HEALTHY", "quorum 3/3", "ARMED", "moulin", "nothing to do"}},
		{"status -o json", []string{`"apiVersion": "www/v1"`, `"kind": "Status"`, `"headline": "healthy"`}},
		{"-o yaml status", []string{"apiVersion: www/v1", "headline: healthy"}},
		{"status --jq .sites[].site", []string{"fabrique\nmoulin\nquai\n"}},
		{"sites", []string{"SITE", "SEEN BY", "moulin"}},
		{"sites moulin", []string{"12 rue des Exemples", "Camille", "pve:pve-moulin", "nuage"}},
		{"sites -o name", []string{"fabrique\nmoulin\nquai\n"}},
		{"guests", []string{"nuage", "vm:1101", "home", "yes"}},
		{"guests nuage -o wide", []string{"priority 1", "COPY AT", "quai", "40 GiB", "yes"}},
		{"guests -o tsv --no-headers", []string{"nuage\tvm:1101\t1\tmoulin"}},
		{"plan moulin", []string{"If moulin were lost now", "nuage", "left out: archives", "WWW-1205", "room: ", "measured rate of past restores: fabrique 180 MiB/s", "second loss: ", "Nothing was done"}},
		{"plan --guest nuage --to quai", []string{"guest nuage", "quai"}},
		{"op list", []string{"ID", "KIND"}},
		{"events --code 1408", []string{"WWW-1408", "log of network assos began"}},
		{"history", []string{"ID"}},
		{"dns show", []string{"ZONE assos.example", "nuage.assos.example", "203.0.113.17"}},
		{"config show", []string{"network: assos", "nuage:"}},
		{"config example", []string{"network: assos"}},
		{"cluster peers", []string{"moulin", "VOTER", "this agent", "2 votes"}},
		{"explain WWW-1103", []string{"lost (critical)", "Meaning", "Impact", "Look", "Do"}},
		{"explain 1103", []string{"WWW-1103"}},
		{"explain locked", []string{"passphrase"}},
		{"explain -o json", []string{`"kind": "MessageList"`}},
		{"which", []string{"fabrique answers at"}},
		{"version", []string{"wwwctl", "wwwd"}},
		{"help", []string{"usage: wwwctl COMMAND", "failover"}},
		{"help exit-codes", []string{"130"}},
		{"help states", []string{"diverged"}},
		{"help failover", []string{"--plan PLAN"}},
		{"status --help", []string{"--exit-code"}},
	} {
		got := wwwctl(t.Context(), socket, tt.line)
		if got.code != exitOK {
			t.Errorf("wwwctl %s: exit %d\n%s", tt.line, got.code, got.errOut)
		}
		for _, want := range tt.want {
			if !strings.Contains(got.out, want) {
				t.Errorf("wwwctl %s: got\n%s\nwant it to contain %q", tt.line, got.out, want)
			}
		}
	}
}

func TestFailoverByHand(t *testing.T) {
	t.Run("of a living site asks for its name", func(t *testing.T) {
		b := newBackend(t)
		socket := agentOf(t, b)
		for _, tt := range []struct {
			line     string
			settings []setting
			code     int
			says     string
		}{
			{"failover moulin", nil, exitUnconfirmed, "use --confirm=moulin"},
			{"failover moulin --yes", nil, exitUnconfirmed, "use --confirm=moulin"},
			{"failover moulin --confirm=quai", nil, exitUnconfirmed, "is not moulin"},
			{"failover moulin", []setting{input("y\n")}, exitUnconfirmed, "FORCED"},
			{"failover moulin --no-input", []setting{input("moulin\n")}, exitUnconfirmed, "nobody to ask"},
			{"failover moulin -n", nil, exitOK, ""},
			{"failover moulin --plan p-0", nil, exitStalePlan, "WWW-2012"},
			{"failover quai", nil, exitRefused, "nothing to move"},
			{"failover nowhere", nil, exitFailure, "there is no site nowhere"},
			{"failover", nil, exitUsage, "exactly one"},
			{"rescue", nil, exitUsage, "the site is missing"},
			{"rescue nowhere", nil, exitFailure, "there is no site nowhere"},
			{"rescue moulin --yes", nil, exitRefused, "no host to rescue"},
			{"switchover", nil, exitUsage, "what is to be moved is missing"},
			{"switchover moulin", nil, exitUsage, "--to auto"},
			{"switchover moulin --to auto --at yesterday", nil, exitUsage, "is no time"},
			{"switchover nowhere --to auto", nil, exitFailure, "nowhere"},
			{"switchover moulin --to auto --no-input", nil, exitUnconfirmed, "use --yes"},
			{"switchover moulin --to auto -n", nil, exitOK, ""},
			{"plan --switchover moulin", nil, exitOK, ""},
			{"op cancel op-1 --host-is-off", nil, exitUsage, "goes with op retry"},
			{"failover moulin --host pve-moulin", nil, exitUsage, "exactly one"},
		} {
			got := wwwctl(t.Context(), socket, tt.line, tt.settings...)
			if got.code != tt.code || !strings.Contains(got.errOut, tt.says) {
				t.Errorf("wwwctl %s: exit %d, %q, want %d, %q", tt.line, got.code, got.errOut, tt.code, tt.says)
			}
		}
		if len(b.State().Ops) != 0 {
			t.Fatalf("an operation began without confirmation: %v", b.State().Ops)
		}
		got := wwwctl(t.Context(), socket, "failover moulin --detach", input("moulin\n"))
		if got.code != exitOK || len(b.State().Ops) != 1 || !strings.Contains(got.out, "accepted") {
			t.Errorf("with the name typed: exit %d\n%s%s", got.code, got.out, got.errOut)
		}
	})
	t.Run("of a lost site asks y/N", func(t *testing.T) {
		b := newBackend(t)
		if err := b.Lose(); err != nil {
			t.Fatal(err)
		}
		socket := agentOf(t, b)
		if got := wwwctl(t.Context(), socket, "failover moulin", input("n\n")); got.code != exitUnconfirmed {
			t.Errorf("answer n: exit %d\n%s", got.code, got.errOut)
		}
		got := wwwctl(t.Context(), socket, "-y failover moulin --only nuage -o json")
		if got.code != exitOK || !strings.Contains(got.out, `"kind": "Accepted"`) {
			t.Fatalf("-y: exit %d\n%s%s", got.code, got.out, got.errOut)
		}
		for _, op := range b.State().Ops {
			if len(op.Guests) != 1 || !op.Forced {
				t.Errorf("operation: got %d guests, forced %v, want nuage alone", len(op.Guests), op.Forced)
			}
		}
	})
}

func TestFollow(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	if got := wwwctl(t.Context(), socket, "failover moulin -y --detach"); got.code != exitOK {
		t.Fatalf("failover: exit %d\n%s", got.code, got.errOut)
	}
	id := string(onlyOp(t, b))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := wwwctl(ctx, socket, "op follow "+id)
	if got.code != exitInterrupted || !strings.Contains(got.errOut, "op cancel "+id+" stops it") {
		t.Errorf("Ctrl-C: exit %d, %q, want 130 and how to stop the operation", got.code, got.errOut)
	}

	if got := wwwctl(t.Context(), socket, "op cancel "+id+" --reason test -y"); got.code != exitOK {
		t.Fatalf("cancel: exit %d\n%s", got.code, got.errOut)
	}
	if err := b.Apply(failover.EndOp{Op: failover.OpID(id)}); err != nil {
		t.Fatal(err)
	}
	got = wwwctl(t.Context(), socket, "op follow "+id)
	if got.code != exitFailure || !strings.Contains(got.out, "cancelled") || !strings.Contains(got.out, "WWW-1310") {
		t.Errorf("follow of a cancelled operation: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
	got = wwwctl(t.Context(), socket, "op show "+id)
	if got.code != exitOK || !strings.Contains(got.out, "test") {
		t.Errorf("op show: exit %d\n%s", got.code, got.out)
	}
}

func onlyOp(t *testing.T, b *apitest.Backend) failover.OpID {
	t.Helper()
	for id := range b.State().Ops {
		return id
	}
	t.Fatal("no operation")
	return ""
}

func TestApproveAndActions(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	plan := failover.PlanFor(b.State(), failover.Loss{Site: "moulin"}, b.Now())
	if err := b.Apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan}); err != nil {
		t.Fatal(err)
	}
	socket, id := agentOf(t, b), string(onlyOp(t, b))
	for _, tt := range []struct {
		line string
		code int
	}{
		{"approve " + id, exitUnconfirmed},
		{"approve op-0 -y", exitFailure},
		{"op retry " + id, exitRefused}, // nothing is stuck
		{"approve " + id + " -y", exitOK},
		{"op approve " + id + " -y", exitRefused}, // nothing waits any more
		{"op explode " + id, exitUsage},
		{"op ack", exitUsage},
	} {
		if got := wwwctl(t.Context(), socket, tt.line); got.code != tt.code {
			t.Errorf("wwwctl %s: exit %d, want %d\n%s", tt.line, got.code, tt.code, got.errOut)
		}
	}
	if op := b.State().Ops[failover.OpID(id)]; op.Phase != failover.OpCommitted {
		t.Errorf("operation after approval: got %s, want committed", op.Phase)
	}
}

func TestPauseAndResume(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	steps := []struct {
		line  string
		code  int
		armed bool
	}{
		{"pause", exitUnconfirmed, true},
		{"pause -n", exitOK, true},
		{"pause --for 2h --reason routers -y", exitOK, false},
		{"resume", exitOK, true},
		{"resume", exitRefused, true},
		{"pause nowhere -y", exitRefused, true},
		{"pause --for=-1h -y", exitUsage, true},
	}
	for _, s := range steps {
		got := wwwctl(t.Context(), socket, s.line)
		if _, paused := b.State().Pauses[""]; got.code != s.code || paused == s.armed {
			t.Errorf("wwwctl %s: exit %d, paused %v, want %d, %v\n%s", s.line, got.code, paused, s.code, !s.armed, got.errOut)
		}
	}
}

// The last copies of guests are given up only for the name of each site that holds
// them, typed or given; a version that is no longer the shown one is refused.
func TestConfigApplyAsksForTheLastCopies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "network.yaml")
	text := strings.ReplaceAll(string(apitest.NetworkYAML), "moulin: [pbs-moulin]", "moulin: [pbs-elsewhere]")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line, typed string
		code        int
		says        string
	}{
		{"config apply -y " + file, "", exitUnconfirmed, "fabrique holds copies of"},
		{"config apply -y -n " + file, "", exitUnconfirmed, "--confirm=fabrique"},
		{"config apply -y --confirm=fabrique " + file, "", exitUnconfirmed, "is not quai"},
		{"config apply -y " + file, "quai\n", exitUnconfirmed, "is not fabrique"},
		{"config apply -y --confirm=fabrique,quai " + file, "", exitOK, ""},
	} {
		b := newBackend(t)
		before := b.State().NetworkVersion
		var set []setting
		if tt.typed != "" {
			set = append(set, input(tt.typed))
		}
		got := wwwctl(t.Context(), agentOf(t, b), tt.line, set...)
		if got.code != tt.code || !strings.Contains(got.errOut, tt.says) {
			t.Errorf("wwwctl %s: exit %d, want %d and %q\n%s", tt.line, got.code, tt.code, tt.says, got.errOut)
		}
		if applied := b.State().NetworkVersion != before; applied != (tt.code == exitOK) {
			t.Errorf("wwwctl %s: applied %v", tt.line, applied)
		}
	}
}

func TestConfig(t *testing.T) {
	b := apitest.Empty()
	socket := agentOf(t, b)
	dir := t.TempDir()
	file := filepath.Join(dir, "network.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nobody := filepath.Join(dir, "nobody.sock")
	write("network: assos\nsites:\n  moulin: {kind: bric}\n")
	got := wwwctl(t.Context(), nobody, "config check "+file)
	if got.code != exitFailure || !strings.Contains(got.errOut, file+":3:") || !strings.Contains(got.errOut, "WWW-01") {
		t.Errorf("check of a bad file: exit %d\n%s", got.code, got.errOut)
	}
	if got := wwwctl(t.Context(), nobody, "config check "+file+".missing"); got.code != exitFailure || !strings.Contains(got.errOut, "WWW-3014") {
		t.Errorf("check of no file: exit %d\n%s", got.code, got.errOut)
	}
	write(string(apitest.NetworkYAML))
	if got := wwwctl(t.Context(), nobody, "config check "+file); got.code != exitOK {
		t.Errorf("check of a good file: exit %d\n%s", got.code, got.errOut)
	}
	if got := wwwctl(t.Context(), socket, "config diff --exit-code "+file); got.code != exitFailure || !strings.Contains(got.out, "+ guests.nuage") {
		t.Errorf("diff: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
	for _, tt := range []struct {
		line string
		code int
		says string
	}{
		{"config apply " + file, exitUnconfirmed, "--yes"},
		{"config apply -n " + file, exitOK, "dry run"},
		{"config apply -y " + file, exitOK, ""},
		{"config apply -y " + file, exitOK, "nothing to apply"},
		{"config diff --exit-code " + file, exitOK, ""},
		{"config apply", exitUsage, "file"},
		{"config schema", exitOK, ""},
		{"config schema wwwd.yaml", exitOK, ""},
		{"config schema other.yaml", exitUsage, "wwwd.yaml"},
		{"config show x", exitUsage, "too many"},
	} {
		if got := wwwctl(t.Context(), socket, tt.line); got.code != tt.code || !strings.Contains(got.errOut, tt.says) {
			t.Errorf("wwwctl %s: exit %d, want %d\n%s", tt.line, got.code, tt.code, got.errOut)
		}
	}
	shown := wwwctl(t.Context(), socket, "config show")
	write(shown.out)
	if got := wwwctl(t.Context(), socket, "config diff --exit-code "+file); got.code != exitOK {
		t.Errorf("what config show prints differs from what is in force: exit %d\n%s", got.code, got.out)
	}
}

func TestExampleIsSound(t *testing.T) {
	got := wwwctl(t.Context(), "", "config check -", func(c *console, _ map[string]string) { c.In = strings.NewReader(example) })
	if got.code != exitOK || strings.Contains(got.errOut, "WWW-") {
		t.Errorf("config example: exit %d\n%s", got.code, got.errOut)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, line := range []string{
		"", "stauts", "status extra", "status --no-such-flag", "-o xml status", "--lang fr status", "--color=blue status",
		"--timeout -1s status", "status -w=1", "dns", "dns hide", "cluster", "explain NOTHING", "op", "op list x", "plan a b",
		"status --jq .[", "guests a b", "events x", "help nothing",
	} {
		socket := ""
		if strings.Contains(line, "jq") {
			socket = agentOf(t, newBackend(t))
		}
		if got := wwwctl(t.Context(), socket, line); got.code != exitUsage || got.errOut == "" {
			t.Errorf("wwwctl %s: exit %d, %q, want %d with a reason", line, got.code, got.errOut, exitUsage)
		}
	}
}

func TestExitCodeTable(t *testing.T) {
	apiError := func(status int, code string) error { return &api.Error{Status: status, Code: code} }
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{usagef("x"), 2},
		{apiError(503, api.CodeNoLeader), 3},
		{apiError(409, api.CodeUnknown), 3},
		{apiError(0, api.CodeNoAgent), 4},
		{apiError(422, failover.CodeNothingWaits), 5},
		{fail(exitPartly, "WWW-3017", "op", "op-1"), 6},
		{apiError(428, api.CodeStillAlive), 7},
		{apiError(403, api.CodeNotAllowed), 8},
		{apiError(422, failover.CodeStalePlan), 9},
		{fail(exitNotSaved, "WWW-3022"), 10},
		{apiError(404, api.CodeNotFound), 1},
		{fmt.Errorf("wrapped: %w", apiError(503, api.CodeNoLeader)), 3},
		{context.Canceled, 130},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v): got %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestFollowError(t *testing.T) {
	for phase, want := range map[failover.OpPhase]int{failover.OpDone: 0, failover.OpStuck: 6, failover.OpCancelled: 1} {
		if got := exitCode(followError(failover.OpView{Phase: phase})); got != want {
			t.Errorf("end in phase %s: got exit %d, want %d", phase, got, want)
		}
	}
}

// enough cancels once it was written to that often.
type enough struct {
	bytes.Buffer
	left   int
	cancel context.CancelFunc
}

func (e *enough) Write(b []byte) (int, error) {
	if e.left--; e.left == 0 {
		e.cancel()
	}
	return e.Buffer.Write(b)
}

func TestWatchRepeatsUntilInterrupted(t *testing.T) {
	socket := agentOf(t, newBackend(t))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out := &enough{left: 3, cancel: cancel}
	got := wwwctl(ctx, socket, "status -w=100ms --jq .headline", func(c *console, _ map[string]string) { c.Out = out })
	if n := strings.Count(out.String(), "healthy\n"); n != 3 || got.code != exitOK {
		t.Errorf("watch: exit %d, %d answers, want 0 and 3\n%s", got.code, n, got.errOut)
	}
}
