package roothelper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// logs is a buffer that two goroutines may use.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve runs a helper on a real socket until the test ends; change adapts it.
func serve(t *testing.T, h *host, change func(*roothelper.Server)) (roothelper.Client, *logs) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "h.sock")
	ln, err := roothelper.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	out := &logs{}
	s := &roothelper.Server{
		Rules: func() (roothelper.Rules, error) {
			return roothelper.Rules{UID: uint32(os.Getuid()), IDs: []network.IDRange{{First: 90000, Last: 90999}, {First: 95000, Last: 95000}}}, nil
		},
		Runner: h, Log: slog.New(slog.NewTextHandler(out, nil)), MountInfo: func() ([]byte, error) { return os.ReadFile(h.mounts) },
		ReadTimeout: 5 * time.Second, Timeout: 10 * time.Second,
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v, want nil", err)
		}
	})
	return roothelper.Client{Path: path}, out
}

func codeOf(err error) roothelper.Code {
	if r, ok := errors.AsType[*roothelper.Refusal](err); ok {
		return r.Code
	}
	return ""
}

func TestUnlockClearsTheLock(t *testing.T) {
	for kind, tool := range map[string]string{"qemu": "/usr/sbin/qm", "lxc": "/usr/sbin/pct"} {
		h := stub(t, kind)
		client, out := serve(t, h, nil)
		if err := client.Unlock(t.Context(), 90001); err != nil {
			t.Errorf("%s: unlock: %v, want nil", kind, err)
		}
		if got, want := h.acts(), []string{tool + " unlock 90001"}; !slices.Equal(got, want) {
			t.Errorf("%s: acted by %q, want %q", kind, got, want)
		}
		if err := client.Unlock(t.Context(), 90001); codeOf(err) != roothelper.NotLocked {
			t.Errorf("%s: unlock again: %v, want code %s", kind, err, roothelper.NotLocked)
		}
		for _, want := range []string{
			fmt.Sprintf("level=INFO msg=acting uid=%d pid=%d verb=unlock id=90001 kind=%s\n", os.Getuid(), os.Getpid(), kind),
			fmt.Sprintf("level=INFO msg=done uid=%d pid=%d verb=unlock id=90001\n", os.Getuid(), os.Getpid()),
			`level=WARN msg=refused`, `code=unlocked reason="guest 90001 has no lock"`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: log has no %q:\n%s", kind, want, out)
			}
		}
	}
}

func TestUmountTakesTheMountsOff(t *testing.T) {
	h := stub(t, "lxc")
	client, _ := serve(t, h, nil)
	if err := client.Umount(t.Context(), 90001); err != nil || len(h.acts()) != 0 {
		t.Errorf("nothing mounted: %v after %q, want nil and no command", err, h.acts())
	}
	h.mount(t, "/", "/var/lib/lxc/90001/rootfs", "/var/lib/lxc/90001/rootfs/srv")
	if err := client.Umount(t.Context(), 90001); err != nil {
		t.Errorf("umount: %v, want nil", err)
	}
	if got, want := h.acts(), []string{"/usr/bin/umount --recursive --detach-loop /var/lib/lxc/90001/rootfs"}; !slices.Equal(got, want) {
		t.Errorf("acted by %q, want %q", got, want)
	}
	if h.config["lock"] != "create" {
		t.Errorf("lock is %v after umount, want it untouched", h.config["lock"])
	}
}

