// Package nameserver prepares real DNS servers of Debian's packages (BIND,
// Knot, NSD, PowerDNS) for one zone: as a primary that takes signed updates, as
// a secondary of several primaries, or with a zone that stays as it is. Each
// runs on a loopback address, unprivileged, with everything in one directory.
package nameserver

import (
	"cmp"
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

// Kinds are the servers that can be a primary which takes updates. NSD can be
// a secondary, or serve a zone that stays.
func Kinds() []string { return []string{"bind", "knot", "powerdns"} }

// Server is one server of one zone.
type Server struct {
	Kind string // of Kinds, or nsd
	Dir  string // empty, and the server's alone
	Addr netip.AddrPort
	Zone string // without the final dot
	// Records are the first content of the zone, as lines of a zone file without the SOA; Text is all of it.
	Records, Text string
	// Keys may update the zone, and transfer it. A secondary fetches with the first one. Without a key nobody may.
	Keys []Key
	// Primaries make the server a secondary. It believes a NOTIFY from loopback.
	Primaries []netip.AddrPort
	// Signs: it signs the zone (DNSSEC), on its way from the primaries if it has any.
	Signs bool
	// Writable are the only names, relative to the zone, that the keys may write (A, AAAA, CNAME, TXT); none: all.
	// PowerDNS does not know such rights.
	Writable []string
}

// Key is a TSIG key.
type Key struct{ Name, Algorithm, Secret string } // hmac-sha256 for ""; the secret in base64

func (k Key) algorithm() string { return cmp.Or(k.Algorithm, "hmac-sha256") }

func (k Key) name() string { return strings.TrimSuffix(k.Name, ".") }

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
	case "nsd":
		return []Missing{{"nsd", "nsd"}}
	default:
		return []Missing{{"pdns_server", "pdns-server"}, {"pdnsutil", "pdns-server"}, {"sqlite3", "sqlite3"}}
	}
}

// Check says whether the programs of a kind are installed; the error is *Missing.
func Check(kind string) error {
	if kind != "nsd" && !slices.Contains(Kinds(), kind) {
		return fmt.Errorf("DNS server %q: want one of %s, nsd", kind, strings.Join(Kinds(), ", "))
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
	switch {
	case s.Kind == "nsd" && (len(s.Primaries) == 0 && len(s.Keys) > 0 || s.Signs):
		return nil, errors.New("prepare nsd: it takes no updates and signs nothing")
	case s.Kind == "powerdns" && (len(s.Primaries) > 0 || s.Signs || len(s.Writable) > 0):
		return nil, errors.New("prepare powerdns: it is prepared only as a primary whose keys may write every name")
	}
	prepare := map[string]func(context.Context) ([]string, error){"bind": s.bind, "knot": s.knot, "nsd": s.nsd, "powerdns": s.powerDNS}[s.Kind]
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
	if s.Text != "" {
		return s.Text
	}
	return fmt.Sprintf("$ORIGIN %[1]s.\n@ 60 IN SOA ns1.%[1]s. hostmaster.%[1]s. 1 600 120 1209600 60\n%[2]s", s.Zone, s.Records)
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
