package dnsctl_test

import (
	"bytes"
	"context"
	"errors"
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
	prepare  func(t testing.TB, dir, port string) (args []string)
}

func write(t testing.TB, dir, name, content string) string {
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
		{"bind", []string{"named"}, func(t testing.TB, dir, port string) []string {
			write(t, dir, "failover.test.zone", mainZone().String())
			return []string{"-g", "-c", write(t, dir, "named.conf", fmt.Sprintf(`
options { directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; managed-keys-directory "%[1]s";
  listen-on port %[2]s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; };
controls { };
key "ww-key." { algorithm hmac-sha256; secret "%[3]s"; };
zone "failover.test" { type primary; file "failover.test.zone"; update-policy { grant ww-key. zonesub ANY; }; };
`, dir, port, secret))}
		}},
		{"knot", []string{"knotd"}, func(t testing.TB, dir, port string) []string {
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

// signingPrimaries sign the zone themselves (DNSSEC). The client sees another serial there than the one that updates
// raise, so that a comparison of the SOA could never succeed.
func signingPrimaries() []primary {
	bind, knot := primaries()[0], primaries()[1]
	change := func(p primary, file string, replace ...string) primary {
		inner := p.prepare
		p.prepare = func(t testing.TB, dir, port string) []string {
			args := inner(t, dir, port)
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, file, strings.NewReplacer(replace...).Replace(string(text)))
			return args
		}
		return p
	}
	bind = change(bind, "named.conf", `file "failover.test.zone";`, `file "failover.test.zone"; dnssec-policy default; inline-signing yes;`)
	knot = change(knot, "knot.conf", "    acl: upd\n", "    acl: upd\n    dnssec-signing: on\n")
	bind.name, knot.name = "bind-inline-signing", "knot-signing"
	return []primary{bind, knot}
}

func preparePowerDNS(t testing.TB, dir, port string) []string {
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
func (p primary) run(t *testing.T) string { return p.launch(t, "failover.test.").addr }

// start is run for a server of another zone.
func (p primary) start(t *testing.T, zone string) string { return p.launch(t, zone).addr }

// realServer is a process that can be killed and started again with what it has on disk.
type realServer struct {
	primary
	addr, zone string
	args       []string
	log        bytes.Buffer // read when the process has ended only
	cmd        *exec.Cmd
	exited     chan struct{}
}

// launch starts a server on a free port; a port that somebody takes in between costs another attempt.
func (p primary) launch(t testing.TB, zone string) *realServer {
	t.Helper()
	for _, b := range p.binaries {
		if _, err := exec.LookPath(b); err != nil {
			t.Skipf("%s: %s is not installed", p.name, b)
		}
	}
	s := &realServer{primary: p, zone: zone}
	t.Cleanup(func() {
		s.end(syscall.SIGTERM) // NSD has children of its own, which it ends then
		if t.Failed() {
			t.Logf("%s says:\n%s", p.name, s.log.String()[max(0, s.log.Len()-4000):])
		}
	})
	var err error
	for range 3 {
		l, lerr := net.Listen("tcp", "127.0.0.1:0")
		if lerr != nil {
			t.Fatal(lerr)
		}
		s.addr = l.Addr().String()
		_ = l.Close()
		_, port, _ := net.SplitHostPort(s.addr)
		s.args = p.prepare(t, t.TempDir(), port)
		if err = s.up(t); err == nil {
			return s
		}
		s.end(syscall.SIGKILL)
	}
	t.Fatalf("%s: %v", p.name, err)
	return nil
}

// end ends the process and waits for it.
func (s *realServer) end(how syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(how)
	grace := time.NewTimer(3 * time.Second)
	defer grace.Stop()
	select {
	case <-s.exited:
	case <-grace.C:
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// up starts the process and waits until it answers for its zone.
func (s *realServer) up(t testing.TB) error {
	t.Helper()
	cmd := exec.Command(s.binaries[0], s.args...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	s.cmd, s.exited = cmd, exited
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		r, err := dialer().Exchange(once, s.addr, question(s.zone, dns.TypeSOA))
		cancel()
		if err == nil && len(r.Answer) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-exited:
			return errors.New("ended at once")
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