// TestRefusals: whatever speaks against it, no command that acts is run.
func TestRefusals(t *testing.T) {
	said := func(text string) error {
		return &roothelper.CommandError{Command: "pvesh get", Stderr: text, Err: errors.New("exit status 255")}
	}
	upid := "UPID:pve1:0000C0DE:0001E240:65A0B1C2:qmrestore:90001:wwwd@pve!agent:"
	set := func(key string, value any) func(*host) {
		return func(h *host) { h.config[key] = value }
	}
	for _, c := range []struct {
		name   string
		kind   string
		verb   roothelper.Verb // default: both
		id     int             // default: 90001
		change func(*host)
		want   roothelper.Code
		text   string // part of the reason
	}{
		{name: "id below the range", id: 89999, want: roothelper.OutOfRange},
		{name: "id above the range", id: 91000, want: roothelper.OutOfRange},
		{name: "id of the site's own guest", id: 100, want: roothelper.OutOfRange},
		{name: "no guest", change: func(h *host) { h.kind = "" }, want: roothelper.Absent},
		{name: "running", change: func(h *host) { h.status = "running" }, want: roothelper.Running, text: `"running"`},
		{name: "status unknown", change: func(h *host) { h.status = "" }, want: roothelper.Running},
		{name: "protected, number", change: set("protection", 1), want: roothelper.Protected},
		{name: "protected, text", change: set("protection", "1"), want: roothelper.Protected},
		{name: "protected, boolean", change: set("protection", true), want: roothelper.Protected},
		{name: "protection unreadable", change: set("protection", "yes and no"), want: roothelper.Failed, text: "not a boolean"},
		{name: "protection null", change: set("protection", nil), want: roothelper.Failed},
		{name: "template", change: set("template", 1), want: roothelper.Template},
		{name: "no lock", change: func(h *host) { delete(h.config, "lock") }, want: roothelper.NotLocked},
		{name: "lock backup", change: set("lock", "backup"), want: roothelper.OtherLock, text: `"backup"`},
		{name: "lock migrate", change: set("lock", "migrate"), want: roothelper.OtherLock},
		{name: "lock creates", change: set("lock", "created"), want: roothelper.OtherLock},
		{name: "lock not text", change: set("lock", 1), want: roothelper.Failed},
		{name: "restore runs", change: func(h *host) { h.tasks = `[{"upid":"` + upid + `","status":"RUNNING"}]` }, want: roothelper.Busy, text: upid},
		{name: "task without status", change: func(h *host) { h.tasks = `[{"upid":"` + upid + `"}]` }, want: roothelper.Busy},
		{name: "task list is not one", change: func(h *host) { h.tasks = `` }, want: roothelper.Failed},
		{name: "umount of a VM", kind: "qemu", verb: roothelper.Umount, want: roothelper.WrongKind},
		{name: "Proxmox does not answer", change: func(h *host) { h.fail["/usr/bin/pvesh"] = said("ipcc_send_rec[1] failed: Connection refused\n") }, want: roothelper.Failed, text: "Connection refused"},
		{name: "file of another kind is missing", change: func(h *host) { h.fail["/usr/bin/pvesh"] = said("file '/etc/pve/x' does not exist\n") }, want: roothelper.Failed},
		{name: "status fails", change: func(h *host) {
			h.fail["/usr/bin/pvesh get /nodes/localhost/qemu/90001/status"] = said("x")
			h.fail["/usr/bin/pvesh get /nodes/localhost/lxc/90001/status"] = said("x")
		}, want: roothelper.Failed},
	} {
		for _, kind := range []string{"qemu", "lxc"} {
			for _, verb := range []roothelper.Verb{roothelper.Unlock, roothelper.Umount} {
				if c.kind != "" && c.kind != kind || c.verb != "" && c.verb != verb || c.verb == "" && verb == roothelper.Umount && kind == "qemu" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", c.name, kind, verb), func(t *testing.T) {
					h := stub(t, kind)
					h.mount(t, "/var/lib/lxc/90001/rootfs")
					if c.change != nil {
						c.change(h)
					}
					client, out := serve(t, h, nil)
					id, ask := 90001, client.Unlock
					if c.id != 0 {
						id = c.id
					}
					if verb == roothelper.Umount {
						ask = client.Umount
					}
					err := ask(t.Context(), id)
					if codeOf(err) != c.want || !strings.Contains(err.Error(), c.text) {
						t.Errorf("%s %d: %v, want code %s and %q", verb, id, err, c.want, c.text)
					}
					if got := h.acts(); len(got) > 0 {
						t.Errorf("acted by %q", got)
					}
					if want := fmt.Sprintf("uid=%d pid=%d verb=%s id=%d code=%s reason=", os.Getuid(), os.Getpid(), verb, id, c.want); !strings.Contains(out.String(), want) {
						t.Errorf("log has no %q:\n%s", want, out)
					}
				})
			}
		}
	}
}

func TestActsThatFailAreToldSo(t *testing.T) {
	busy := &roothelper.CommandError{Command: "x", Stderr: "trying to acquire lock...\ncan't lock file '/var/lock/qemu-server/lock-90001.conf' - got timeout\n", Err: errors.New("exit status 255")}
	for _, c := range []struct {
		name   string
		kind   string
		change func(*host)
		text   string
	}{
		{"lock file held", "qemu", func(h *host) { h.fail["/usr/sbin/qm"] = busy }, "got timeout"},
		{"unlock without effect", "qemu", func(h *host) { h.sticky = true }, "still has lock"},
		{"umount: target busy", "lxc", func(h *host) { h.fail["/usr/bin/umount"] = busy }, "got timeout"},
		{"umount without effect", "lxc", func(h *host) { h.sticky = true }, "1 file systems are still mounted"},
		{"no table of mounts", "lxc", func(h *host) { h.mounts += ".gone" }, "read mounts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := stub(t, c.kind)
			h.mount(t, "/var/lib/lxc/90001/rootfs")
			c.change(h)
			client, _ := serve(t, h, nil)
			ask := client.Unlock
			if c.kind == "lxc" {
				ask = client.Umount
			}
			if err := ask(t.Context(), 90001); codeOf(err) != roothelper.Failed || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want code %s and %q", err, roothelper.Failed, c.text)
			}
		})
	}
}

