package dnsctl_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// primary is a real DNS server that accepts signed updates of failover.test.
type primary struct {
	name string
	// binaries have to be installed; the first is run with args.
	binaries []string
	prepare  func(t *testing.T, dir, port string) (args []string)
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// primaries are the servers with the least configuration that works.
func primaries() []primary {
	return []primary{
		{"bind", []string{"named"}, func(t *testing.T, dir, port string) []string {
			write(t, dir, "failover.test.zone", mainZone().String())
			return []string{"-g", "-c", write(t, dir, "named.conf", fmt.Sprintf(`
options { directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; managed-keys-directory "%[1]s";
  listen-on port %[2]s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; };
controls { };
key "ww-key." { algorithm hmac-sha256; secret "%[3]s"; };
zone "failover.test" { type primary; file "failover.test.zone"; update-policy { grant ww-key. zonesub ANY; }; };
`, dir, port, secret))}
		}},
		{"knot", []string{"knotd"}, func(t *testing.T, dir, port string) []string {
			write(t, dir, "failover.test.zone", mainZone().String())
			if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil { // without it every update is SERVFAIL
				t.Fatal(err)
			}
			return []string{"-c", write(t, dir, "knot.conf", fmt.Sprintf(`
server:
    listen: 127.0.0.1@%[2]s
    rundir: %[1]s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[1]s/db
log:
  - target: stderr
    any: info
key:
  - id: ww-key.
    algorithm: hmac-sha256
    secret: %[3]s
acl:
  - id: upd
    address: 127.0.0.1
    key: ww-key.
    action: [update, transfer]
template:
  - id: default
    storage: %[1]s
    file: "%%s.zone"
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: changes
zone:
  - domain: failover.test
    acl: upd
`, dir, port, secret))}
		}},
		{"powerdns", []string{"pdns_server", "pdnsutil", "sqlite3"}, preparePowerDNS},
	}
}

func preparePowerDNS(t *testing.T, dir, port string) []string {
	server, err := exec.LookPath("pdns_server")
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Dir(filepath.Dir(server))
	sql, err := os.ReadFile(filepath.Join(prefix, "share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"))
	modules, _ := filepath.Glob(filepath.Join(prefix, "lib/*/pdns"))
	if err != nil || len(modules) == 0 {
		t.Skipf("powerdns: its sqlite back end is not installed: %v", err)
	}
	run := func(stdin, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run(string(sql), "sqlite3", filepath.Join(dir, "pdns.sqlite3"))
	write(t, dir, "pdns.conf", fmt.Sprintf(`launch=gsqlite3
gsqlite3-database=%[1]s/pdns.sqlite3
gsqlite3-pragma-synchronous=0
local-address=127.0.0.1
local-port=%[2]s
socket-dir=%[1]s
daemon=no
guardian=no
disable-syslog=yes
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
allow-axfr-ips=
security-poll-suffix=
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
module-dir=%[3]s
`, dir, port, modules[0]))
	zone := write(t, dir, "zone.txt", mainZone().String())
	for _, args := range [][]string{
		{"load-zone", "failover.test", zone},
		{"import-tsig-key", "ww-key", "hmac-sha256", secret},
		{"set-kind", "failover.test", "primary"},
		{"set-meta", "failover.test", "TSIG-ALLOW-DNSUPDATE", "ww-key"},
		{"set-meta", "failover.test", "SOA-EDIT-DNSUPDATE", "INCREASE"},
	} {
		run("", "pdnsutil", append([]string{"--config-dir=" + dir}, args...)...)
	}
	return []string{"--config-dir=" + dir}
}

// run starts the server for the length of the test and returns its address; it skips the test by the server's name
// where that is not installed.
func (p primary) run(t *testing.T) string {
	t.Helper()
	for _, b := range p.binaries {
		if _, err := exec.LookPath(b); err != nil {
			t.Skipf("%s: %s is not installed", p.name, b)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command(p.binaries[0], p.prepare(t, dir, port)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("%s says:\n%s", p.name, log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		r, err := dialer().Exchange(once, addr, question("failover.test.", dns.TypeSOA))
		cancel()
		if err == nil && len(r.Answer) == 1 {
			return addr
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", p.name, err)
		case <-exited:
			t.Fatalf("%s ended at once", p.name)
		case <-tick.C:
		}
	}
}

func signer(t testing.TB, key dnsctl.Key, skew time.Duration) *dnsctl.SigningExchanger {
	t.Helper()
	s, err := dnsctl.NewSigningExchanger(dialer(), key, func() time.Time { return time.Now().Add(skew) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
