// Package nameserver prepares real DNS servers of Debian's packages (BIND,
// Knot, PowerDNS) as primaries that take signed updates of one zone: on a
// loopback address, unprivileged, with everything in one directory.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Kinds are the servers that can be prepared.
func Kinds() []string { return []string{"bind", "knot", "powerdns"} }

// Server is one primary.
type Server struct {
	Kind string // of Kinds
	Dir  string // empty, and the server's alone
	Addr netip.AddrPort
	Zone string // without the final dot
	// Records are the first content of the zone, as lines of a zone file without the SOA.
	Records     string
	Key, Secret string // TSIG, hmac-sha256; the secret in base64
}

// Missing is a program that is not installed.
type Missing struct{ Program, Package string }

// Error names the package that brings the program.
func (m *Missing) Error() string {
	return fmt.Sprintf("program %s is not installed: apt-get install --no-install-recommends %s", m.Program, m.Package)
}

// programs are what each kind needs; the first is the server.
func programs(kind string) []Missing {
	switch kind {
	case "bind":
		return []Missing{{"named", "bind9"}}
	case "knot":
		return []Missing{{"knotd", "knot"}}
	default:
		return []Missing{{"pdns_server", "pdns-server"}, {"pdnsutil", "pdns-server"}, {"sqlite3", "sqlite3"}}
	}
}

// Check says whether the programs of a kind are installed; the error is *Missing.
func Check(kind string) error {
	if !slices.Contains(Kinds(), kind) {
		return fmt.Errorf("DNS server %q: want one of %s", kind, strings.Join(Kinds(), ", "))
	}
	for _, p := range programs(kind) {
		if _, err := find(p.Program); err != nil {
			return &p
		}
	}
	return nil
}

// find looks for a program where Debian installs servers, too, which is not on
// every user's path.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", program))
}

// Command writes the server's files and returns the command that runs it in
// the foreground.
func (s Server) Command(ctx context.Context) (*exec.Cmd, error) {
	if err := Check(s.Kind); err != nil {
		return nil, err
	}
	prepare := map[string]func(context.Context) ([]string, error){"bind": s.bind, "knot": s.knot, "powerdns": s.powerDNS}[s.Kind]
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", s.Kind, err)
	}
	args, err := prepare(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", s.Kind, err)
	}
	program, err := find(programs(s.Kind)[0].Program)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", s.Kind, err)
	}
	return exec.Command(program, args...), nil
}

func (s Server) path(name string) string { return filepath.Join(s.Dir, name) }

func (s Server) write(name, format string, args ...any) error {
	return os.WriteFile(s.path(name), fmt.Appendf(nil, format, args...), 0o600)
}

// zoneFile is the zone before its first update.
func (s Server) zoneFile() string {
	return fmt.Sprintf("$ORIGIN %[1]s.\n@ 60 IN SOA ns1.%[1]s. hostmaster.%[1]s. 1 600 120 1209600 60\n%[2]s", s.Zone, s.Records)
}

func (s Server) bind(context.Context) ([]string, error) {
	err := errors.Join(s.write("zone", "%s", s.zoneFile()), s.write("named.conf", `options { directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; managed-keys-directory "%[1]s";
  listen-on port %[2]d { %[3]s; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; };
controls { };
key "%[4]s" { algorithm hmac-sha256; secret "%[5]s"; };
zone "%[6]s" { type primary; file "zone"; update-policy { grant %[4]s zonesub ANY; }; };
`, s.Dir, s.Addr.Port(), s.Addr.Addr(), s.Key, s.Secret, s.Zone))
	return []string{"-g", "-c", s.path("named.conf")}, err
}

func (s Server) knot(context.Context) ([]string, error) {
	// Without the directory of its journal Knot answers every update with SERVFAIL.
	err := errors.Join(os.MkdirAll(s.path("db"), 0o700), s.write(s.Zone+".zone", "%s", s.zoneFile()), s.write("knot.conf", `server:
    listen: %[2]s@%[3]d
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
  - id: %[4]s
    algorithm: hmac-sha256
    secret: %[5]s
acl:
  - id: updates
    key: %[4]s
    action: [update, transfer]
template:
  - id: default
    storage: %[1]s
    file: "%%s.zone"
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: changes
zone:
  - domain: %[6]s
    acl: updates
`, s.Dir, s.Addr.Addr(), s.Addr.Port(), s.Key, s.Secret, s.Zone))
	return []string{"-c", s.path("knot.conf")}, err
}

func (s Server) powerDNS(ctx context.Context) ([]string, error) {
	server, err := find("pdns_server")
	if err != nil {
		return nil, err
	}
	prefix := filepath.Dir(filepath.Dir(server))
	schema, err := os.ReadFile(filepath.Join(prefix, "share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"))
	if err != nil {
		return nil, &Missing{"pdns-backend-sqlite3", "pdns-backend-sqlite3"}
	}
	modules, err := filepath.Glob(filepath.Join(prefix, "lib/*/pdns"))
	if err != nil || len(modules) == 0 {
		return nil, &Missing{"pdns-backend-sqlite3", "pdns-backend-sqlite3"}
	}
	err = errors.Join(s.write("zone", "%s", s.zoneFile()), s.write("pdns.conf", `launch=gsqlite3
gsqlite3-database=%[1]s/pdns.sqlite3
gsqlite3-pragma-synchronous=0
module-dir=%[4]s
local-address=%[2]s
local-port=%[3]d
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
`, s.Dir, s.Addr.Addr(), s.Addr.Port(), modules[0]))
	if err != nil {
		return nil, err
	}
	if err := run(ctx, string(schema), "sqlite3", s.path("pdns.sqlite3")); err != nil {
		return nil, err
	}
	key := strings.TrimSuffix(s.Key, ".")
	for _, args := range [][]string{
		{"load-zone", s.Zone, s.path("zone")},
		{"import-tsig-key", key, "hmac-sha256", s.Secret},
		{"set-kind", s.Zone, "primary"},
		{"set-meta", s.Zone, "TSIG-ALLOW-DNSUPDATE", key},
		{"set-meta", s.Zone, "SOA-EDIT-DNSUPDATE", "INCREASE"},
	} {
		if err := run(ctx, "", "pdnsutil", append([]string{"--config-dir=" + s.Dir}, args...)...); err != nil {
			return nil, err
		}
	}
	return []string{"--config-dir=" + s.Dir}, nil
}

func run(ctx context.Context, stdin, program string, args ...string) error {
	path, err := find(program)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
