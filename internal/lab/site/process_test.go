package site_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what must happen.
const patience = 20 * time.Second

// world is two sites of a lab in this process, with the lines between them.
type world struct {
	t      *testing.T
	dir    string
	lab    *site.Lab
	fabric *fabric.Fabric
	stop   map[string]func()
	wait   time.Duration // for an answer
}

func newWorld(t *testing.T, change ...func(*site.Lab)) *world {
	t.Helper()
	plan, guard, err := fabric.FreeBlock(site.GuardPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guard.Close() })
	l, err := site.Layout(3, plan.Block)
	if err != nil {
		t.Fatal(err)
	}
	// The tests make copies when they want them.
	l.Timing = site.Timing{First: network.Duration(time.Hour), Backup: network.Duration(time.Hour), Sync: network.Duration(time.Hour)}
	for _, f := range change {
		f(l)
	}
	dir, err := os.MkdirTemp("", "lab") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, lab: l, stop: map[string]func(){}, wait: 5 * time.Second}
	if err := l.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.MakeCerts(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.fabric = fabric.New(fabric.Config{Sources: l.Plan().Sources(l.Names())})
	t.Cleanup(func() {
		if err := w.fabric.Close(); err != nil {
			t.Errorf("close fabric: %v", err)
		}
	})
	for _, s := range l.Services() {
		if err := w.fabric.Add(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// start runs a site until the test or stop ends it.
func (w *world) start(name string) *site.Client {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- site.Run(ctx, site.Config{Dir: w.dir, Site: name}) }()
	w.stop[name] = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run(%s) = %v", name, err)
		}
		delete(w.stop, name)
	}
	w.t.Cleanup(func() {
		if stop, ok := w.stop[name]; ok {
			stop()
		}
	})
	c := site.NewClient(w.dir, name)
	w.until(name+" answers", func() error {
		_, err := c.Status(w.t.Context())
		return err
	})
	return c
}

// until repeats what must succeed in the end.
func (w *world) until(what string, try func() error) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (w *world) index(name string) int {
	w.t.Helper()
	i, err := w.lab.Index(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// get asks over TLS from a source address; the certificate is not judged here.
func (w *world) get(from netip.Addr, to netip.AddrPort, host, path string, header http.Header) (int, string, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: false,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, to.String())
		},
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), w.wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return 0, "", err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

var outside = netip.MustParseAddr("127.0.0.1")

func TestSiteServesMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	i := w.index("moulin")
	entry, _ := w.lab.Entry(i)
	g := w.lab.GuestsOf("moulin")[0]
	w.until("the guest's page", func() error {
		code, page, err := w.get(outside, entry, g.Names[0], "/data", nil)
		if err == nil && (code != http.StatusOK || !strings.Contains(page, " "+g.Name+" 1\n")) {
			err = fmt.Errorf("status %d, page %q", code, page)
		}
		return err
	})
	for name, want := range map[string]int{"": http.StatusNotFound, "www.example.org": http.StatusNotFound, w.lab.GuestsOf("quai")[0].Names[0]: http.StatusServiceUnavailable} {
		host := name
		if host == "" {
			host = entry.String()
		}
		code, page, err := w.get(outside, entry, host, "/", nil)
		if err != nil || code != want || page == "" {
			t.Errorf("the entry answers %d %q, %v for %q; want %d with a text", code, page, err, host, want)
		}
	}
	if err := client.Act(t.Context(), site.Act{Guest: g.Name, Do: "stop"}); err != nil {
		t.Fatal(err)
	}
	w.until("the stopped guest is gone", func() error {
		code, page, err := w.get(outside, entry, g.Names[0], "/", nil)
		if err == nil && code != http.StatusServiceUnavailable {
			err = fmt.Errorf("status %d, page %q", code, page)
		}
		return err
	})
	if err := client.Act(t.Context(), site.Act{Guest: "nobody", Do: "stop"}); err == nil {
		t.Error("stopping a guest that is not there succeeded")
	}
}

