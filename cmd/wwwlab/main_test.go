package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandLines(t *testing.T) {
	empty, foreign := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	for _, name := range []string{"wwwd", "wwwctl"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/false\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bins := []string{"--wwwd", filepath.Join(programs, "wwwd"), "--wwwctl", filepath.Join(programs, "wwwctl")}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":                 {nil, exitUsage, "wwwlab up"},
		"help":                    {[]string{"help"}, exitOK, "wwwlab demo"},
		"unknown command":         {[]string{"explode"}, exitUsage, `no command "explode"`},
		"unknown flag":            {[]string{"up", "--colour"}, exitUsage, "-colour"},
		"stray argument":          {[]string{"up", "moulin"}, exitUsage, "too many arguments"},
		"too few sites":           {[]string{"up", "--sites", "2"}, exitUsage, "3 to 18"},
		"sites that is no number": {[]string{"up", "--sites", "x"}, exitUsage, "invalid value"},
		"kill nobody":             {[]string{"kill"}, exitUsage, "missing"},
		"no network there":        {[]string{"kill", "moulin", "--dir", empty}, exitFailed, "no network runs"},
		"down without a network":  {[]string{"down", "--dir", empty}, exitFailed, "no network runs"},
		"somebody's directory":    {append([]string{"up", "--dir", foreign}, bins...), exitFailed, "choose another --dir"},
		"missing programs":        {[]string{"up", "--dir", empty, "--wwwd", "/nonexistent", "--wwwctl", "/nonexistent"}, exitFailed, "make build"},
		"demo of an unknown site": {[]string{"demo", "--kill", "paris"}, exitUsage, "moulin"},
		"demo with another DNS":   {[]string{"demo", "--dns", "djbdns"}, exitUsage, "embedded, bind, knot"},
		"no runs":                 {[]string{"bench", "--runs", "0"}, exitUsage, "at least one"},
		"chaos in no time":        {[]string{"chaos", "--minutes", "-1"}, exitUsage, "must not be negative"},
		"chaos of a moment":       {[]string{"chaos", "--round", "1s"}, exitUsage, "10s at least"},
		"chaos without programs":  {[]string{"chaos", "--dir", empty, "--wwwd", "/nonexistent"}, exitFailed, "make build"},
		"release that is no more": {[]string{"up", "--dir", empty, "--pve", "7.4"}, exitUsage, "8.4 to 9.x"},
		"demo of no release":      {[]string{"demo", "--pbs", "new"}, exitUsage, "MAJOR.MINOR"},
		"fault without effect":    {[]string{"fault", "add", "quai", "--dir", empty}, exitUsage, "effect"},
		"fault of another verb":   {[]string{"fault", "mend", "quai", "--dir", empty}, exitUsage, "mend"},
		"site without a lab":      {[]string{"site", "--dir", empty, "--site", "moulin"}, exitFailed, "load lab"},
		"logs of nobody":          {[]string{"logs", "moulin", "--dir", empty}, exitFailed, "read log"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, complaint bytes.Buffer
			if got := run(t.Context(), test.args, &out, &complaint); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
			if !strings.Contains(complaint.String(), test.says) {
				t.Errorf("says %q, want something with %q", complaint.String(), test.says)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(foreign, "thesis.txt")); err != nil || string(b) != "mine" {
		t.Errorf("the foreign directory was touched: %q, %v", b, err)
	}
	if entries, err := os.ReadDir(foreign); err != nil || len(entries) != 1 {
		t.Errorf("the foreign directory holds %v, %v; want it as it was", entries, err)
	}
}

// TestDemo builds the programs and shows the demo for real. It takes a minute.
func TestDemo(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("takes a minute: set WWW_E2E=1")
	}
	bins := build(t)
	for _, victim := range []string{"", "temoin"} {
		args := []string{"demo", "--json"}
		if victim != "" {
			args = append(args, "--kill", victim)
		}
		cmd := exec.CommandContext(t.Context(), bins.lab, args...)
		var out, progress bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &progress
		if err := cmd.Run(); err != nil {
			t.Fatalf("wwwlab %v: %v\n%s", args, err, progress.String())
		}
		if got := strings.Count(out.String(), "\n"); got != 1 {
			t.Errorf("wwwlab %v prints %d lines on standard output, want 1:\n%s", args, got, out.String())
		}
		var r report
		dec := json.NewDecoder(&out)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		moved := victim == ""
		if !r.OK || !r.DNS || (len(r.Guests) >= 3) != moved || (r.Committed != nil) != moved {
			t.Errorf("wwwlab %v: %+v", args, r)
		}
	}
}

func TestFaultEffectsListsTheCatalogue(t *testing.T) {
	for _, args := range [][]string{{"fault", "effects"}, {"fault", "--dir", "none", "effects"}, {"fault", "effects", "--dir", "none"}} {
		var out, complaint bytes.Buffer
		if code := run(t.Context(), args, &out, &complaint); code != exitOK {
			t.Fatalf("wwwlab %v: exit code %d: %s", args, code, complaint.String())
		}
		for _, e := range lab.Effects() {
			if !strings.Contains(out.String(), "\n"+string(e)+" ") {
				t.Errorf("wwwlab %v: no effect %s in:\n%s", args, e, out.String())
			}
		}
	}
}
