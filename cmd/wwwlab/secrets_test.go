package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// secrets are texts that must stand nowhere but where they belong, by what they are.
type secrets map[string]string

// find returns the secrets that a text holds.
func (s secrets) find(b []byte) (out []string) {
	for what, text := range s {
		if bytes.Contains(b, []byte(text)) {
			out = append(out, what)
		}
	}
	return out
}

// key adds a line of a PEM file: any of them gives the key away.
func (s secrets) key(t *testing.T, what, pem string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(pem), "\n")
	if len(lines) < 3 {
		t.Fatalf("%s: no PEM", what)
	}
	s[what] = lines[1]
}

// TestNoSecretIsTold runs a failover and then looks for every secret of the network, in
// all that agents write, keep, answer and show: only the files that are for it hold it.
func TestNoSecretIsTold(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("takes half a minute: set WWW_E2E=1")
	}
	dns := site.Embedded
	if nameserver.Check("knot") == nil {
		dns = "knot" // has a TSIG key to lose
	}
	bins := build(t)
	heard := newHearing(t)
	r := realRoom(t, bins, dns, func(r *room) { heard.plant(t, r) })
	known, keep := plantedSecrets(t, r, heard.secrets)
	if err := r.kill("moulin"); err != nil {
		t.Fatal(err)
	}
	s := &struck{t: t, room: r, crashed: map[string]bool{}}
	op := s.follow("moulin")
	if op.Phase != failover.OpDone {
		t.Fatalf("%s is %s, want it done", op.ID, op.Phase)
	}
	looked := 0
	tell := func(where string, b []byte) {
		looked++
		for _, what := range known.find(b) {
			t.Errorf("%s holds %s", where, what)
		}
	}
	for _, name := range r.living() {
		askEverything(t, r, name, op, tell)
		runEverything(t, bins.wwwctl, r, name, string(op.ID), tell)
	}
	for name, text := range heard.tried(t, bins.wwwctl, r) {
		tell("wwwctl alert test at "+name, text)
	}
	readEverything(t, r.dir, keep, tell)
	heard.complete(t)
	if looked < 150 {
		t.Errorf("%d outputs were looked at: too few to mean anything", looked)
	}
}

