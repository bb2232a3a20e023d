package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// goodMachine has nothing that speaks against init.
func goodMachine() machine {
	return machine{
		lookup:     func(string) (string, error) { return "990", nil },
		addresses:  func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.77.1.1")}, nil },
		listen:     func(netip.AddrPort) error { return nil },
		dial:       func(context.Context, string) error { return nil },
		unsynced:   func() bool { return false },
		free:       func(string) (uint64, error) { return 1 << 40, nil },
		encryption: func(string) doctor.Disk { return doctor.Disk{Encrypted: doctor.EncryptedYes} },
		pingRange:  func() (string, error) { return "0\t2147483647", nil },
	}
}

func TestPreflightFindsWhatWouldFail(t *testing.T) {
	conf, _ := config.Parse("wwwd.yaml", []byte("network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1}\n"))
	for _, c := range []struct {
		name  string
		spoil func(*machine)
		want  string // codes
	}{
		{"nothing", func(*machine) {}, ""},
		{"user", func(m *machine) { m.uid = 1000 }, "WWW-2501"},
		{"package", func(m *machine) { m.lookup = func(string) (string, error) { return "", errors.New("unknown") } }, "WWW-2502"},
		{"address", func(m *machine) { m.addresses = func() ([]netip.Addr, error) { return nil, nil } }, "WWW-2503"},
		{"port", func(m *machine) { m.listen = func(netip.AddrPort) error { return errors.New("in use") } }, "WWW-2504"},
		{"port of the agent that runs", func(m *machine) {
			m.listen, m.agentRuns = func(netip.AddrPort) error { return errors.New("in use") }, true
		}, ""},
		{"clock", func(m *machine) { m.unsynced = func() bool { return true } }, "WWW-2505"},
		{"disk", func(m *machine) { m.free = func(string) (uint64, error) { return 1 << 20, nil } }, "WWW-2506"},
		{"encryption", func(m *machine) {
			m.encryption = func(string) doctor.Disk { return doctor.Disk{Encrypted: doctor.EncryptedNo} }
		}, "WWW-2507"},
		{"ping", func(m *machine) { m.pingRange = func() (string, error) { return "1\t0", nil } }, "WWW-2508"},
		{"peer", func(m *machine) { m.dial = func(context.Context, string) error { return errors.New("no route") } }, "WWW-2509"},
	} {
		m := goodMachine()
		c.spoil(&m)
		var got []string
		for _, r := range m.checks(t.Context(), conf, "10.77.2.1:9977") {
			got = append(got, r.Code)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: found %v, want %q", c.name, got, c.want)
		}
	}
}

// tell runs a command line on a machine without an agent.
func tell(t *testing.T, m machine, env map[string]string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	con := console{Out: &o, Err: &e, In: strings.NewReader(""), Zone: time.UTC, Getenv: func(k string) string { return env[k] }, Size: func() (int, int) { return 0, 0 }}
	a := &app{con: con, machine: func(string) machine { return m }}
	code = a.report(t.Context(), a.dispatch(t.Context(), args))
	return code, o.String(), e.String()
}

