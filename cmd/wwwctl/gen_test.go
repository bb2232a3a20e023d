package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const genSecret = "c2VjcmV0LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="

// genNetwork is a network file with one zone.
func genNetwork(zone string) string {
	return `network: assos
zones:
  assos.example: ` + zone + `
sites:
  moulin:
    kind: brique
    mesh: 10.77.1.1
    public: {ipv4: 203.0.113.17}
    dns: 203.0.113.17
    hosts:
      pve-moulin: {owner: raoull, pve: {url: "https://10.10.1.20:8006", node: pve-moulin}, pbs: {url: "https://10.10.1.20:8007", datastore: backups}}
  quai:
    kind: witness
    mesh: 10.77.2.1
    dns: 198.51.100.17
structures:
  le-moulin: {home: moulin, vlan: 120}
guests:
  nuage: {id: 1101, type: vm, structure: le-moulin, host: pve-moulin, names: [nuage.assos.example]}
`
}

func genFile(t *testing.T, zone string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "network.yaml")
	if err := os.WriteFile(path, []byte(genNetwork(zone)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	foreignZone  = `{backend: rfc2136, primaries: ["192.0.2.53"], key: www-updates}`
	embeddedZone = `{secondaries: [192.0.2.53], transfer_key: www-transfer, records: [{name: "@", type: NS, data: ns1.provider.example.}, {name: "@", type: NS, data: ns1.assos.example.}, {name: ns1, type: A, data: 192.0.2.53}]}`
)

// checkConfig has a server's own checker read a configuration.
func checkConfig(t *testing.T, tool, config string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if path, err = exec.LookPath(filepath.Join("/usr/sbin", tool)); err != nil {
			absent(t, fmt.Errorf("%s is not installed", tool))
		}
	}
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "SECRET", genSecret)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "FILE", file)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", tool, err, out, config)
	}
}

func TestGeneratedConfigurationIsReadByItsServers(t *testing.T) {
	for _, tt := range []struct{ kind, zone string }{
		{"bind", foreignZone},
		{"bind", embeddedZone},
		{"knot", foreignZone},
		{"knot", embeddedZone},
		{"nsd", embeddedZone},
		{"bind", "{secondaries: [192.0.2.53]}"},
		{"knot", "{secondaries: [192.0.2.53]}"},
		{"nsd", "{secondaries: [192.0.2.53]}"},
	} {
		got := wwwctl(t.Context(), "", "gen dns "+tt.kind+" --file "+genFile(t, tt.zone))
		if got.code != exitOK {
			t.Errorf("%s: exit code %d: %s", tt.kind, got.code, got.errOut)
			continue
		}
		switch tt.kind {
		case "bind":
			checkConfig(t, "named-checkconf", got.out, "FILE")
		case "knot":
			checkConfig(t, "knotc", got.out, "-c", "FILE", "conf-check")
		case "nsd":
			checkConfig(t, "nsd-checkconf", "server:\n    username: \"\"\n"+got.out, "FILE")
		}
	}
}

func TestGenRegistrarAndRefusals(t *testing.T) {
	for _, tt := range []struct {
		line, zone string
		code       int
		want       string
	}{
		{"gen dns registrar", embeddedZone, exitOK, "assos.example. 3600 IN NS ns1.provider.example."},
		{"gen dns registrar", embeddedZone, exitOK, "ns1.assos.example. 60 IN A 192.0.2.53   ; glue"},
		{"gen dns registrar", foreignZone, exitOK, "changes nothing there"},
		{"gen dns powerdns", foreignZone, exitOK, "pdnsutil set-meta assos.example TSIG-ALLOW-DNSUPDATE www-updates"},
		{"gen dns nsd", foreignZone, exitFailure, "takes no updates"},
		{"gen dns powerdns", foreignZone, exitOK, "allow-dnsupdate-from=10.77.1.1,203.0.113.17,10.77.2.1\n"},
		{"gen dns powerdns", foreignZone, exitOK, "! quai: the address is not declared"},
		{"gen dns nsd", embeddedZone, exitOK, "# outgoing-interface:"},
		{"gen dns powerdns", embeddedZone, exitFailure, "knot, nsd or bind"},
		{"gen dns bind other.example", embeddedZone, exitFailure, "no such zone"},
		{"gen dns djbdns", embeddedZone, exitUsage, "bind, knot, nsd, powerdns, registrar"},
		{"gen", embeddedZone, exitUsage, "registrar"},
	} {
		got := wwwctl(t.Context(), "", tt.line+" --file "+genFile(t, tt.zone))
		if got.code != tt.code || !strings.Contains(got.out+got.errOut, tt.want) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s%s", tt.line, got.code, tt.code, tt.want, got.out, got.errOut)
		}
	}
	socket := agentOf(t, newBackend(t))
	if got := wwwctl(t.Context(), socket, "gen dns registrar"); got.code != exitOK || !strings.Contains(got.out, "203.0.113.17") {
		t.Errorf("of the network in force: exit code %d: %s%s", got.code, got.out, got.errOut)
	}
}
