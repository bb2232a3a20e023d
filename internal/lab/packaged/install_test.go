package packaged_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestInstallGuide plays docs/install.md. WWW_DEB is the package of the release that is
// installed, WWW_DEB_NEXT that of the next one (both from make install-test).
func TestInstallGuide(t *testing.T) {
	deb, next := os.Getenv("WWW_DEB"), os.Getenv("WWW_DEB_NEXT")
	if deb == "" || next == "" {
		t.Skip("no packages given: make install-test")
	}
	for _, program := range []string{"debootstrap", "systemd-nspawn", "nsenter", "ip", "prometheus"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("no program %s: apt-get install debootstrap systemd-container util-linux iproute2 prometheus", program)
		}
	}
	g := &group{t: t, watch: fmt.Sprintf("wwwpkg-%d-watch", os.Getpid())}
	for i, name := range []string{"moulin", "fabrique", "quai"} {
		g.machines = append(g.machines, &machine{name: name, address: fmt.Sprintf("10.77.%d.1", i+1)})
	}
	base, work := bare(t), t.TempDir()
	network(t, g.machines, g.watch)
	for _, m := range g.machines {
		m.boot(t, base, work)
	}
	g.bring(deb)
	if err := os.WriteFile(filepath.Join(g.at("moulin").root, "root/network.yaml"), []byte(declared), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(t) {
		if b.file == "" && b.after == "" {
			g.typed(b)
		}
	}
	g.follow("v1")
	g.scraped(work)
	g.upgrade(next)
	g.goBack(deb, next)
}

const declared = `network: assos
sites:
  moulin: {kind: witness, mesh: 10.77.1.1}
  fabrique: {kind: witness, mesh: 10.77.2.1}
  quai: {kind: witness, mesh: 10.77.3.1}
`

type group struct {
	t        *testing.T
	machines []*machine
	watch    string // namespace
	token    string // as last printed
}

func (g *group) at(name string) *machine {
	i := slices.IndexFunc(g.machines, func(m *machine) bool { return m.name == name })
	return g.machines[i]
}

func (g *group) do(m *machine, command string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := m.types(ctx, command)
	if err != nil {
		journal, _ := m.types(context.Background(), "journalctl -u wwwd --no-pager | tail -15")
		g.t.Fatalf("%v\n%s", err, journal)
	}
	return out
}

// bring puts a package, and no other, into the home of each machine's root.
func (g *group) bring(deb string) {
	g.t.Helper()
	for _, m := range g.machines {
		g.do(m, "rm -f /root/*.deb")
		must(g.t, "cp", deb, filepath.Join(m.root, "root", filepath.Base(deb)))
	}
}

// typed types a block of the guide on its machines, one after the other.
func (g *group) typed(b block) {
	g.t.Helper()
	for _, name := range b.on {
		for _, command := range b.commands() {
			began := time.Now()
			out := g.do(g.at(name), strings.ReplaceAll(command, "TOKEN", g.token))
			g.t.Logf("%s# %s (%.1f s)", name, command, time.Since(began).Seconds())
			if strings.Contains(command, "token create") {
				var err error
				if g.token, err = token(out); err != nil {
					g.t.Fatal(err)
				}
			}
		}
	}
}

type peer struct {
	Site    string `json:"site"`
	Role    string `json:"role"`
	Version string `json:"version"`
}

func (g *group) peers(m *machine) ([]peer, error) {
	out, err := m.types(g.t.Context(), "wwwctl cluster peers -o json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []peer `json:"items"`
	}
	return list.Items, json.Unmarshal([]byte(out), &list)
}

// follow waits until one leads, the others follow, and all have reported.
func (g *group) follow(what string) {
	g.t.Helper()
	until(g.t, 90*time.Second, what+": one leads and all follow", func() error {
		peers, err := g.peers(g.machines[0])
		if err != nil {
			return err
		}
		leads := 0
		for _, p := range peers {
			switch p.Role {
			case "leader":
				leads++
			case "silent":
				return fmt.Errorf("%s is silent", p.Site)
			}
		}
		if len(peers) != len(g.machines) || leads != 1 {
			return fmt.Errorf("peers %+v", peers)
		}
		return nil
	})
}

