package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
)

// TestPublicRootsThatCannotBeRead: without the authorities that the file should name nothing is judged,
// or every name would seem refused.
func TestPublicRootsThatCannotBeRead(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if roots := publicRoots(file, slog.New(slog.DiscardHandler)); roots != nil {
			t.Errorf("%s: certificates would be judged without the authorities that it was to hold", file)
		}
	}
}

// TestPublicRootsAreReadAnew: what a reload finds counts at the next probe, and a file that has become
// useless stops the judging.
func TestPublicRootsAreReadAnew(t *testing.T) {
	ca, err := cluster.NewCA("assos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file, log := filepath.Join(t.TempDir(), "public.pem"), slog.New(slog.DiscardHandler)
	o := &observer{}
	for _, c := range []struct {
		text   string
		judged bool
	}{{string(ca.CertPEM()), true}, {"nothing", false}, {string(ca.CertPEM()), true}} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		o.trust(file, log)
		if got := o.roots.Load() != nil; got != c.judged {
			t.Errorf("%.20q: judged %v, want %v", c.text, got, c.judged)
		}
	}
}