// talk sends bytes as they are and returns all that comes back.
func talk(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // the helper may have hung up already
	if text == "" || !strings.Contains(text, "\n") {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	b, _ := io.ReadAll(conn) // a reset after the answer is the helper's way to drop what it did not read
	return string(b)
}

func TestJunkIsRefused(t *testing.T) {
	h := stub(t, "qemu")
	client, _ := serve(t, h, nil)
	for _, text := range []string{
		"", "\n", "unlock\n", "unlock \n", "unlock 90001", "unlock 90001\r\n", " unlock 90001\n", "unlock  90001\n", "UNLOCK 90001\n",
		"unlock 090001\n", "unlock +90001\n", "unlock 90001 \n", "unlock 90001\nunlock 90002\n", "unlock 9e4\n", "unlock 99\n", "unlock 1000000000\n",
		"unlock ../90001\n", "unlock 90001;id\n", "destroy 90001\n", "unlock\x0090001\n", "unlock 90001\x00\n", "GET / HTTP/1.1\r\n\r\n",
		strings.Repeat("unlock 90001 ", 1000), strings.Repeat("x", 33), strings.Repeat("9", 31) + "\n",
	} {
		if got := talk(t, client.Path, text); !strings.HasPrefix(got, "refused request ") || strings.Count(got, "\n") != 1 {
			t.Errorf("%.40q: got %q, want one line \"refused request …\"", text, got)
		}
	}
	if len(h.commands) > 0 {
		t.Errorf("ran %q for junk", h.commands)
	}
	if got := talk(t, client.Path, "unlock 90001\n"); got != "ok\n" {
		t.Errorf("the good one after them: got %q, want ok", got)
	}
}

func TestOtherUsersAreRefusedUnread(t *testing.T) {
	h := stub(t, "qemu")
	client, out := serve(t, h, func(s *roothelper.Server) {
		s.Rules = func() (roothelper.Rules, error) {
			return roothelper.Rules{UID: uint32(os.Getuid()) + 1, IDs: []network.IDRange{{First: 100, Last: 999999999}}}, nil
		}
	})
	if err := client.Unlock(t.Context(), 90001); codeOf(err) != roothelper.BadPeer || len(h.commands) > 0 {
		t.Errorf("got %v and commands %q, want code %s and none", err, h.commands, roothelper.BadPeer)
	}
	want := fmt.Sprintf("uid=%d pid=%d code=peer", os.Getuid(), os.Getpid())
	if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "verb=") {
		t.Errorf("want %q and no request in the log:\n%s", want, out)
	}
}

func TestBadRulesRefuseAll(t *testing.T) {
	h := stub(t, "qemu")
	client, _ := serve(t, h, func(s *roothelper.Server) {
		s.Rules = func() (roothelper.Rules, error) { return roothelper.Rules{}, errors.New("mode 0666") }
	})
	if err := client.Unlock(t.Context(), 90001); codeOf(err) != roothelper.BadRules || !strings.Contains(err.Error(), "mode 0666") || len(h.commands) > 0 {
		t.Errorf("got %v and commands %q, want code %s with its cause and none", err, h.commands, roothelper.BadRules)
	}
}

