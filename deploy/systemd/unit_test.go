// Package systemd_test checks the unit of the agent: that it gives up what the
// agent does not need, and keeps what it does.
package systemd_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const unitFile = "wwwd.service"

// worstExposure is what `systemd-analyze security` may say at most: 0 is
// locked up, 10 is open. It counts what a broken agent could reach.
const worstExposure = 1.5

// readUnit returns the values of each key of the unit, in their order.
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			out[key] = append(out[key], value)
		}
	}
	return out
}

// tool finds a program that a test needs. Its absence skips the test, but not
// where everything has to be checked.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed, and CI=true demands it", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func TestUnitKeepsWhatTheAgentNeeds(t *testing.T) {
	unit := readUnit(t)
	words := func(key string) []string { return strings.Fields(strings.Join(unit[key], " ")) }
	for _, c := range []struct {
		key, why string
		need     []string
	}{
		{"RestrictAddressFamilies", "mesh, probes and DNS; wwwctl's socket and sd_notify", []string{"AF_INET", "AF_INET6", "AF_UNIX"}},
		{"AmbientCapabilities", "DNS on port 53 without root", []string{"CAP_NET_BIND_SERVICE"}},
		{"CapabilityBoundingSet", "a capability outside the bounding set is not granted", []string{"CAP_NET_BIND_SERVICE"}},
		{"StateDirectory", "/var/lib/www must be writable under ProtectSystem=strict", []string{"www"}},
		{"RuntimeDirectory", "/run/www must be writable under ProtectSystem=strict", []string{"www"}},
		{"SystemCallFilter", "the calls of an ordinary service", []string{"@system-service"}},
		{"SystemCallErrorNumber", "a refused call must not kill the agent", []string{"EPERM"}},
		{"Type", "the agent says READY=1 itself", []string{"notify"}},
		{"ExecReload", "systemctl reload refuses a bad file, then asks the agent", []string{"check", "-HUP", "$MAINPID"}},
		{"Restart", "a stopped agent is a vote less", []string{"always"}},
		{"StartLimitIntervalSec", "systemd must never give up", []string{"0"}},
	} {
		for _, want := range c.need {
			if got := words(c.key); !slices.Contains(got, want) {
				t.Errorf("%s=%v, want %s in it: %s", c.key, got, want, c.why)
			}
		}
	}
	for key, why := range map[string]string{
		"PrivateNetwork": "the agent lives on the network",
		"PrivateUsers":   "CAP_NET_BIND_SERVICE of another user namespace opens no port of the host",
		"IPAddressDeny":  "public names and anchors may be anywhere",
		"DynamicUser":    "the data directory belongs to one account for good",
	} {
		if got, ok := unit[key]; ok {
			t.Errorf("%s=%v is set: %s", key, got, why)
		}
	}
	if got := strings.Join(unit["User"], ""); got == "" || got == "root" || got == "0" {
		t.Errorf("User=%q, want an account that is not root", got)
	}
}

func TestUnitExposureIsSmall(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", unitFile).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for wwwd\.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security told no exposure level:\n%s", out)
	}
	got, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	if got > worstExposure {
		t.Errorf("exposure %.1f, want at most %.1f; what is open:", got, worstExposure)
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "✗") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// TestUnitIsUnderstood lets systemd read the unit: it ignores a key that it
// does not know, and so would the unit's author.
func TestUnitIsUnderstood(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// verify demands that the program exists; this machine has no wwwd.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^(Exec\w+=)/usr/bin/wwwd`)
	if !start.Match(text) {
		t.Fatal("the unit starts no wwwd")
	}
	copied := filepath.Join(t.TempDir(), unitFile)
	if err := os.WriteFile(copied, start.ReplaceAll(text, []byte("${1}"+self)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", copied).CombinedOutput()
	if err != nil || strings.Contains(string(out), copied) {
		t.Errorf("systemd-analyze verify: %v, want no word about the unit:\n%s", err, out)
	}
}