// scraped has a real Prometheus scrape the group by the guide's file, with the package's rules.
func (g *group) scraped(work string) {
	g.t.Helper()
	dir := filepath.Join(work, "prometheus")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	rules := filepath.Join(g.at("moulin").root, "usr/share/doc/www-agent/examples/prometheus/alerts.yaml")
	for _, b := range blocks(g.t) {
		if b.file == "prometheus.yml" {
			conf := strings.NewReplacer("/etc/prometheus/www-alerts.yaml", rules, "15s", "1s").Replace(b.text)
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(conf), 0o644); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	cmd := exec.Command("ip", "netns", "exec", g.watch, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:9090", "--log.level=error")
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	until(g.t, 60*time.Second, "three targets are up and the watchdog alone fires", func() error {
		up, err := g.query(`sum(up{job="wwwd"})`)
		if err != nil || len(up) != 1 || up[0].value() != "3" {
			return fmt.Errorf("up: %v, %w", up, err)
		}
		firing, err := g.query(`ALERTS{alertstate="firing"}`)
		if err != nil {
			return err
		}
		for _, s := range firing {
			if s.Metric["alertname"] != "WwwdWatchdog" {
				return fmt.Errorf("fires: %v", s.Metric)
			}
		}
		if len(firing) == 0 {
			return errors.New("the watchdog does not fire")
		}
		return nil
	})
}

type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (s sample) value() string { return fmt.Sprint(s.Value[1]) }

func (g *group) query(expr string) ([]sample, error) {
	out, err := run(g.t.Context(), "ip", "netns", "exec", g.watch, "curl", "-sfG", "--max-time", "5", "http://127.0.0.1:9090/api/v1/query",
		"--data-urlencode", "query="+expr)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []sample `json:"result"`
		} `json:"data"`
	}
	return answer.Data.Result, json.Unmarshal([]byte(out), &answer)
}

// upgrade upgrades one machine after the other while people go on writing to the log.
func (g *group) upgrade(next string) {
	g.t.Helper()
	ctx, stop := context.WithCancel(g.t.Context())
	var written atomic.Int64
	load := make(chan struct{})
	go func() {
		defer close(load)
		for i := 0; ctx.Err() == nil; i++ {
			m := g.machines[i%len(g.machines)]
			if _, err := m.types(ctx, fmt.Sprintf("wwwctl pause quai --yes --for 1h --reason load-%d && wwwctl resume quai --yes", i)); err == nil {
				written.Add(1)
			}
		}
	}()
	before := g.networkVersion()
	g.bring(next)
	for _, b := range blocks(g.t) {
		if b.after != "upgrade" {
			continue
		}
		for i, name := range b.on {
			g.typed(block{on: []string{name}, text: b.text})
			g.follow(name + " is upgraded")
			if raised := strings.Contains(g.do(g.machines[0], "wwwctl events -o json"), "WWW-1119"); raised && i < len(b.on)-1 {
				g.t.Fatalf("the log's version is raised although %v are not upgraded", b.on[i+1:])
			}
		}
	}
	stop()
	<-load
	until(g.t, 90*time.Second, "the log's version is raised", func() error {
		out, err := g.machines[0].types(g.t.Context(), "wwwctl events -o json")
		if err == nil && !strings.Contains(out, "WWW-1119") {
			err = errors.New("no event says so")
		}
		return err
	})
	if n := written.Load(); n < 5 {
		g.t.Errorf("only %d writes succeeded under the upgrade", n)
	} else {
		g.t.Logf("%d pauses were set and ended while the agents were upgraded", n)
	}
	if after := g.networkVersion(); after != before {
		g.t.Errorf("declared network: version %s before the upgrade, %s after", before, after)
	}
}

// networkVersion returns the version of the declared network, as every agent has it.
func (g *group) networkVersion() string {
	g.t.Helper()
	var seen []string
	for _, m := range g.machines {
		var network struct {
			Version uint64 `json:"version"`
		}
		if err := json.Unmarshal([]byte(g.do(m, "wwwctl config show -o json")), &network); err != nil {
			g.t.Fatal(err)
		}
		seen = append(seen, fmt.Sprint(network.Version))
	}
	if slices.Sort(seen); seen[0] != seen[len(seen)-1] || seen[0] == "0" {
		g.t.Fatalf("agents have versions %v of the declared network", seen)
	}
	return seen[0]
}

// goBack: once the log's version is raised an older agent stops with a clear word, and the
// newer package puts it right.
func (g *group) goBack(deb, next string) {
	g.t.Helper()
	m := g.at("quai")
	must(g.t, "cp", deb, filepath.Join(m.root, "root/older.deb"))
	g.do(m, "dpkg -i --force-downgrade /root/older.deb")
	until(g.t, 60*time.Second, "the older agent says why it stops", func() error {
		out, err := m.types(g.t.Context(), "journalctl -u wwwd --no-pager")
		if err == nil && !strings.Contains(out, "install the newer package again") {
			err = errors.New("it does not")
		}
		return err
	})
	g.do(m, "dpkg -i /root/"+filepath.Base(next))
	g.do(m, "systemctl restart wwwd")
	g.follow("quai has the newer package again")
}
