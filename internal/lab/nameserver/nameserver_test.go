package nameserver_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
)

func TestEveryKindServesItsZone(t *testing.T) {
	for _, kind := range append(nameserver.Kinds(), "nsd") {
		t.Run(kind, func(t *testing.T) {
			if _, missing := errors.AsType[*nameserver.Missing](nameserver.Check(kind)); missing {
				t.Skip(nameserver.Check(kind))
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := netip.MustParseAddrPort(l.Addr().String())
			_ = l.Close()
			cmd, err := nameserver.Server{
				Kind: kind, Dir: t.TempDir(), Addr: addr, Zone: "assos.example", Records: "@ 3600 IN NS ns1\nns1 3600 IN A 127.0.0.1\n",
				Keys: keysOf(kind),
			}.Command(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &log, &log
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			err = awaitZone(t.Context(), addr, "assos.example.")
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
			if err != nil {
				t.Errorf("%v; it says:\n%s", err, log.String())
			}
		})
	}
}

// keysOf are those of a server that takes updates.
func keysOf(kind string) []nameserver.Key {
	if kind == "nsd" {
		return nil
	}
	return []nameserver.Key{{Name: "lab-key.", Secret: "c2VjcmV0LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="}}
}

func awaitZone(ctx context.Context, addr netip.AddrPort, zone string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := dns.ExchangeContext(ctx, new(dns.Msg).SetQuestion(zone, dns.TypeSOA), addr.String())
		if err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func TestAnUnknownKindIsRefused(t *testing.T) {
	if err := nameserver.Check("djbdns"); err == nil {
		t.Error("djbdns was accepted")
	}
	if _, err := (nameserver.Server{Kind: "djbdns", Dir: t.TempDir()}).Command(t.Context()); err == nil {
		t.Error("a command for djbdns was made")
	}
	for _, s := range []nameserver.Server{
		{Kind: "nsd", Keys: keysOf("bind")}, {Kind: "nsd", Signs: true}, {Kind: "powerdns", Signs: true}, {Kind: "powerdns", Writable: []string{"a"}},
	} {
		s.Dir = t.TempDir()
		if _, err := s.Command(t.Context()); err == nil {
			t.Errorf("a command was made for what the server cannot be: %+v", s)
		}
	}
}
