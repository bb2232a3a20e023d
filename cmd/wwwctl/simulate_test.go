package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestSimulate: the forecast of a loss, of a cut and of nonsense.
func TestSimulate(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	before := b.State().Index
	for _, tt := range []struct {
		line string
		code int
		want []string
	}{
		{"simulate --lose moulin", exitOK, []string{"If moulin were lost now", "WWW-1311", "serves after", "stays: WWW-1205", "nothing was done"}},
		{"simulate --lose moulin --cut mesh", exitOK, []string{"the mesh of moulin", "seen as mesh-down", "held: WWW-1106", "nothing moves"}},
		{"simulate --lose moulin --cut public", exitOK, []string{"seen as public-down", "nothing moves"}},
		{"simulate --lose host:pve-moulin", exitOK, []string{"host pve-moulin", "seen as mesh-down", "nothing moves"}},
		{"simulate --lose quai -o json --jq .verdict.cause", exitOK, []string{"lost\n"}},
		{"simulate --lose nowhere", exitFailure, []string{"WWW-3005"}},
		{"simulate --lose moulin --cut power", exitFailure, []string{"mesh, public"}},
		{"simulate --lose pve-moulin --cut mesh", exitFailure, []string{"is a host"}},
		{"simulate", exitUsage, []string{"--lose"}},
	} {
		got := wwwctl(t.Context(), socket, tt.line)
		if got.code != tt.code {
			t.Errorf("wwwctl %s: exit %d, want %d\n%s", tt.line, got.code, tt.code, got.errOut)
		}
		for _, want := range tt.want {
			if !strings.Contains(got.out+got.errOut, want) {
				t.Errorf("wwwctl %s: got\n%s%s\nwant it to contain %q", tt.line, got.out, got.errOut, want)
			}
		}
	}
	b.LocalFunc = func() failover.LocalView { return failover.LocalView{Site: "quai", LastContact: 20 * time.Second} }
	if got := wwwctl(t.Context(), socket, "simulate --lose moulin"); !strings.Contains(got.out, "quai hears no leader") || strings.Contains(got.out, "WWW-") {
		t.Errorf("without a leader: got\n%s\nwant no forecast", got.out)
	}
	if after := b.State().Index; after != before {
		t.Errorf("simulating wrote %d entries", after-before)
	}
}

// TestSiteEvidence: the matrix tells who sees what for how long and fits a phone;
// JSON has verdict, cause and matrix for a test to read.
func TestSiteEvidence(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	for _, width := range []int{48, 80} {
		got := wwwctl(t.Context(), socket, "sites moulin", screen(width, 40))
		for line := range strings.Lines(got.out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("%d columns: a line of %d: %s", width, n, line)
			}
		}
		for _, want := range []string{"SEEN BY", "fabrique", "quai", "DOWN 6m", "0s old", "2 voters see nothing (2 needed)"} {
			if !strings.Contains(got.out, want) {
				t.Errorf("%d columns: got\n%s\nwant it to contain %q", width, got.out, want)
			}
		}
	}
	var site struct {
		Verdicts []struct {
			Domain, Cause string
			Silence       float64
			Basis         struct {
				Needed int
				Dark   []string
				Paths  []string
			}
		}
		Seen []struct {
			Observer, Target, Seen string
			For, Age               float64
			Counts                 bool
		}
	}
	got := wwwctl(t.Context(), socket, "sites moulin -o json")
	if err := json.Unmarshal([]byte(got.out), &site); err != nil {
		t.Fatal(err)
	}
	if len(site.Verdicts) < 2 || site.Verdicts[0].Cause != "lost" || site.Verdicts[0].Silence != 360 || len(site.Verdicts[0].Basis.Dark) != 2 {
		t.Errorf("verdicts: %+v", site.Verdicts)
	}
	down := 0
	for _, o := range site.Seen {
		if o.Seen == "down" && o.For == 360 && o.Counts {
			down++
		}
	}
	if down != len(site.Seen) || down < 6 {
		t.Errorf("%d of %d sightings are down for 360 s and count", down, len(site.Seen))
	}
}

// TestMaintenanceAndObserver: what people set for a while is set, shown, and
// taken back.
func TestMaintenanceAndObserver(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"maintenance on moulin", exitUnconfirmed, "--yes"},
		{"maintenance on moulin -y --for 2h --reason roof", exitOK, "maintenance of moulin until"},
		{"maintenance on pve-quai -y", exitOK, "maintenance of pve-quai"},
		{"observer exclude quai -y --for 1h --reason lies", exitOK, "exclusion of quai"},
		{"status", exitOK, "WWW-1339 moulin: in maintenance until 2026-11-22 04:58:11: roof"},
		{"status", exitOK, "WWW-1412 quai: not believed"},
		{"sites moulin", exitOK, "maintained"},
		{"sites moulin", exitOK, "excluded"},
		{"status -o json --jq .maintenance[0].domain", exitOK, "host:pve-quai"},
		{"maintenance off pve-quai", exitOK, "ended"},
		{"maintenance off pve-quai", exitRefused, "WWW-1309"},
		{"observer include quai", exitOK, "ended"},
		{"observer include quai", exitRefused, "WWW-1309"},
		{"maintenance on nowhere -y", exitFailure, "WWW-3005"},
		{"maintenance on moulin -y --for 200h", exitFailure, "168h"},
		{"observer exclude quai -y --for 30h", exitRefused, "24h"},
		{"maintenance on moulin --for -1h", exitUsage, "more than 0"},
		{"maintenance sideways moulin", exitUsage, "want on or off"},
		{"maintenance on", exitUsage, "missing"},
		{"maintenance on quai --dry-run", exitOK, "would begin"},
		{"observer include quai --dry-run", exitOK, "would end"},
	} {
		got := wwwctl(t.Context(), socket, tt.line)
		if text := got.out + got.errOut; got.code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("wwwctl %s: exit %d\n%s\nwant %d and %q", tt.line, got.code, text, tt.code, tt.want)
		}
	}
	if n := len(b.State().Resting); n != 1 {
		t.Errorf("%d maintenances in force, want moulin's", n)
	}
}

// TestApprovalOfAnOldOffer exits 9 and changes nothing; a fresh one is honoured.
func TestApprovalOfAnOldOffer(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	plan := failover.PlanFor(b.State(), failover.Loss{Site: "moulin"}, b.Now())
	if err := b.Apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan}); err != nil {
		t.Fatal(err)
	}
	var op failover.OpID
	for op = range b.State().Ops {
	}
	socket := agentOf(t, b)
	shown := strings.TrimSpace(wwwctl(t.Context(), socket, "op show "+string(op)+" --jq .operation.offer.hash").out)
	b.Advance(failover.ApprovalAge + time.Minute)
	if got := wwwctl(t.Context(), socket, "approve "+string(op)+" --offer "+shown); got.code != exitStalePlan || !strings.Contains(got.errOut, failover.CodeStalePlan) {
		t.Errorf("an offer of %s ago: exit %d, %s; want %d", failover.ApprovalAge, got.code, got.errOut, exitStalePlan)
	}
	if got := wwwctl(t.Context(), socket, "approve "+string(op)+" -y"); got.code != exitOK || b.State().Ops[op].Phase != failover.OpCommitted {
		t.Errorf("a fresh offer: exit %d, %s; the operation is %s", got.code, got.errOut, b.State().Ops[op].Phase)
	}
}
