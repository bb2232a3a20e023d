package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// fakeRoom notes what it is asked for.
type fakeRoom struct {
	asked []string
	cuts  []cutRequest
	err   error
	dir   string
}

func (f *fakeRoom) view(context.Context) roomView {
	return roomView{
		Dir: "/lab", PID: 7, Block: "127.77.0.0/16", Leader: "quai",
		Sites: []siteView{{Site: "moulin", Kind: "brique"}, {Site: "quai", Kind: "brique", Power: true, Agent: 12, Hosts: 13}},
		Cuts:  []fabric.Cut{{From: "quai", To: "*", Path: fabric.Mesh}},
	}
}

func (f *fakeRoom) act(_ context.Context, verb, site string) error {
	f.asked = append(f.asked, verb+" "+site)
	return f.err
}

func (f *fakeRoom) cut(c cutRequest) error {
	f.cuts = append(f.cuts, c)
	return f.err
}

func (f *fakeRoom) hosts(name string) (*site.Client, error) {
	return site.NewClient(f.dir, name), f.err
}

func (f *fakeRoom) visit(_ context.Context, v visit) (visited, error) {
	f.asked = append(f.asked, fmt.Sprintf("visit %+v", v))
	return visited{From: "nuage.example (quai)", Page: "12:00:01 one\n12:00:02 two\n"}, f.err
}

// serveFake answers for a fake room on the control socket of a directory.
func serveFake(t *testing.T, f *fakeRoom) (dir string, stopped chan struct{}) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	f.dir = dir
	ln, err := net.Listen("unix", controlSocket(dir))
	if err != nil {
		t.Fatal(err)
	}
	stopped = make(chan struct{})
	srv := &http.Server{Handler: controlHandler(f, func() { close(stopped) })}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir, stopped
}

func runLine(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestCommandsReachTheSupervisor(t *testing.T) {
	f := &fakeRoom{}
	dir, stopped := serveFake(t, f)
	for _, args := range [][]string{
		{"kill", "moulin"},
		{"revive", "moulin"},
		{"restart", "quai"},
		{"heal", "quai"},
		{"cut", "quai"},
		{"cut", "--path", "mesh", "quai", "--one-way"},
		{"write", "nuage", "hello there"},
		{"read", "nuage", "--at", "moulin"},
	} {
		if code, _, complaint := runLine(t, append(args, "--dir", dir)...); code != exitOK {
			t.Errorf("%v: exit code %d: %s", args, code, complaint)
		}
	}
	if want := []string{"kill moulin", "revive moulin", "restart quai", "heal quai", "visit {Guest:nuage At: Text:hello there}", "visit {Guest:nuage At:moulin Text:}"}; !cmp.Equal(f.asked, want) {
		t.Errorf("asked for %q, want %q", f.asked, want)
	}
	wantCuts := []cutRequest{{Site: "quai", Path: "both"}, {Site: "quai", Path: "mesh", OneWay: true}}
	if !cmp.Equal(f.cuts, wantCuts) {
		t.Errorf("cuts %+v, want %+v", f.cuts, wantCuts)
	}
	code, out, _ := runLine(t, "status", "--dir", dir)
	for _, want := range []string{"leader quai", "moulin  brique  OFF", "cut: quai → *, path mesh", "12", "13"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("status (exit code %d) lacks %q:\n%s", code, want, out)
		}
	}
	if code, _, complaint := runLine(t, "down", "--dir", dir); code != exitOK {
		t.Errorf("down: exit code %d: %s", code, complaint)
	}
	select {
	case <-stopped:
	default:
		t.Error("down did not stop the network")
	}
}

func TestRefusalsReachThePerson(t *testing.T) {
	f := &fakeRoom{err: errors.New("no site \"paris\" in this lab")}
	dir, _ := serveFake(t, f)
	for _, args := range [][]string{{"kill", "paris"}, {"cut", "paris"}, {"fault", "clear", "paris"}, {"guest", "stop", "paris", "g"}, {"read", "g", "--at", "paris"}} {
		code, _, complaint := runLine(t, append(args, "--dir", dir)...)
		if code != exitFailed || !strings.Contains(complaint, "paris") {
			t.Errorf("%v: exit code %d, %q; want %d and the refusal", args, code, complaint, exitFailed)
		}
	}
}

func TestControlRefusesMalformedRequests(t *testing.T) {
	f := &fakeRoom{}
	dir, _ := serveFake(t, f)
	c := remote{dir: dir}
	for path, body := range map[string]any{
		"/cut":    map[string]any{"site": "quai", "colour": "red"},
		"/faults": []int{1},
		"/guest":  "stop",
	} {
		if err := c.do(t.Context(), http.MethodPost, path, body, nil); err == nil || !strings.Contains(err.Error(), "read request") {
			t.Errorf("%s with %v: %v, want an error about the request", path, body, err)
		}
	}
	if len(f.cuts) > 0 {
		t.Errorf("a malformed request cut %v", f.cuts)
	}
}

func TestClaimedDirectoryIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	held, err := claimDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimDir(dir); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a second claim: %v, want a refusal that names the process", err)
	}
	if err := os.WriteFile(filepath.Join(dir, site.FileName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	held, err = claimDir(dir)
	if err != nil {
		t.Fatalf("claim of the remains of a lab: %v", err)
	}
	defer held.Close()
	if _, err := os.Stat(filepath.Join(dir, site.FileName)); err == nil {
		t.Error("the remains of the lab before are still there")
	}
}

// TestFilesOfAnAgent writes the directory of a lab and reads every agent's file as the
// agent does.
func TestFilesOfAnAgent(t *testing.T) {
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lab") // short: sockets are named in it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := l.WriteFiles(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i, name := range l.Names() {
		c, problems := config.Load(site.AgentFile(dir, name))
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Path, p.Message)
		}
		if c == nil {
			continue
		}
		if c.Advertise.Addr() != l.Plan().Mesh(i) || c.Listen.Mesh.Addr() != l.Plan().MeshBackend(i) {
			t.Errorf("%s listens on %s and shows %s", name, c.Listen.Mesh, c.Advertise)
		}
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s: others could read it", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