// TestReleasesOfTheHosts: every site of a lab runs on hosts of the oldest release, too.
func TestReleasesOfTheHosts(t *testing.T) {
	t.Parallel()
	for _, release := range []struct{ pve, pbs string }{{"8.4", "3.4"}, {"9.2", "4.2"}} {
		w := newWorld(t, func(l *site.Lab) { l.PVE, l.PBS = release.pve, release.pbs })
		for _, name := range w.lab.Names() {
			w.start(name)
		}
		i := w.index("moulin")
		for host := range 2 { // the structure's and the one that restores
			api := netip.AddrPortFrom(w.lab.Plan().Host(i, host), site.PVEPort)
			code, body, err := w.get(w.lab.Plan().Mesh(i), api, "pve", "/api2/json/version", w.pveHeader("moulin"))
			if err != nil || code != http.StatusOK || !strings.Contains(body, `"version":"`+release.pve) {
				t.Errorf("%s: host %d answers %d %q, %v", release.pve, host, code, body, err)
			}
		}
	}
}

func TestRouterSpeaksFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("quai")
	i := w.index("quai")
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.lab.Plan().Mesh(w.index("moulin")), 0))}
	conn, err := d.DialContext(t.Context(), "tcp4", netip.AddrPortFrom(w.lab.Plan().Router(i), site.RouterPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if line != "SSH-2.0-ROSSSH\r\n" || err != nil {
		t.Errorf("the router says %q, %v", line, err)
	}
}

// serves tells whether a guest is up.
func (w *world) serves(c *site.Client, g site.Member) error {
	st, err := c.Status(w.t.Context())
	for _, h := range st.Hosts {
		for _, v := range h.Guests {
			if v.Name == g.Name && v.Serving {
				return err
			}
		}
	}
	return fmt.Errorf("%s does not serve: %v", g.Name, err)
}

// pveHeader is the authorization of a site's agent.
func (w *world) pveHeader(name string) http.Header {
	return http.Header{"Authorization": {"PVEAPIToken=" + site.PVEToken + "=" + w.lab.TokenSecret(name, site.PVEToken)}}
}

func TestProxmoxTellsTheGuestsAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	i := w.index("moulin")
	w.until("the guests serve", func() error { return w.serves(client, w.lab.GuestsOf("moulin")[0]) })
	api := netip.AddrPortFrom(w.lab.Plan().Host(i, 0), site.PVEPort)
	for _, g := range w.lab.GuestsOf("moulin")[:2] { // a VM and a container
		path := fmt.Sprintf("/api2/json/nodes/pve-moulin/qemu/%d/agent/network-get-interfaces", g.ID)
		if g.Type == network.CT {
			path = fmt.Sprintf("/api2/json/nodes/pve-moulin/lxc/%d/interfaces", g.ID)
		}
		want := w.lab.Plan().Guest(i, 120, g.Number).String()
		w.until(g.Name+"'s address", func() error {
			code, body, err := w.get(w.lab.Plan().Mesh(i), api, "pve", path, w.pveHeader("moulin"))
			if err == nil && (code != http.StatusOK || !strings.Contains(body, want)) {
				err = fmt.Errorf("status %d, %s, want %s", code, body, want)
			}
			return err
		})
	}
}

// snapshots counts the copies of another site's guests at a site.
func (w *world) snapshots(c *site.Client, of string) (int, error) {
	st, err := c.Status(w.t.Context())
	n := 0
	for _, h := range st.Hosts {
		n += h.Snapshots[of]
	}
	return n, err
}

func TestCopiesCrossTheMesh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	moulin, quai := w.start("moulin"), w.start("quai")
	// The third site has power and no hosts: its part of every pull fails.
	w.fabric.Cut("moulin", fabric.Any, fabric.Mesh)
	if err := moulin.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := quai.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "pull-moulin") {
		t.Errorf("sync over a cut mesh: %v, want pull-moulin to fail", err)
	}
	if n, err := w.snapshots(quai, "moulin"); n != 0 || err != nil {
		t.Errorf("%d copies came over a cut mesh, %v", n, err)
	}
	w.fabric.Heal(fabric.Any, fabric.Any, fabric.AnyPath)
	err := quai.Sync(t.Context())
	if err == nil || strings.Contains(err.Error(), "pull-moulin") {
		t.Errorf("sync over the healed mesh: %v, want only the third site's to fail", err)
	}
	want := len(w.lab.GuestsOf("moulin"))
	if n, err := w.snapshots(quai, "moulin"); n != want || err != nil {
		t.Errorf("%d copies at quai, %v; want %d", n, err, want)
	}
}