// plantedSecrets are those that the lab made, and those of a token and a login file that
// are asked for here. keep are the files in which one belongs.
func plantedSecrets(t *testing.T, r *room, more secrets) (known secrets, keep []string) {
	t.Helper()
	known = maps.Clone(more)
	known["the lab's secret"] = r.lab.Secret
	for _, name := range r.lab.Names() {
		known["the token of the PVE of "+name] = r.lab.TokenSecret(name, site.PVEToken)
		known["the token of the PBS of "+name] = r.lab.TokenSecret(name, site.PBSToken)
		for _, user := range []string{site.RouterReader, site.RouterWriter} {
			known["the password of "+user+" at the router of "+name] = r.lab.TokenSecret(name, user)
		}
		for _, file := range []string{"agent.key", "ca.key"} {
			b, err := os.ReadFile(filepath.Join(site.SiteDir(r.dir, name), file))
			if err != nil {
				t.Fatal(err)
			}
			known.key(t, file+" of "+name, string(b))
		}
	}
	if r.lab.RealDNS() {
		known["the TSIG secret"] = r.lab.TSIGSecret()
	}
	c := r.agent(r.living()[0])
	token, err := c.CreateToken(t.Context(), api.TokenRequest{Site: "late", Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := api.ParseJoinToken(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	known["the secret of a join token"] = parsed.Secret
	login, err := c.AdmitOperator(t.Context(), api.OperatorRequest{Name: "ada", Role: failover.RoleViewer, Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	known.key(t, "an operator's key", login.Key)
	for what, text := range maps.Clone(known) { // in other dresses
		known[what+" in base64"] = base64.StdEncoding.EncodeToString([]byte(text))
		known[what+" in hex"] = hex.EncodeToString([]byte(text))
	}
	return known, []string{"pve.token", "pbs.token", "agent.key", "ca.key", "tsig.key", "knot.conf", site.RouterReaderFile, site.RouterWriterFile, site.FileName, channelSecret}
}

// askEverything asks an agent each question that its own description has, and what its
// management address shows.
func askEverything(t *testing.T, r *room, name string, op failover.OpView, tell func(string, []byte)) {
	t.Helper()
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", site.AgentSocket(r.dir, name))
	}}}
	defer socket.CloseIdleConnections()
	get := func(c *http.Client, url string) []byte {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		defer resp.Body.Close()
		if strings.HasSuffix(url, "/stream?since=0") { // has no end
			b := make([]byte, 64<<10)
			n, _ := io.ReadAtLeast(resp.Body, b, 1)
			return b[:n]
		}
		b, err := io.ReadAll(resp.Body)
		want := http.StatusOK
		if strings.HasSuffix(url, "/diff") { // of a guest of which no branch is sealed
			want = http.StatusUnprocessableEntity
		}
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s of %s: %s, %v; want %d", url, name, resp.Status, err, want)
		}
		tell(url+" of "+name, b)
		return b
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := yaml.Unmarshal(get(socket, "http://wwwd/v1/openapi.yaml"), &doc); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{site}", name, "{guest}", string(op.Guests[0].Guest), "{op}", string(op.ID))
	query := map[string]string{"/v1/plan": "?site=" + name, "/v1/dns/plan": "?site=" + name, "/v1/simulate": "?lose=" + name, "/v1/doctor": "?fresh=true", "/v1/events/stream": "?since=0", "/v1/events": "?limit=2000"}
	for path, methods := range doc.Paths {
		if methods["get"] == nil {
			continue
		}
		b := get(socket, "http://wwwd"+fill.Replace(path)+query[path])
		if path == "/v1/cluster/snapshot" {
			tell("the state in a snapshot of "+name, stateIn(t, b))
		}
	}
	i, err := r.lab.Index(name)
	if err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("http://%s:%d", r.lab.Plan().Management(i), r.lab.Ports().Metrics)
	get(http.DefaultClient, base+"/metrics")
	get(http.DefaultClient, base+"/")
}

// stateIn opens a snapshot: packed, it could hide anything.
func stateIn(t *testing.T, answer []byte) []byte {
	t.Helper()
	var file api.SnapshotFile
	if err := api.Unmarshal(answer, api.KindSnapshot, &file); err != nil {
		t.Fatal(err)
	}
	s, err := cluster.DecodeSnapshot(file.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil || len(b) < 1000 {
		t.Fatalf("state of %d bytes: %v", len(b), err)
	}
	return b
}

// runEverything types the commands that print most.
func runEverything(t *testing.T, wwwctl string, r *room, name, op string, tell func(string, []byte)) {
	t.Helper()
	for _, line := range []string{
		"status -v", "sites " + name + " -o wide", "guests -o wide", "op show " + op, "report incident " + op, "history -o wide", "events -o wide --limit 2000",
		"config show", "dns show -o wide", "doctor --no-color", "token list", "operator list", "cluster peers -o wide", "gen lineages", "gen dns knot", "check", "version -v",
	} {
		cmd := exec.CommandContext(t.Context(), wwwctl, append([]string{"--socket", site.AgentSocket(r.dir, name)}, strings.Fields(line)...)...)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatalf("wwwctl %s: %v", line, err)
		}
		tell("wwwctl "+line+" at "+name, out)
	}
}

// readEverything reads what the network has written, but for the files that hold a secret
// on purpose and what belongs to the stand-ins for Proxmox and to the DNS servers.
func readEverything(t *testing.T, dir string, keep []string, tell func(string, []byte)) {
	t.Helper()
	sizes := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || slices.Contains(keep, d.Name()) {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sizes[filepath.Ext(path)] += len(b)
		tell(path, b)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if sizes[".log"] < 10_000 {
		t.Errorf("files read, bytes by ending: %v, want the logs among them", sizes)
	}
}
