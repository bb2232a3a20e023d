package site_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestNetworkYAMLGolden(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	got, err := netyaml.Marshal(l.Spec())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "network5.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("network.yaml differs from %s (run with -update if that is meant):\n%s", file, got)
	}
}

func TestNetworkOfEverySizeIsSound(t *testing.T) {
	for _, n := range []int{3, 4, 5, 6, 9, 18} {
		l, err := site.Layout(n, 77)
		if err != nil {
			t.Fatalf("Layout(%d): %v", n, err)
		}
		b, err := netyaml.Marshal(l.Spec())
		if err != nil {
			t.Fatalf("%d sites: %v", n, err)
		}
		_, problems := netyaml.Parse("network.yaml", b)
		for _, p := range problems {
			t.Errorf("%d sites: %s: %s (%s)", n, p.Path, p.Message, p.Hint)
		}
		if len(l.Sites) != n {
			t.Errorf("Layout(%d) has %d sites", n, len(l.Sites))
		}
	}
	for _, n := range []int{site.MinSites - 1, site.MaxSites + 1, 0, -1} {
		if _, err := site.Layout(n, 77); err == nil {
			t.Errorf("Layout(%d) succeeded, want an error", n)
		}
	}
}

// TestGuestsOfRaoull: they are declared on Raoull's machine, with addresses, ids and names of their
// own, in a network that is sound.
func TestGuestsOfRaoull(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.LodgeAtRaoull(); err != nil {
		t.Fatal(err)
	}
	b, err := netyaml.Marshal(l.Spec())
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := netyaml.Parse("network.yaml", b)
	for _, p := range problems {
		t.Errorf("%s: %s (%s)", p.Path, p.Message, p.Hint)
	}
	numbers := map[int]string{}
	lodged := 0
	for _, g := range l.GuestsOf("fabrique") {
		if other, taken := numbers[g.Number]; taken {
			t.Errorf("%s and %s have one address", g.Name, other)
		}
		numbers[g.Number] = g.Name
		want := network.HostID("pve-fabrique")
		if g.Raoull {
			want, lodged = "raoull-fabrique", lodged+1
		}
		if got := spec.Guests[network.GuestID(g.Name)].Host; got != want {
			t.Errorf("%s lives on %s, want %s", g.Name, got, want)
		}
	}
	if lodged != 2 {
		t.Errorf("%d guests live on Raoull's machine, want 2", lodged)
	}
}

// TestLayoutHoldsWhatTheDemoShows checks the promises of the demo's network.
func TestLayoutHoldsWhatTheDemoShows(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(l.Names(), " "), "moulin fabrique quai halle temoin"; got != want {
		t.Errorf("sites are %q, want %q", got, want)
	}
	spec := l.Spec().WithDefaults()
	moving := map[network.SiteID]map[network.GuestType]int{}
	structures, after, fourth := map[network.StructureID]bool{}, 0, 0
	for id, g := range spec.Guests {
		structures[g.Structure] = true
		after += len(g.After)
		if g.Priority == 4 {
			fourth++
			continue
		}
		home := spec.Home(id)
		if moving[home] == nil {
			moving[home] = map[network.GuestType]int{}
		}
		moving[home][g.Type]++
	}
	if len(spec.Guests) < 9 || len(structures) != 3 || after == 0 || fourth != 1 {
		t.Errorf("%d guests of %d structures, %d dependencies, %d of priority 4; want >= 9, 3, >= 1, 1",
			len(spec.Guests), len(structures), after, fourth)
	}
	for _, brique := range []network.SiteID{"moulin", "fabrique", "quai"} {
		m := moving[brique]
		if m[network.VM]+m[network.CT] < 3 || m[network.VM] == 0 || m[network.CT] == 0 {
			t.Errorf("%s: %v guests move, want 3 at least, both kinds", brique, m)
		}
	}
}

