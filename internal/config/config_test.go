package config_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const examplePath = "../../deploy/examples/wwwd.yaml"

const minimal = "network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1}\n"

func TestExample(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := config.Parse("wwwd.yaml", b)
	if len(problems) > 0 {
		t.Fatalf("problems in the example:\n%s", netyaml.Format(problems))
	}
	// The example network declares this agent at the same addresses.
	nb, err := os.ReadFile("../../deploy/examples/network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := netyaml.Parse("network.yaml", nb)
	if spec == nil {
		t.Fatal(netyaml.Format(problems))
	}
	site := spec.Sites[c.Site]
	if c.Network != spec.Network || c.Listen.Mesh != site.Mesh || c.Listen.DNS[0] != site.DNS || c.Dial.Public != site.Public.IPv4 {
		t.Errorf("the examples disagree: wwwd.yaml %+v, network.yaml %+v", c, site)
	}
	// What the example shows in comments as a default is the default.
	for _, line := range []string{"data_dir: " + c.DataDir, "socket: " + c.Socket, "helper_socket: " + c.HelperSocket, "ca: " + c.TLS.CA, "cert: " + c.TLS.Cert, "key: " + c.TLS.Key, "node: " + c.PBS.Node, "ready_every: " + c.ReadyEvery.String()} {
		if !strings.Contains(string(b), line) {
			t.Errorf("the example does not show the default %q", line)
		}
	}
}

// TestExampleOfChannels: what the example shows in comments can be taken as it stands.
func TestExampleOfChannels(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(b), "# notify:\n")
	section, _, ended := strings.Cut(section, "\n\n")
	if !found || !ended {
		t.Fatal("the example has no section notify:")
	}
	text := minimal + "notify:\n" + strings.ReplaceAll("\n"+section, "\n# ", "\n")
	c, problems := config.Parse("wwwd.yaml", []byte(text))
	if c == nil || len(problems) > 0 {
		t.Fatalf("problems:\n%s%s", netyaml.Format(problems), text)
	}
	if len(c.Notify.Channels) != 7 || len(c.Notify.DeadMan) != 1 {
		t.Errorf("%d channels and %d switches, want 7 and 1", len(c.Notify.Channels), len(c.Notify.DeadMan))
	}
}

func TestDefaults(t *testing.T) {
	c, problems := config.Parse("wwwd.yaml", []byte(minimal))
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", netyaml.Format(problems))
	}
	mesh := netip.MustParseAddrPort("10.77.1.1:9977")
	want := config.Config{
		Network: "assos", Site: "moulin", DataDir: "/var/lib/www", Socket: "/run/www/wwwd.sock", HelperSocket: roothelper.DefaultSocket,
		Listen: config.Listen{Mesh: mesh}, Advertise: mesh, Dial: config.Dial{Mesh: mesh.Addr()},
		TLS: config.TLS{CA: "/var/lib/www/certs/ca.crt", Cert: "/var/lib/www/certs/agent.crt", Key: "/var/lib/www/certs/agent.key", CAKey: "/var/lib/www/certs/ca.key"},
		PBS: config.PBS{Node: "localhost"}, TSIG: map[string]config.TSIGKey{},
		ReadyEvery: network.Duration(time.Minute), Log: config.Log{Level: "info", Format: "text"},
	}
	same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if d := cmp.Diff(want, *c, same); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	pins := config.Config{ProbeFingerprints: map[network.HostID]config.Fingerprints{"h": {PVE: "AA:BB"}, "i": {PBS: "CC"}}}.WithDefaults().Pins()
	if d := cmp.Diff(map[string]string{"pve:h": "AA:BB", "pbs:i": "CC"}, pins); d != "" {
		t.Errorf("pins (-want +got):\n%s", d)
	}
}