func TestInitStopsBeforeItChangesAnything(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etc", "wwwd.yaml")
	full := []string{"init", "--config", file, "--site", "moulin", "--network", "assos", "--mesh", "10.77.1.1"}
	broken := goodMachine()
	broken.uid, broken.unsynced = 1000, func() bool { return true }
	code, _, errs := tell(t, broken, nil, full...)
	if code != exitRefused || !strings.Contains(errs, "x WWW-2501") || !strings.Contains(errs, "! WWW-2505") || !strings.Contains(errs, "apt install chrony") {
		t.Errorf("exit %d, want %d with both findings and their remedies:\n%s", code, exitRefused, errs)
	}
	if code, _, errs := tell(t, goodMachine(), nil, append(full, "--dry-run")...); code != exitOK || !strings.Contains(errs, `mesh: "10.77.1.1"`) {
		t.Errorf("dry run: exit %d:\n%s", code, errs)
	}
	if code, _, errs := tell(t, goodMachine(), nil, full[:5]...); code != exitUsage || !strings.Contains(errs, "is missing") {
		t.Errorf("without a mesh address: exit %d:\n%s", code, errs)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the configuration was written although nothing should be")
	}
	for _, args := range [][]string{
		{"join", "somewhere", "--site", "quai"},
		{"join", "10.77.1.1", "--site", "quai", "--token", "www1.x.y.z"},
		{"token"},
		{"operator", "admit"},
		{"cluster", "recover"},
		{"cluster", "set", "moulin", "king"},
		{"cluster", "snapshot", "eat", "x"},
	} {
		if code, _, errs := tell(t, goodMachine(), nil, args...); code != exitUsage {
			t.Errorf("%v: exit %d, want %d:\n%s", args, code, exitUsage, errs)
		}
	}
}

func TestInitDoesNotContradictTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wwwd.yaml")
	if err := os.WriteFile(file, []byte("network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := tell(t, goodMachine(), nil, "init", "--config", file, "--site", "quai")
	if code != exitUsage || !strings.Contains(errs, "says moulin") {
		t.Errorf("exit %d:\n%s", code, errs)
	}
}

// loginFile is one whose certificate belongs to its key and that no agent accepts.
func loginFile(t *testing.T, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	b, err := json.Marshal(api.Login{
		Network: "assos", Name: "ada", Role: failover.RoleViewer, Until: until, Endpoints: []string{"127.0.0.1:1"},
		CA: cert, Cert: cert, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ada.www")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoginIsKeptAndUsed(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	kept := filepath.Join(home, ".config", "www", "login.json")
	if code, out, errs := tell(t, goodMachine(), env, "login", loginFile(t, time.Now().Add(time.Hour))); code != exitNoAgent || !strings.Contains(out, "as ada (viewer)") {
		t.Errorf("login: exit %d\n%s%s", code, out, errs)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v, want mode 0600", kept, info, err)
	}
	if code, _, errs := tell(t, goodMachine(), env, "status"); code != exitNoAgent || !strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("status by login: exit %d\n%s", code, errs)
	}
	if code, _, errs := tell(t, goodMachine(), env, "logout"); code != exitOK {
		t.Errorf("logout: exit %d\n%s", code, errs)
	}
	if code, _, errs := tell(t, goodMachine(), env, "status"); code != exitNoAgent || !strings.Contains(errs, defaultSocket) {
		t.Errorf("status after logout: exit %d\n%s", code, errs)
	}
	if code, _, _ := tell(t, goodMachine(), env, "login", loginFile(t, time.Now().Add(-time.Hour))); code != exitNoAgent {
		t.Errorf("login with an ended certificate: exit %d", code)
	}
	if code, _, errs := tell(t, goodMachine(), env, "status"); code != exitNotAllowed || !strings.Contains(errs, "ended at") {
		t.Errorf("status with an ended certificate: exit %d\n%s", code, errs)
	}
}

func TestSnapshotIsInspectedOffline(t *testing.T) {
	s := failover.NewState()
	s.Index, s.Generation = 42, 3
	s.Ops["op-7"] = failover.Operation{ID: "op-7", Phase: failover.OpCommitted}
	b, err := cluster.EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "state.snap")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := tell(t, goodMachine(), nil, "cluster", "snapshot", "inspect", file, "--jq", "[.generation, .index, .open_operations]")
	if code != exitOK || strings.Join(strings.Fields(out), "") != `[3,42,["op-7"]]` {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := tell(t, goodMachine(), nil, "cluster", "snapshot", "inspect", file); code != exitFailure || !strings.Contains(errs, "checksum") && !strings.Contains(errs, "snapshot") {
		t.Errorf("damaged: exit %d: %s", code, errs)
	}
}