func TestServicesMeetTheDeclaration(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	listen := map[netip.AddrPort]string{}
	for _, s := range l.Services() {
		if other, taken := listen[s.Listen]; taken {
			t.Errorf("%s of %s and %s share %s", s.Name, s.Site, other, s.Listen)
		}
		listen[s.Listen] = s.Name + " of " + s.Site
	}
	for id, s := range l.Spec().WithDefaults().Sites {
		declared := map[string]netip.AddrPort{
			"agent": s.Mesh, "dns": s.DNS, "router": netip.AddrPortFrom(s.Router.Address, s.Router.Port),
		}
		if s.Public.HTTPS != 0 {
			declared["entry"] = netip.AddrPortFrom(s.Public.IPv4, s.Public.HTTPS)
		}
		for h, host := range s.Hosts {
			if host.PVE != nil {
				declared["pve:"+string(h)] = netip.MustParseAddrPort(strings.TrimPrefix(host.PVE.URL, "https://"))
			}
			if host.PBS != nil {
				declared["pbs:"+string(h)] = netip.MustParseAddrPort(strings.TrimPrefix(host.PBS.URL, "https://"))
			}
		}
		for name, at := range declared {
			if got, want := listen[at], name+" of "+string(id); got != want {
				t.Errorf("%s is declared at %s, where %q listens", want, at, got)
			}
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	l, err := site.Layout(3, 80)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Save(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, site.FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("lab.json: %v, %v; it holds secrets: want mode 0600", info.Mode(), err)
	}
	got, err := site.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.TokenSecret("moulin", site.PVEToken) != l.TokenSecret("moulin", site.PVEToken) ||
		got.BackupKey("quai").Fingerprint() != l.BackupKey("quai").Fingerprint() {
		t.Error("a loaded lab has other secrets than the saved one")
	}
	for name, text := range map[string]string{"truncated": `{"network":`, "empty": `{}`, "not JSON": `network: lab`, "wrong type": `{"network": 3}`} {
		if err := os.WriteFile(filepath.Join(dir, site.FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := site.Load(dir); err == nil || !strings.Contains(err.Error(), "load lab") {
			t.Errorf("Load of a %s file: %v, want an error that says so", name, err)
		}
	}
	l.PVE = "7.4"
	if err := l.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Load(dir); err == nil || !strings.Contains(err.Error(), "version 7.4 is not played") {
		t.Errorf("Load of a lab of PVE 7.4 = %v, want an error that says so", err)
	}
	if _, err := site.Load(t.TempDir()); err == nil {
		t.Error("Load of an empty directory succeeded")
	}
}

func TestSecretsDiffer(t *testing.T) {
	l, err := site.Layout(3, 80)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, s := range l.Names() {
		for what, secret := range map[string]string{
			"pve token": l.TokenSecret(s, site.PVEToken), "pbs token": l.TokenSecret(s, site.PBSToken), "key": l.BackupKey(s).Fingerprint(),
		} {
			if other, ok := seen[secret]; ok {
				t.Errorf("%s of %s is also the %s", what, s, other)
			}
			seen[secret] = what + " of " + s
		}
	}
}

func TestCheckDirRefusesLongNames(t *testing.T) {
	l, err := site.Layout(3, 80)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckDir("/tmp/lab"); err != nil {
		t.Errorf("CheckDir of a short name: %v", err)
	}
	if err := l.CheckDir("/tmp/" + strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("CheckDir of a long name: %v, want an error that names --dir", err)
	}
}

// TestRoutedNetwork: sites with networks of their own use the ports of the trade, are
// pinged at their routers, and show others the addresses on which they listen.
func TestRoutedNetwork(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	l.Routed = true
	b, err := netyaml.Marshal(l.Spec())
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := netyaml.Parse("network.yaml", b)
	for _, p := range problems {
		t.Errorf("%s: %s (%s)", p.Path, p.Message, p.Hint)
	}
	if spec == nil {
		t.FailNow()
	}
	moulin := spec.Sites["moulin"]
	if r := moulin.Router; r.Type != "routeros" || r.Address != netip.MustParseAddr("10.77.1.254") {
		t.Errorf("the router is %+v, want one of RouterOS, which is pinged", r)
	}
	for what, got := range map[string]string{
		"https://10.10.1.10:8006": moulin.Hosts["pve-moulin"].PVE.URL,
		"https://10.10.1.20:8007": moulin.Hosts["raoull-moulin"].PBS.URL,
		"203.0.113.1:53":          moulin.DNS.String(),
		"10.77.1.1:9977":          moulin.Mesh.String(),
	} {
		if got != what {
			t.Errorf("declared %s, want %s", got, what)
		}
	}
	if moulin.Public.HTTPS != 443 {
		t.Errorf("the public entry is on port %d, want 443", moulin.Public.HTTPS)
	}
}

// TestRoutedAgentsFile: wwwd accepts the file, which holds nothing that only a network
// on loopback may have.
func TestRoutedAgentsFile(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	l.Routed = true
	dir := t.TempDir()
	if err := l.WriteFiles(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i, name := range l.Names() {
		c, problems := config.Load(site.AgentFile(dir, name))
		for _, p := range problems {
			t.Errorf("%s: %s: %s (%s)", name, p.Path, p.Message, p.Hint)
		}
		if c == nil {
			t.FailNow()
		}
		if c.Listen.Mesh.Addr() != l.Plan().Mesh(i) || c.Advertise != c.Listen.Mesh {
			t.Errorf("%s listens on %s and advertises %s, want %s for both", name, c.Listen.Mesh, c.Advertise, l.Plan().Mesh(i))
		}
	}
}