// TestRefused reads one mistake each and compares the report.
func TestRefused(t *testing.T) {
	finger := strings.Repeat("ab", 32)
	var report strings.Builder
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"unknown-key", minimal + "data_dri: /var/lib/www\n"},
		{"no-site", "network: assos\nlisten: {mesh: 10.77.1.1}\n"},
		{"no-network", "site: moulin\nlisten: {mesh: 10.77.1.1}\n"},
		{"no-mesh", "network: assos\nsite: moulin\n"},
		{"every-interface", "network: assos\nsite: moulin\nlisten: {mesh: 0.0.0.0}\n"},
		{"every-interface-6", "network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1, dns: [\"::\"]}\n"},
		{"every-interface-metrics", "network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1, metrics: 0.0.0.0:9100}\n"},
		{"multicast", minimal + "dial: {public: 224.0.0.1}\n"},
		{"mapped", minimal + "dial: {public: \"::ffff:10.0.0.1\"}\n"},
		{"same-port", "network: assos\nsite: moulin\nlisten: {mesh: 10.77.1.1, metrics: 10.77.1.1:9977}\n"},
		{"relative", minimal + "data_dir: www\ntls: {key: agent.key}\n"},
		{"long-socket", minimal + "socket: /" + strings.Repeat("x", 120) + "\n"},
		{"helper-socket", minimal + "helper_socket: helper.sock\n"},
		{"fingerprint", minimal + "pve: {token_file: /t, fingerprint: \"AA:BB\"}\n"},
		{"no-token", minimal + "pbs: {fingerprint: " + finger + "}\n"},
		{"probe-fingerprint", minimal + "probe_fingerprints: {Host: {pve: " + finger + "}, h: {pbs: xyz}}\n"},
		{"router", minimal + "router: {url: \"http://10.66.1.1/rest\"}\n"},
		{"router-fingerprint", minimal + "router: {url: \"https://10.66.1.1\", user: ww-ro, password_file: router.password, fingerprint: xyz}\n"},
		{"router-unheld", minimal + "router: {url: \"https://10.66.1.1\", user: ww-ro, password_file: /p}\n"},
		{"wireguard", minimal + "wireguard: {interface: a-name-far-too-long}\n"},
		{"inventory", minimal + "inventory: {Host: {token_file: /t}, h: {ca_file: x}, i: {}}\n"},
		{"hands", minimal + "hands: {Host: {token_file: /t, backup: pbs}, h: {ca_file: x}, i: {token_file: /t}}\n"},
		{"fences", minimal + "fences: {Plug: {command: [plug]}, a: {}, b: {command: [/p], port: ether3}, c: {port: ether3}, d: {command: [/p], router: {url: \"https://10.66.1.1\"}}, e: {port: ether3, router: {url: \"http://10.66.1.1\"}}, f: {quiet: {addresses: [10.10.1.10]}}, g: {quiet: {addresses: [\"2001:db8::1\", 10.10.1.11], witnesses: [10.10.1.1]}}, h: {command: [/p], quiet: {witnesses: [10.10.1.1]}}}\n"},
		{"programs", minimal + "programs: {Ask: {command: [/p]}, a: {}, b: {command: [announce]}}\n"},
		{"tsig", minimal + "tsig: {k: {algorithm: hmac-md5}}\n"},
		{"notify-keys", minimal + "notify: {digest: noon, timezone: Mars/Phobos, channels: {Mail: {type: pigeon}, a: {type: smtp, tls: none, server: mail.example:25, room: x, user: u}, b: {type: ntfy, url: \"http://ntfy.example/t\", least: loud, quiet: night}, d: {type: exec, command: [/bin/true], test_every: 5m}, c: {type: matrix, url: \"https://m.example\", url_file: x}}}\n"},
		{"notify-more", minimal + "notify: {dead_man: {o: {every: 1s}}, channels: {a: {type: exec, command: [tell]}, b: {type: webhook, url: \"https://h.example\", body: '{{.Nothing}}'}, c: {type: freemobile, user: \"1\"}, d: {type: sendmail, from: -x, to: [\"a, b\"]}, e: {type: smtp, server: mail}}}\n"},
		{"level", minimal + "log: {level: loud, format: xml}\n"},
		{"ready", minimal + "ready_every: 1ms\n"},
		{"lab", minimal + "lab: {startup_grace: 1s}\n"},
		{"duration", minimal + "ready_every: 60\n"},
		{"two-at-once", "network: assos\nsiet: moulin\nlisten: {mesh: 0.0.0.0}\nlog: {level: 3}\n"},
	} {
		c, problems := config.Parse("wwwd.yaml", []byte(tt.text))
		if c != nil || !network.HasErrors(problems) {
			t.Errorf("%s: accepted", tt.name)
		}
		report.WriteString("== " + tt.name + "\n" + netyaml.Format(problems))
	}
	golden(t, "testdata/refused.golden", report.String())
	if c, problems := config.Parse("wwwd.yaml", []byte("network: n\nsite: s\nlisten: {mesh: 127.77.1.1}\nlab: {startup_grace: 1s}\n")); c == nil {
		t.Errorf("lab settings on loopback are refused: %v", problems)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// installed writes a complete installation into a directory and returns the
// path of its wwwd.yaml.
func installed(t *testing.T, dir string) string {
	t.Helper()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"certs/ca.crt", "certs/agent.crt"} {
		write(f, "certificate", 0o644)
	}
	for _, f := range []string{"certs/agent.key", "pve.token", "pbs.token", "tsig", "router.password"} {
		write(f, "secret", 0o600)
	}
	write("wwwd.yaml", minimal+"data_dir: "+dir+"\npve: {token_file: "+dir+"/pve.token}\npbs: {token_file: "+dir+"/pbs.token}\ntsig: {k: {secret_file: "+dir+"/tsig}}\n"+
		"router: {url: \"https://10.66.1.1\", user: ww-ro, fingerprint: "+strings.Repeat("ab", 32)+", password_file: "+dir+"/router.password}\n", 0o644)
	return filepath.Join(dir, "wwwd.yaml")
}

func TestLoadLooksAtFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(dir string) error
		code   string
		path   string
		hint   string // part of it
		usable bool   // warning only
	}{
		{name: "complete", usable: true},
		{"no certificate", func(d string) error { return os.Remove(d + "/certs/agent.crt") }, network.CodeFileMissing, "tls.cert", "wwwctl join ADDRESS --site moulin --token TOKEN", true},
		{"no authority", func(d string) error { return os.Remove(d + "/certs/ca.crt") }, network.CodeFileMissing, "tls.ca", "wwwctl join ADDRESS --site moulin --token TOKEN", false},
		{"key for everyone", func(d string) error { return os.Chmod(d+"/certs/agent.key", 0o644) }, network.CodeFileMode, "tls.key", "chmod 0600 ", false},
		{"token for the group", func(d string) error { return os.Chmod(d+"/pve.token", 0o640) }, network.CodeFileMode, "pve.token_file", "chmod 0600 ", false},
		{"no token", func(d string) error { return os.Remove(d + "/pve.token") }, network.CodeFileMissing, "pve.token_file", "pveum user token add", true},
		{"no PBS token", func(d string) error { return os.Remove(d + "/pbs.token") }, network.CodeFileMissing, "pbs.token_file", "generate-token", true},
		{"no TSIG secret", func(d string) error { return os.Remove(d + "/tsig") }, network.CodeFileMissing, "tsig.k.secret_file", "tsig-keygen k", false},
		{"router password for everyone", func(d string) error { return os.Chmod(d+"/router.password", 0o604) }, network.CodeFileMode, "router.password_file", "chmod 0600 ", false},
		{"no router password", func(d string) error { return os.Remove(d + "/router.password") }, network.CodeFileMissing, "router.password_file", "/user/add", true},
		{"directory for a certificate", func(d string) error {
			if err := os.Remove(d + "/certs/ca.crt"); err != nil {
				return err
			}
			return os.Mkdir(d+"/certs/ca.crt", 0o700)
		}, network.CodeFileUnread, "tls.ca", "regular file", false},
		{"file for a directory", func(d string) error {
			if err := os.RemoveAll(d + "/certs"); err != nil {
				return err
			}
			return os.WriteFile(d+"/certs", nil, 0o600)
		}, network.CodeFileUnread, "tls.ca", "namei -l", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := installed(t, dir)
			if tt.spoil != nil {
				if err := tt.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			c, problems := config.Load(path)
			if (c != nil) != tt.usable {
				t.Errorf("config %t, want %t; problems:\n%s", c != nil, tt.usable, netyaml.Format(problems))
			}
			if tt.code == "" {
				if len(problems) > 0 {
					t.Errorf("problems:\n%s", netyaml.Format(problems))
				}
				return
			}
			if len(problems) == 0 {
				t.Fatal("no problem")
			}
			p := problems[0]
			if p.Code != tt.code || !strings.Contains(p.Hint, tt.hint) || !strings.Contains(p.Message, dir) || p.At.File != path || p.At.Line == 0 {
				t.Errorf("got %+v, want code %s, the path in the message and a hint with %q", p, tt.code, tt.hint)
			}
			if tt.path != "" && p.Path != tt.path && len(problems) == 1 {
				t.Errorf("problem at %s, want %s", p.Path, tt.path)
			}
		})
	}
}

func TestLoadOfNoFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "wwwd.yaml"): network.CodeFileMissing,
		dir:                             network.CodeFileUnread,
	} {
		c, problems := config.Load(path)
		if c != nil || len(problems) != 1 || problems[0].Code != want || problems[0].Hint == "" || !strings.Contains(netyaml.Format(problems), path) {
			t.Errorf("%s: got %v, %v; want %s with the path", path, c, problems, want)
		}
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, netyaml.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, problems := config.Load(big); c != nil || problems[0].Code != network.CodeSyntax {
		t.Errorf("too large a file: %v", problems)
	}
}

func FuzzParse(f *testing.F) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(minimal + "tsig: {k: {secret_file: /x}}\nlab: {startup_grace: 1s}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, problems := config.Parse("wwwd.yaml", b)
		if (c == nil) != network.HasErrors(problems) {
			t.Fatalf("config %v with problems %v", c, problems)
		}
		for _, p := range problems {
			if p.At.Line < 1 || p.Message == "" || p.Hint == "" {
				t.Fatalf("incomplete problem %+v", p)
			}
		}
		if c != nil && (!c.Listen.Mesh.IsValid() || c.Listen.Mesh.Addr().IsUnspecified() || c.Listen.Mesh.Port() == 0) {
			t.Fatalf("accepted mesh address %s", c.Listen.Mesh)
		}
	})
}