func TestSlowCallerIsSentAway(t *testing.T) {
	h := stub(t, "qemu")
	client, _ := serve(t, h, func(s *roothelper.Server) { s.ReadTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("unix", client.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "unlo"); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(conn)
	if got := string(b); !strings.HasPrefix(got, "refused request ") || !strings.Contains(got, "timeout after 4 bytes") {
		t.Errorf("got %q, want a refusal that tells the timeout", got)
	}
	if err := client.Unlock(t.Context(), 90001); err != nil {
		t.Errorf("the next caller: %v, want nil", err)
	}
}

func TestCommandsAreLimitedInTime(t *testing.T) {
	h := stub(t, "qemu")
	h.started, h.goAhead = make(chan struct{}, 1), make(chan struct{}) // never goes ahead
	client, _ := serve(t, h, func(s *roothelper.Server) { s.Timeout = 50 * time.Millisecond })
	if err := client.Unlock(t.Context(), 90001); codeOf(err) != roothelper.Failed || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("got %v, want code %s, deadline exceeded", err, roothelper.Failed)
	}
}

func TestCallersAreServedOneByOne(t *testing.T) {
	h := stub(t, "qemu")
	client, out := serve(t, h, nil)
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = client.Unlock(t.Context(), 90001) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		switch {
		case err == nil:
			done++
		case codeOf(err) != roothelper.NotLocked:
			t.Errorf("got %v, want nil or code %s", err, roothelper.NotLocked)
		}
	}
	if done != 1 || h.most != 1 || len(h.acts()) != 1 {
		t.Errorf("%d callers unlocked by %q with %d commands at once, want 1, 1 and 1\n%s", done, h.acts(), h.most, out)
	}
}

func TestCallerThatLeavesChangesNothing(t *testing.T) {
	h := stub(t, "qemu")
	h.started, h.goAhead = make(chan struct{}), make(chan struct{})
	client, out := serve(t, h, nil)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- client.Unlock(ctx, 90001) }()
	<-h.started
	cancel()
	if err := <-result; !errors.Is(err, roothelper.ErrNoAnswer) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want ErrNoAnswer and the cause", err)
	}
	go func() {
		for {
			select {
			case <-h.started:
			case h.goAhead <- struct{}{}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	// What was begun is carried through, and the next caller is told so.
	if err := client.Unlock(t.Context(), 90001); codeOf(err) != roothelper.NotLocked {
		t.Errorf("asked again: %v, want code %s\n%s", err, roothelper.NotLocked, out)
	}
}

func TestIdleHelperEnds(t *testing.T) {
	ln, err := roothelper.Listen(filepath.Join(t.TempDir(), "h.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &roothelper.Server{Log: slog.New(slog.DiscardHandler), Idle: 10 * time.Millisecond}
	if err := s.Serve(t.Context(), ln); err != nil {
		t.Errorf("Serve: %v, want nil after the idle time", err)
	}
}

// TestProbe: it is asked about the id of no guest, and nothing is done.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name   string
		id     int
		change func(*host, *roothelper.Server)
		want   roothelper.Code // "" = it would help
	}{
		{name: "no guest there", id: 90001, change: func(h *host, _ *roothelper.Server) { h.kind = "" }},
		{name: "a guest there, not locked", id: 90001, change: func(h *host, _ *roothelper.Server) { delete(h.config, "lock") }},
		{name: "a VM there", id: 90001, change: func(h *host, _ *roothelper.Server) { h.kind = "qemu" }},
		{name: "out of range", id: 91000, want: roothelper.OutOfRange},
		{name: "another user's", id: 90001, want: roothelper.BadPeer, change: func(_ *host, s *roothelper.Server) {
			s.Rules = func() (roothelper.Rules, error) {
				return roothelper.Rules{UID: uint32(os.Getuid()) + 1, IDs: []network.IDRange{{First: 90000, Last: 90999}}}, nil
			}
		}},
		{name: "no rules", id: 90001, want: roothelper.BadRules, change: func(_ *host, s *roothelper.Server) {
			s.Rules = func() (roothelper.Rules, error) { return roothelper.Rules{}, errors.New("no file") }
		}},
		{name: "Proxmox does not answer", id: 90001, want: roothelper.Failed, change: func(h *host, _ *roothelper.Server) {
			h.fail["/usr/bin/pvesh"] = &roothelper.CommandError{Command: "pvesh get", Stderr: "Connection refused", Err: errors.New("exit status 255")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := stub(t, "lxc")
			client, out := serve(t, h, func(s *roothelper.Server) {
				if c.change != nil {
					c.change(h, s)
				}
			})
			err := client.Probe(t.Context(), c.id)
			if codeOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want code %q", err, c.want)
			}
			if got := h.acts(); len(got) > 0 {
				t.Errorf("acted by %q", got)
			}
			if h.kind == "" && strings.Contains(out.String(), "level=WARN") {
				t.Errorf("a question that is asked every ten minutes is a warning in the log:\n%s", out)
			}
		})
	}
	gone := roothelper.Client{Path: filepath.Join(t.TempDir(), "none.sock")}
	if err := gone.Probe(t.Context(), 90001); !errors.Is(err, roothelper.ErrNoHelper) {
		t.Errorf("without a socket: %v, want %v", err, roothelper.ErrNoHelper)
	}
}
