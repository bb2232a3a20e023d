package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// helperUnit returns the lines of a unit that are neither comments nor empty.
func helperUnit(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// TestHelperStaysInTheHostsNamespaces: an umount in a mount namespace of the
// unit's own does not reach the host, and in a network namespace of its own
// Proxmox sees no container running. systemd.exec(5) names the settings that
// make one.
func TestHelperStaysInTheHostsNamespaces(t *testing.T) {
	forbidden := []string{
		"PrivateMounts", "PrivateTmp", "PrivateDevices", "PrivateNetwork", "PrivateUsers", "PrivateIPC", "PrivatePIDs",
		"ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups",
		"ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths",
		"RootDirectory", "RootImage", "MountFlags", "MountImages", "ExtensionImages", "NetworkNamespacePath", "DynamicUser", "User", "Group", "LogNamespace",
	}
	for _, line := range helperUnit(t, "wwwd-helper.service") {
		if key, _, _ := strings.Cut(line, "="); slices.Contains(forbidden, key) {
			t.Errorf("%s: the helper would work in another namespace or as another user than the host's root", line)
		}
	}
}

func TestHelperUnitsKeepTheirLimits(t *testing.T) {
	for unit, want := range map[string][]string{
		"wwwd-helper.service": {
			"NoNewPrivileges=yes", "IPAddressDeny=any", "DevicePolicy=closed", "DeviceAllow=block-loop rw", "SystemCallArchitectures=native",
			"SystemCallFilter=@system-service umount2", "RestrictNamespaces=yes", "RestrictSUIDSGID=yes",
			"CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER",
			"ExecStart=/usr/bin/wwwd root-helper --rules /etc/www/helper.yaml", "PartOf=wwwd.service",
		},
		// wwwd.service comes after sockets.target: a socket that comes after
		// wwwd.service and is one of sockets.target would be a cycle.
		"wwwd-helper.socket": {
			"ListenStream=/run/www/helper.sock", "SocketUser=wwwd", "SocketMode=0600", "Accept=no",
			"PartOf=wwwd.service", "After=wwwd.service", "DefaultDependencies=no", "WantedBy=wwwd.service",
		},
	} {
		lines := helperUnit(t, unit)
		for _, w := range want {
			if !slices.Contains(lines, w) {
				t.Errorf("%s has no line %q", unit, w)
			}
		}
	}
}

// TestHelperUnitsAreUnderstood lets systemd read them together with the agent's.
func TestHelperUnitsAreUnderstood(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"wwwd-helper.socket", "wwwd-helper.service", "wwwd-hold-guests.service", "wwwd.service"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// verify demands that the program exists; this machine has no wwwd.
		text := strings.ReplaceAll(string(b), "/usr/bin/wwwd", self)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) || strings.Contains(string(out), "cycle") {
		t.Errorf("systemd-analyze %s: %v, want no word about the units:\n%s", strings.Join(args, " "), err, out)
	}
}
