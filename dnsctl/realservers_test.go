package dnsctl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
)

// primary is a real DNS server that accepts signed updates of failover.test.
type primary struct {
	name  string
	signs bool
	conf  nameserver.Server // without directory and address
}

// otherAlgorithms are keys beside goodKey, which is hmac-sha256.
func otherAlgorithms() []dnsctl.Key {
	return []dnsctl.Key{
		{Name: "ww-384.", Algorithm: "hmac-sha384", Secret: secret}, {Name: "ww-512.", Algorithm: "hmac-sha512", Secret: secret},
	}
}

// primaries are the servers with the least configuration that works.
func primaries() []primary {
	var out []primary
	for _, kind := range nameserver.Kinds() {
		keys := []nameserver.Key{{Name: goodKey.Name, Secret: secret}}
		for _, k := range otherAlgorithms() {
			keys = append(keys, nameserver.Key(k))
		}
		out = append(out, primary{name: kind, conf: nameserver.Server{Kind: kind, Zone: "failover.test", Text: mainZone().String(), Keys: keys}})
	}
	return out
}

// signingPrimaries sign the zone themselves (DNSSEC). The client sees another serial there than the one that updates
// raise, so that a comparison of the SOA could never succeed.
func signingPrimaries() []primary {
	bind, knot := primaries()[0], primaries()[1]
	bind.name, knot.name = "bind-inline-signing", "knot-signing"
	bind.signs, bind.conf.Signs, knot.signs, knot.conf.Signs = true, true, true, true
	return []primary{bind, knot}
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
	program    string
	args       []string
	log        bytes.Buffer // read when the process has ended only
	cmd        *exec.Cmd
	exited     chan struct{}
}

// launch starts a server on a free port; a port that somebody takes in between costs another attempt.
func (p primary) launch(t testing.TB, zone string) *realServer {
	t.Helper()
	if missing := nameserver.Check(p.conf.Kind); missing != nil {
		absent(t, missing)
	}
	s := &realServer{primary: p, zone: zone}
	_ = t.TempDir() // is removed after what is registered later: a server that still runs writes there
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
		conf := p.conf
		conf.Dir, conf.Addr = t.TempDir(), netip.MustParseAddrPort(s.addr)
		cmd, cerr := conf.Command(t.Context())
		if missing, ok := errors.AsType[*nameserver.Missing](cerr); ok {
			absent(t, missing)
		}
		if cerr != nil {
			t.Fatal(cerr)
		}
		s.program, s.args = cmd.Path, cmd.Args[1:]
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
	cmd := exec.Command(s.program, s.args...)
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

// absent skips a test whose program is not installed; under CI everything has to be.
func absent(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func signer(t testing.TB, key dnsctl.Key, skew time.Duration) *dnsctl.SigningExchanger {
	t.Helper()
	s, err := dnsctl.NewSigningExchanger(dialer(), key, func() time.Time { return time.Now().Add(skew) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
