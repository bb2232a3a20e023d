package nameserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func (s Server) bind(context.Context) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `options { directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; managed-keys-directory "%[1]s";
  listen-on port %[2]d { %[3]s; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; };
controls { };
`, s.Dir, s.Addr.Port(), s.Addr.Addr())
	for _, k := range s.Keys {
		fmt.Fprintf(&b, "key %q { algorithm %s; secret %q; };\n", k.name(), k.algorithm(), k.Secret)
	}
	role := "primary"
	var more []string
	switch {
	case len(s.Primaries) > 0:
		role = "secondary"
		key := ""
		if len(s.Keys) > 0 {
			key = fmt.Sprintf(" key %q", s.Keys[0].name())
		}
		list := ""
		for _, a := range s.Primaries {
			list += fmt.Sprintf("%s port %d%s; ", a.Addr(), a.Port(), key)
		}
		more = append(more, "primaries { "+list+"}", "min-retry-time 1", "max-retry-time 1", "allow-notify { 127.0.0.1; }")
	case len(s.Keys) > 0:
		more = append(more, "update-policy { "+s.bindGrants()+"}")
	}
	if s.Signs {
		more = append(more, "dnssec-policy default", "inline-signing yes")
	}
	fmt.Fprintf(&b, "zone %q { type %s; file \"zone\"; %s };\n", s.Zone, role, strings.Join(append(more, ""), "; "))
	err := s.write("named.conf", "%s", b.String())
	if role == "primary" {
		err = errors.Join(err, s.write("zone", "%s", s.zoneFile()))
	}
	return []string{"-g", "-c", s.path("named.conf")}, err
}

func (s Server) bindGrants() string {
	out := ""
	for _, k := range s.Keys {
		if len(s.Writable) == 0 {
			out += fmt.Sprintf("grant %s zonesub ANY; ", k.name())
		}
		for _, name := range s.Writable {
			out += fmt.Sprintf("grant %s name %s.%s. A AAAA CNAME TXT; ", k.name(), name, s.Zone)
		}
	}
	return out
}

func (s Server) knot(context.Context) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
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
`, s.Dir, s.Addr.Addr(), s.Addr.Port())
	zone := fmt.Sprintf("zone:\n  - domain: %[1]s\n    storage: %[2]s\n    file: zone\n    zonefile-sync: -1\n", s.Zone, s.Dir)
	var keys []string
	for i, k := range s.Keys {
		if i == 0 {
			b.WriteString("key:\n")
		}
		fmt.Fprintf(&b, "  - id: %s\n    algorithm: %s\n    secret: %s\n", k.name(), k.algorithm(), k.Secret)
		keys = append(keys, k.name())
	}
	switch {
	case len(s.Primaries) > 0:
		b.WriteString("remote:\n")
		var ids []string
		for i, a := range s.Primaries {
			fmt.Fprintf(&b, "  - id: p%d\n    address: %s@%d\n", i, a.Addr(), a.Port())
			if len(keys) > 0 {
				fmt.Fprintf(&b, "    key: %s\n", keys[0])
			}
			ids = append(ids, fmt.Sprintf("p%d", i))
		}
		b.WriteString("acl:\n  - id: notify\n    address: 127.0.0.1\n    action: notify\n")
		zone += fmt.Sprintf("    master: [%s]\n    acl: notify\n    retry-min-interval: 1s\n    retry-max-interval: 1s\n", strings.Join(ids, ", "))
	case len(keys) > 0:
		fmt.Fprintf(&b, "acl:\n  - id: updates\n    key: [%s]\n    action: [update, transfer]\n", strings.Join(keys, ", "))
		if len(s.Writable) > 0 {
			fmt.Fprintf(&b, "    update-owner: name\n    update-owner-match: equal\n    update-owner-name: [%s]\n    update-type: [A, AAAA, CNAME, TXT]\n", strings.Join(s.Writable, ", "))
		}
		zone += "    acl: updates\n    zonefile-load: difference\n    journal-content: changes\n"
	}
	switch {
	case s.Signs && len(s.Primaries) > 0:
		zone += "    dnssec-signing: on\n    zonefile-load: none\n    journal-content: all\n    serial-policy: unixtime\n"
	case s.Signs:
		zone += "    dnssec-signing: on\n"
	}
	// Without the directory of its journal Knot answers every update with SERVFAIL.
	err := errors.Join(os.MkdirAll(s.path("db"), 0o700), s.write("knot.conf", "%s%s", b.String(), zone))
	if len(s.Primaries) == 0 {
		err = errors.Join(err, s.write("zone", "%s", s.zoneFile()))
	}
	return []string{"-c", s.path("knot.conf")}, err
}

func (s Server) nsd(context.Context) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    ip-address: %[2]s@%[3]d
    port: %[3]d
    do-ip6: no
    username: ""
    chroot: ""
    zonesdir: "%[1]s"
    zonelistfile: "%[1]s/zone.list"
    database: ""
    pidfile: "%[1]s/nsd.pid"
    xfrdfile: "%[1]s/xfrd.state"
    xfrdir: "%[1]s"
    verbosity: 2
    rrl-ratelimit: 0
    xfrd-reload-timeout: 0
remote-control:
    control-enable: no
`, s.Dir, s.Addr.Addr(), s.Addr.Port())
	key := "NOKEY"
	for i, k := range s.Keys {
		fmt.Fprintf(&b, "key:\n    name: %q\n    algorithm: %s\n    secret: %q\n", k.name(), k.algorithm(), k.Secret)
		if i == 0 {
			key = k.name()
		}
	}
	fmt.Fprintf(&b, "zone:\n    name: %q\n    zonefile: \"zone\"\n", s.Zone)
	for _, a := range s.Primaries {
		fmt.Fprintf(&b, "    request-xfr: AXFR %s@%d %s\n", a.Addr(), a.Port(), key)
	}
	if len(s.Primaries) > 0 {
		b.WriteString("    allow-notify: 127.0.0.1 NOKEY\n    multi-master-check: yes\n    max-retry-time: 1\n    min-retry-time: 1\n")
	}
	err := s.write("nsd.conf", "%s", b.String())
	if len(s.Primaries) == 0 {
		err = errors.Join(err, s.write("zone", "%s", s.zoneFile()))
	}
	return []string{"-d", "-c", s.path("nsd.conf")}, err
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
	// What pdnsutil would write, in one go: each of its calls costs as much as the server's own start.
	sql := string(schema) + fmt.Sprintf("INSERT INTO domains (id, name, type) VALUES (1, '%s', 'MASTER');\n", s.Zone)
	sql += "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, 'SOA-EDIT-DNSUPDATE', 'INCREASE');\n"
	for _, k := range s.Keys {
		sql += fmt.Sprintf("INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('%s', '%s', '%s');\n", k.name(), k.algorithm(), k.Secret)
		sql += fmt.Sprintf("INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, 'TSIG-ALLOW-DNSUPDATE', '%s');\n", k.name())
	}
	if err := run(ctx, sql, "sqlite3", s.path("pdns.sqlite3")); err != nil {
		return nil, err
	}
	if err := run(ctx, "", "pdnsutil", "--config-dir="+s.Dir, "load-zone", s.Zone, s.path("zone")); err != nil {
		return nil, err
	}
	return []string{"--config-dir=" + s.Dir}, nil
}
