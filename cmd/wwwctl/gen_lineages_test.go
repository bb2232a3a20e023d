package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGenLineages: every namespace that an entry or a job names is made before, entries
// have the names that are declared, and no job mixes or drops what it brings.
func TestGenLineages(t *testing.T) {
	const example = "../../deploy/examples/network.yaml"
	got := wwwctl(t.Context(), "", "gen lineages quai --file "+example)
	if got.code != exitOK {
		t.Fatalf("exit code %d: %s", got.code, got.errOut)
	}
	made := map[string]bool{}
	jobs, prunes, entries := 0, 0, 0
	namespace := regexp.MustCompile(` --(?:ns|namespace) (\S+)`)
	for line := range strings.Lines(got.out) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "proxmox-backup-client namespace create "):
			made[f[3]] = true
			if parent, _, ok := strings.Cut(f[3], "/"); ok && !made[parent] {
				t.Errorf("%s is made before %s", f[3], parent)
			}
		case strings.HasPrefix(line, "proxmox-backup-manager sync-job create "):
			jobs++
			ns := namespace.FindStringSubmatch(line)[1]
			if !made[ns] || !strings.Contains(line, " --remote-ns "+ns+" ") || !strings.Contains(line, " --remove-vanished false ") || !strings.Contains(line, " --schedule hourly") || len(f[3]) > 32 {
				t.Errorf("job %s", line)
			}
		case strings.HasPrefix(line, "proxmox-backup-manager prune-job create "):
			prunes++
			if ns := namespace.FindStringSubmatch(line)[1]; !made[ns] || strings.Contains(line, "max-depth") {
				t.Errorf("prune %s", line)
			}
		case strings.HasPrefix(line, "pvesm add pbs "):
			entries++
			if ns := namespace.FindStringSubmatch(line)[1]; !made[ns] || f[3] != "pbs-"+strings.ReplaceAll(ns, "/", "-") {
				t.Errorf("entry %s", line)
			}
		case f[0] != "#":
			t.Errorf("line %q", line)
		}
	}
	if entries != 6 || jobs != 8 {
		t.Errorf("%d entries and %d jobs, want 6 (two homes and that of its structure, away and sealed) and 8 (from two sites, of two homes each)", entries, jobs)
	}
	if prunes != 2 {
		t.Errorf("%d prune jobs, want those of away and sealed", prunes)
	}
	if want := "lineages: {fabrique: {away: pbs-away-fabrique, sealed: pbs-sealed-fabrique}, moulin: {away: pbs-away-moulin, sealed: pbs-sealed-moulin}}"; !strings.Contains(got.out, want) {
		t.Errorf("%s\nlacks %s", got.out, want)
	}
	if got := wwwctl(t.Context(), "", "gen lineages halle --file "+example); got.code != exitFailure || !strings.Contains(got.errOut, "receives guests") {
		t.Errorf("a site that receives no guests: exit code %d, %q", got.code, got.errOut)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "network.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "away: pbs-away-moulin", "away: own-name")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := wwwctl(t.Context(), "", "gen lineages quai --file "+file); !strings.Contains(got.out, "pvesm add pbs own-name ") {
		t.Errorf("%s\nlacks the declared entry own-name", got.out)
	}
}
