package site_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// routerOf opens a site's router as its agent does.
func routerOf(t *testing.T, w *world, name, user string) *mesh.RouterOS {
	t.Helper()
	i, err := w.lab.Index(name)
	print, err2 := site.Fingerprint(w.dir, name, "router", name)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	r, err := mesh.NewRouterOS(mesh.RouterConfig{
		URL:  "https://" + netip.AddrPortFrom(w.lab.Plan().RouterBackend(i), site.RESTPort).String(),
		User: user, Password: w.lab.TokenSecret(name, user), Fingerprint: print, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// TestAHostHasItsPortBack: whose port is disabled is reached by nobody, has its power all the same, and
// is reached again when a person has enabled the port; a restart of the router forgets nothing.
func TestAHostHasItsPortBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("fabrique")
	reached := func() bool {
		st, err := client.Status(t.Context())
		if err != nil || len(st.Hosts) == 0 || st.Hosts[0].Name != "pve-fabrique" {
			t.Fatalf("status of fabrique: %+v, %v", st.Hosts, err)
		}
		return st.Hosts[0].Power
	}
	i, err := w.lab.Index("fabrique")
	if err != nil || w.lab.Fence(i) != "port" {
		t.Fatalf("fabrique has the fence %q, %v", w.lab.Fence(i), err)
	}
	fenced := func() bool {
		off, err := w.lab.FencedOff(w.dir, i)
		if err != nil {
			t.Fatal(err)
		}
		return off
	}
	if fenced() {
		t.Fatal("the port is disabled at the beginning")
	}
	reader := mesh.Port{Router: routerOf(t, w, "fabrique", "ww-ro"), Name: "ether3"}
	if err := reader.PutOff(t.Context()); !errors.Is(err, mesh.ErrForbidden) {
		t.Errorf("who may only read disables a port: %v", err)
	}
	port := mesh.Port{Router: routerOf(t, w, "fabrique", "ww-rw"), Name: "ether3"}
	if err := port.PutOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the host is reached by nobody", func() error {
		if reached() {
			return errors.New("it is reached")
		}
		return nil
	})
	if off, _, err := port.Off(t.Context()); err != nil || !off || !fenced() {
		t.Errorf("read back: off %t, %v; fenced %t", off, err, fenced())
	}
	if err := errors.Join(client.Crash(t.Context(), "pve-fabrique"), client.Repair(t.Context(), "pve-fabrique")); err != nil {
		t.Fatal(err)
	}
	if reached() {
		t.Fatal("the host is reached without its port")
	}
	if err := client.PlugIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the host is reached again", func() error {
		if !reached() || fenced() {
			return fmt.Errorf("reached %t, fenced %t", reached(), fenced())
		}
		return nil
	})
}

// TestTheRouterAsksItsOwnAgent for the zone: what the agent reads of it is right.
func TestTheRouterAsksItsOwnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("quai")
	i, err := w.lab.Index("quai")
	if err != nil {
		t.Fatal(err)
	}
	got, err := routerOf(t, w, "quai", "ww-ro").StaticNames(t.Context())
	want := mesh.StaticName{Name: w.lab.Zone, Type: "FWD", Value: w.lab.DNS(i).Addr().String(), Subdomains: true}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
