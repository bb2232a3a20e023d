package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// absent skips a test whose program is not installed; under CI everything has to be.
func absent(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// freePort is a port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// generated is what wwwctl prints for a server, with the secret filled in and
// with the server's own directories moved.
func generated(t *testing.T, kind, file, dir string) string {
	t.Helper()
	got := wwwctl(t.Context(), "", "gen dns "+kind+" --file "+file)
	if got.code != exitOK {
		t.Fatalf("exit code %d: %s", got.code, got.errOut)
	}
	return strings.NewReplacer("SECRET", genSecret, "/var/lib/bind/", dir+"/", "/var/cache/bind/", dir+"/").Replace(got.out)
}

// around adds to a generated snippet what a server of Debian has in its own
// configuration, and returns the program's arguments.
func around(kind, snippet, dir string, addr netip.AddrPort) (text string, args []string) {
	conf := filepath.Join(dir, "conf")
	switch kind {
	case "bind":
		return snippet + fmt.Sprintf("options { directory %[1]q; pid-file none; session-keyfile \"%[1]s/session.key\"; managed-keys-directory %[1]q; listen-on port %[2]d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; notify no; };\ncontrols { };\n",
			dir, addr.Port()), []string{"-g", "-c", conf}
	case "knot":
		return snippet + fmt.Sprintf("    storage: %[1]s\n    file: assos.example.zone\nserver:\n    listen: %[2]s@%[3]d\n    rundir: %[1]s\ndatabase:\n    storage: %[1]s/db\n",
			dir, addr.Addr(), addr.Port()), []string{"-c", conf}
	default:
		return fmt.Sprintf("server:\n    ip-address: %[2]s@%[3]d\n    port: %[3]d\n    do-ip6: no\n    username: \"\"\n    chroot: \"\"\n    zonesdir: %[1]q\n    zonelistfile: \"%[1]s/zone.list\"\n    database: \"\"\n    pidfile: \"%[1]s/nsd.pid\"\n    xfrdfile: \"%[1]s/xfrd.state\"\n    xfrdir: %[1]q\nremote-control:\n    control-enable: no\n",
			dir, addr.Addr(), addr.Port()) + snippet, []string{"-d", "-c", conf}
	}
}

// runServer starts a server until the test ends.
func runServer(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s says:\n%s", cmd.Path, log)
		}
	})
}

// runSnippet starts a server of Debian with a generated configuration.
func runSnippet(t *testing.T, kind, file string) netip.AddrPort {
	t.Helper()
	if missing := nameserver.Check(kind); missing != nil {
		absent(t, missing)
	}
	path, err := exec.LookPath(map[string]string{"bind": "/usr/sbin/named", "knot": "/usr/sbin/knotd", "nsd": "/usr/sbin/nsd"}[kind])
	if err != nil {
		absent(t, err)
	}
	dir, addr := t.TempDir(), freePort(t)
	text, args := around(kind, generated(t, kind, file, dir), dir, addr)
	zone := "$ORIGIN assos.example.\n@ 60 IN SOA ns1.assos.example. hostmaster.assos.example. 1 600 120 1209600 60\n@ 3600 IN NS ns1\nns1 3600 IN A 127.0.0.1\n"
	err = errors.Join(os.WriteFile(filepath.Join(dir, "conf"), []byte(text), 0o600), os.Mkdir(filepath.Join(dir, "db"), 0o700))
	if strings.Contains(text, "update") {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "assos.example.zone"), []byte(zone), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	runServer(t, exec.Command(path, args...))
	return addr
}

// The rights that the snippets grant are enough: a server that was set up with
// nothing else takes the updates of the publisher.
func TestGeneratedRightsAreEnough(t *testing.T) {
	for _, kind := range []string{"bind", "knot"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			publishOnce(t, runSnippet(t, kind, genFile(t, foreignZone)).String())
		})
	}
	t.Run("powerdns", func(t *testing.T) {
		t.Parallel()
		dir, addr := t.TempDir(), freePort(t)
		cmd, err := nameserver.Server{
			Kind: "powerdns", Dir: dir, Addr: addr, Zone: "assos.example", Records: "@ 3600 IN NS ns1\nns1 3600 IN A 127.0.0.1\n",
		}.Command(t.Context())
		if _, missing := errors.AsType[*nameserver.Missing](err); missing {
			absent(t, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for line := range strings.Lines(generated(t, "powerdns", genFile(t, foreignZone), dir)) {
			if f := strings.Fields(line); len(f) > 0 && f[0] == "pdnsutil" {
				steps++
				if out, err := exec.CommandContext(t.Context(), f[0], append([]string{"--config-dir=" + dir}, f[1:]...)...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", line, err, out)
				}
			}
		}
		if steps < 4 {
			t.Fatalf("%d commands were printed", steps)
		}
		runServer(t, cmd)
		publishOnce(t, addr.String())
	})
}

// What is printed for a secondary makes one that fetches the zone from the
// agents, with the transfer key, also when the first of them is gone.
func TestGeneratedSecondariesFetchTheZone(t *testing.T) {
	for _, kind := range []string{"bind", "knot", "nsd"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			srv, err := dnsctl.NewServer(dnsctl.Config{
				Listen: []string{"127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler),
				TransferKeys: []dnsctl.Key{{Name: "www-transfer.", Secret: genSecret}},
			})
			if err == nil {
				err = srv.Listen(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer("dns: 203.0.113.17", "dns: \"127.0.0.9:53\"", "dns: 198.51.100.17", fmt.Sprintf("dns: %q", srv.Addrs()[0])).Replace(
				genNetwork(strings.Replace(embeddedZone, "[192.0.2.53]", "[127.0.0.1]", 1)))
			spec, problems := netyaml.Parse("network.yaml", []byte(text))
			if spec == nil {
				t.Fatal(netyaml.Format(problems))
			}
			file := filepath.Join(t.TempDir(), "network.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := stateOf(spec)
			srv.SetSecondaries(dnsctl.Access(s))
			srv.SetTransfers(dnsctl.TransfersAllowed)
			if err := srv.Publish(dnsctl.Desired(s)); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			ended := make(chan error, 1)
			go func() { ended <- srv.Run(ctx) }()
			t.Cleanup(func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
			addr := runSnippet(t, kind, file)
			g, _ := dnsctl.GoalOf(s, "assos.example")
			plain := dnsctl.NetExchanger{Dial: (&net.Dialer{}).DialContext}
			within, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				once, end := context.WithTimeout(within, time.Second)
				look := dnsctl.LookAt(once, plain, addr.String(), g, g.PublicNames())
				end()
				if look.Status == dnsctl.InSync {
					return
				}
				select {
				case <-within.Done():
					t.Fatalf("the secondary is %s: %s", look.Status, look.Why())
				case <-tick.C:
				}
			}
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