func TestFaultsAreInForceUntilCleared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	i := w.index("moulin")
	api := netip.AddrPortFrom(w.lab.Plan().Host(i, 1), site.PVEPort)
	ask := func() (int, error) {
		code, _, err := w.get(w.lab.Plan().Mesh(i), api, "pve", "/api2/json/version", w.pveHeader("moulin"))
		return code, err
	}
	if code, err := ask(); code != http.StatusOK || err != nil {
		t.Fatalf("without a fault: %d, %v", code, err)
	}
	if err := client.AddFault(t.Context(), lab.Fault{Where: "pve:raoull-quai", Effect: lab.EffectHang}); err == nil {
		t.Error("a fault at another site's host was taken")
	}
	if err := client.AddFault(t.Context(), lab.Fault{Where: "pve:raoull-moulin", Effect: "melt"}); err == nil {
		t.Error("an unknown effect was taken")
	}
	if err := client.AddFault(t.Context(), lab.Fault{Where: "pve:raoull-moulin", Effect: lab.EffectStatus, Status: 596, Text: "Connection timed out"}); err != nil {
		t.Fatal(err)
	}
	if code, err := ask(); code != 596 || err != nil {
		t.Errorf("under a fault: %d, %v; want 596", code, err)
	}
	if list, err := client.Faults(t.Context()); len(list) != 1 || err != nil {
		t.Errorf("faults %v, %v; want the one", list, err)
	}
	if err := client.AddFault(t.Context(), lab.Fault{Where: "pve:raoull-moulin", Effect: lab.EffectCrashHost}); err != nil {
		t.Fatal(err)
	}
	if err := client.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, err := ask(); code != http.StatusOK || err != nil {
		t.Errorf("after the faults were cleared: %d, %v", code, err)
	}
}

func TestCrashedHostIsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("moulin")
	i := w.index("moulin")
	api := netip.AddrPortFrom(w.lab.Plan().Host(i, 1), site.PVEPort)
	ask := func() error {
		_, _, err := w.get(w.lab.Plan().Mesh(i), api, "pve", "/api2/json/version", w.pveHeader("moulin"))
		return err
	}
	if err := client.AddFault(t.Context(), lab.Fault{Where: "pve:raoull-moulin", Effect: lab.EffectCrashHost, Times: 1}); err != nil {
		t.Fatal(err)
	}
	w.wait = 500 * time.Millisecond
	for _, when := range []string{"the crashing request", "a request to the crashed host"} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("%s: %v, want silence", when, err)
		}
	}
	if err := client.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the host answers again", ask)
}

func TestDisksOutliveTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := w.start("quai")
	g := w.lab.GuestsOf("quai")[0]
	w.until("the guest serves", func() error { return w.serves(client, g) })
	if err := client.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry, _ := w.lab.Entry(w.index("quai"))
	_, before, err := w.get(outside, entry, g.Names[0], "/data", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.stop["quai"]()
	client = w.start("quai")
	w.until("the guest boots", func() error { return w.serves(client, g) })
	w.until("its data", func() error {
		code, page, err := w.get(outside, entry, g.Names[0], "/data", nil)
		if err == nil && (code != http.StatusOK || !strings.HasPrefix(page, before)) {
			err = fmt.Errorf("status %d, data %q, want what was there before: %q", code, page, before)
		}
		return err
	})
	if n, err := w.snapshots(client, "quai"); n != len(w.lab.GuestsOf("quai")) || err != nil {
		t.Errorf("%d snapshots after the restart, %v; want them all", n, err)
	}
}

func TestRunRefusesWhatItCannotPlay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]site.Config{
		"no lab":       {Dir: t.TempDir(), Site: "moulin"},
		"no such site": {Dir: w.dir, Site: "paris"},
	} {
		if err := site.Run(t.Context(), c); err == nil {
			t.Errorf("%s: Run succeeded", name)
		}
	}
	if err := os.RemoveAll(site.SiteDir(w.dir, "quai") + "/tls"); err != nil {
		t.Fatal(err)
	}
	if err := site.Run(t.Context(), site.Config{Dir: w.dir, Site: "quai"}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without certificates: Run = %v, want an error that says so", err)
	}
}
