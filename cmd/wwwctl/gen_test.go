package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
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
			t.Logf("%s is not installed", tool)
			return
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

// The rights that the snippets grant are enough: a server that was set up with
// nothing else takes the updates of the publisher.
func TestGeneratedRightsAreEnough(t *testing.T) {
	for _, kind := range []string{"bind", "knot"} {
		t.Run(kind, func(t *testing.T) {
			program := map[string]string{"bind": "named", "knot": "knotd"}[kind]
			path, err := exec.LookPath(filepath.Join("/usr/sbin", program))
			if err != nil {
				t.Skipf("%s is not installed", program)
			}
			got := wwwctl(t.Context(), "", "gen dns "+kind+" --file "+genFile(t, foreignZone))
			dir := t.TempDir()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().String()
			_, port, _ := net.SplitHostPort(addr)
			_ = l.Close()
			text := strings.NewReplacer("SECRET", genSecret, "/var/lib/bind/", dir+"/").Replace(got.out)
			args := []string{"-c", filepath.Join(dir, "conf")}
			switch kind {
			case "bind":
				text += fmt.Sprintf("options { directory %q; pid-file none; session-keyfile %q; managed-keys-directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; notify no; };\ncontrols { };\n", dir, dir+"/session.key", dir, port)
				args = append([]string{"-g"}, args...)
			case "knot":
				text += fmt.Sprintf("    storage: %[1]s\n    file: assos.example.zone\nserver:\n    listen: 127.0.0.1@%[2]s\n    rundir: %[1]s\ndatabase:\n    storage: %[1]s/db\n", dir, port)
			}
			zone := "@ 60 IN SOA ns1.assos.example. hostmaster.assos.example. 1 600 120 1209600 60\n@ 3600 IN NS ns1\nns1 3600 IN A 127.0.0.1\n"
			for name, content := range map[string]string{"conf": text, "assos.example.zone": "$ORIGIN assos.example.\n" + zone} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, args...)
			log := &strings.Builder{}
			cmd.Stdout, cmd.Stderr = log, log
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("%s says:\n%s", kind, log)
				}
			}()
			publishOnce(t, addr)
		})
	}
}

// publishOnce runs the publisher against a server until it is verified.
func publishOnce(t *testing.T, addr string) {
	t.Helper()
	spec, problems := netyaml.Parse("network.yaml", []byte(genNetwork(strings.ReplaceAll(foreignZone, "192.0.2.53", addr))))
	if spec == nil {
		t.Fatal(netyaml.Format(problems))
	}
	plain := dnsctl.NetExchanger{Dial: (&net.Dialer{}).DialContext}
	signed, err := dnsctl.NewSigningExchanger(plain, dnsctl.Key{Name: "www-updates.", Secret: genSecret}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	log := &memoryLog{state: stateOf(spec)}
	p := &dnsctl.Publisher{
		Site: network.SiteID("quai"), Log: log, Exchange: plain, Logger: slog.New(slog.DiscardHandler),
		Sign: func(string) (dnsctl.Exchanger, error) { return signed, nil },
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		<-timer.C
		next := p.Step(ctx, time.Now())
		if z := log.state.Zones["assos.example"]; z.Verified == z.Changed {
			return
		}
		timer.Reset(max(time.Millisecond, min(100*time.Millisecond, time.Until(next))))
	}
	t.Errorf("not verified: %+v", log.state.Zones["assos.example"])
}

// memoryLog is a log of one member.
type memoryLog struct{ state *failover.State }

func (l *memoryLog) Propose(_ context.Context, c failover.Command) (failover.Stamp, error) {
	s := l.state.Clone()
	st := failover.Stamp{Index: s.Index + 1, Term: 1, At: s.Clock.Add(time.Second)}
	err := s.Apply(st, c)
	l.state = s
	return st, err
}
func (l *memoryLog) State() *failover.State                        { return l.state }
func (l *memoryLog) Changed() <-chan struct{}                      { return nil }
func (l *memoryLog) Lead() (uint64, bool)                          { return 1, true }
func (l *memoryLog) Confirm(context.Context, failover.Token) error { return nil }
