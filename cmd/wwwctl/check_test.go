package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// pluginLine is the form that Nagios and Icinga read.
var pluginLine = regexp.MustCompile(`^WWW (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \|( [a-z_]+=-?[0-9]+s?(;[0-9:]*){0,4})+)?\n$`)

func TestCheckIsAPlugin(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	healthy := wwwctl(t.Context(), socket, "check")
	if !pluginLine.MatchString(healthy.out) || !strings.Contains(healthy.out, "quorum_margin=1;;0:") || healthy.errOut != "" {
		t.Errorf("%+v", healthy)
	}
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	lost := wwwctl(t.Context(), socket, "check")
	if !pluginLine.MatchString(lost.out) || lost.code == exitOK || lost.out == healthy.out {
		t.Errorf("after a loss: %+v", lost)
	}
	for name, got := range map[string]result{
		"no agent": wwwctl(t.Context(), socket+".none", "check"),
		"usage":    wwwctl(t.Context(), socket, "check something"),
		"flag":     wwwctl(t.Context(), socket, "check --nonsense"),
		"before":   wwwctl(t.Context(), socket, "--nonsense check"),
		"value":    wwwctl(t.Context(), socket, "--timeout 0s check"),
		"language": wwwctl(t.Context(), socket, "check --lang xx"),
	} {
		if got.code != 3 || !pluginLine.MatchString(got.out) || !strings.HasPrefix(got.out, "WWW UNKNOWN - ") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCheckSeverity(t *testing.T) {
	status := func(head failover.Headline, change func(*failover.Status)) failover.Status {
		st := failover.Status{Headline: head, Local: failover.LocalView{Site: "quai", HasLeader: true}, Counts: failover.Counts{Protected: 4, Ready: 4}}
		if change != nil {
			change(&st)
		}
		return st
	}
	for _, c := range []struct {
		name string
		st   failover.Status
		want gauge
	}{
		{"healthy", status(failover.HeadHealthy, nil), checkOK},
		{"not ready", status(failover.HeadHealthy, func(s *failover.Status) { s.Counts.Ready = 3 }), checkWarning},
		{"unprotected", status(failover.HeadHealthy, func(s *failover.Status) { s.Counts = failover.Counts{Unprotected: 2} }), checkWarning},
		{"something to do", status(failover.HeadHealthy, func(s *failover.Status) { s.Todo = []failover.Reason{{Code: "WWW-2006"}} }), checkWarning},
		{"taken care of", status(failover.HeadFailover, nil), checkWarning},
		{"away", status(failover.HeadAway, nil), checkWarning},
		{"diverged", status(failover.HeadDiverged, nil), checkWarning},
		{"paused", status(failover.HeadPaused, nil), checkWarning},
		{"stuck", status(failover.HeadFailover, func(s *failover.Status) { s.Counts.Stuck = 1 }), checkCritical},
		{"loss", status(failover.HeadLoss, nil), checkCritical},
		{"isolated", status(failover.HeadIsolated, nil), checkCritical},
		{"no quorum", status(failover.HeadNoQuorum, nil), checkCritical},
	} {
		if got := checkOf(c.st); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	isolated := status(failover.HeadIsolated, func(s *failover.Status) { s.Local.HasLeader = false })
	if got := perfdata(isolated); got != "" {
		t.Errorf("figures from memory: %s", got)
	}
	st := status(failover.HeadLoss, func(s *failover.Status) {
		s.Sites = []failover.SiteView{{State: "lost", OffsiteRPO: time.Hour}, {State: "up"}}
	})
	if got := perfdata(st); !strings.Contains(got, "sites_lost=1;;0;0;2") || !strings.Contains(got, "rpo_max=3600s") {
		t.Errorf("perfdata: %s", got)
	}
	if got := pluginText("a | b\nc"); got != "a / b c" {
		t.Errorf("%q", got)
	}
}
