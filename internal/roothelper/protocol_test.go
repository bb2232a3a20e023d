package roothelper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

func TestParseRequest(t *testing.T) {
	for text, want := range map[string]roothelper.Request{
		"unlock 100\n":       {Verb: roothelper.Unlock, ID: 100},
		"umount 90001\n":     {Verb: roothelper.Umount, ID: 90001},
		"unlock 999999999\n": {Verb: roothelper.Unlock, ID: 999999999},
	} {
		if got, err := roothelper.ParseRequest([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

var wellFormed = regexp.MustCompile(`\A(unlock|umount) [1-9][0-9]{2,8}\n\z`)

// FuzzParseRequest: exactly the lines of the grammar are taken, and each says
// what it reads.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{"unlock 100\n", "umount 999999999\n", "unlock 90001", "unlock 090001\n", "unlock 90001\n\n", "umount -100\n", "unlock １００\n", strings.Repeat("9", 40)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := roothelper.ParseRequest(b)
		if ok := wellFormed.Match(b); ok != (err == nil) {
			t.Fatalf("%q: got %+v, %v; well-formed: %v", b, r, err, ok)
		}
		if err == nil && fmt.Sprintf("%s %d\n", r.Verb, r.ID) != string(b) {
			t.Errorf("%q was read as %+v", b, r)
		}
	})
}

// answering is a helper that says one thing.
func answering(t *testing.T, answer string) roothelper.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "h.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadAtLeast(conn, make([]byte, 32), 1)
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	return roothelper.Client{Path: path}
}

func TestClientTellsOutcomesApart(t *testing.T) {
	for answer, want := range map[string]roothelper.Code{"refused busy task x runs\n": roothelper.Busy, "refused newcode\n": "newcode"} {
		if err := answering(t, answer).Unlock(t.Context(), 100); codeOf(err) != want || errors.Is(err, roothelper.ErrNoAnswer) {
			t.Errorf("%q: got %v, want code %s", answer, err, want)
		}
	}
	for _, answer := range []string{"", "ok", "OK\n", "ok\nok\n", "ok \n", "refused \n", "refused\n", "refused busy x", "refused busy x\ny\n", "yes\n", strings.Repeat("ok", 1000)} {
		if err := answering(t, answer).Unlock(t.Context(), 100); !errors.Is(err, roothelper.ErrNoAnswer) || codeOf(err) != "" {
			t.Errorf("%.20q: got %v, want ErrNoAnswer", answer, err)
		}
	}
	if err := answering(t, "ok\n").Umount(t.Context(), 100); err != nil {
		t.Errorf("ok: got %v, want nil", err)
	}
	nobody := roothelper.Client{Path: filepath.Join(t.TempDir(), "none.sock")}
	if err := nobody.Unlock(t.Context(), 100); !errors.Is(err, roothelper.ErrNoHelper) || errors.Is(err, roothelper.ErrNoAnswer) {
		t.Errorf("no socket: got %v, want ErrNoHelper", err)
	}
	if err := nobody.Unlock(t.Context(), 99); codeOf(err) != roothelper.BadRequest {
		t.Errorf("id 99: got %v, want code %s without asking", err, roothelper.BadRequest)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := answering(t, "ok\n").Unlock(ended, 100); !errors.Is(err, roothelper.ErrNoHelper) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v, want ErrNoHelper and the cause", err)
	}
}

// TestTextsOfCommandsStayInTheirLine: what a command says gets into the
// answer, and must not become a second one.
func TestTextsOfCommandsStayInTheirLine(t *testing.T) {
	h := stub(t, "qemu")
	h.fail["/usr/sbin/qm"] = &roothelper.CommandError{Command: "qm", Stderr: "é\x1b[31m\x00" + strings.Repeat("long ", 300), Err: errors.New("a\nok\n\tb")}
	client, _ := serve(t, h, nil)
	got := talk(t, client.Path, "unlock 90001\n")
	if !regexp.MustCompile(`\Arefused failed [ -~]+\n\z`).MatchString(got) || len(got) > 512 || !strings.Contains(got, "a ok b") {
		t.Errorf("got %q (%d bytes), want one printable line of at most 512", got, len(got))
	}
}

func TestWhatMayPassByItself(t *testing.T) {
	temporary := func(err error) bool {
		x, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err)
		return ok && x.Temporary()
	}
	for _, code := range []roothelper.Code{
		roothelper.BadRequest, roothelper.BadPeer, roothelper.BadRules, roothelper.OutOfRange, roothelper.Absent, roothelper.WrongKind,
		roothelper.Running, roothelper.Template, roothelper.Protected, roothelper.NotLocked, roothelper.OtherLock, roothelper.Busy, roothelper.Failed,
	} {
		want := code == roothelper.Busy || code == roothelper.Failed
		if got := temporary(fmt.Errorf("unlock guest 90001: %w", &roothelper.Refusal{Code: code})); got != want {
			t.Errorf("refusal %q is temporary: %t, want %t", code, got, want)
		}
	}
	_, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(t.TempDir(), "none.sock"))
	if temporary(fmt.Errorf("unlock guest 90001: %w: %w", roothelper.ErrNoHelper, err)) {
		t.Error("that no helper listens is temporary")
	}
	if !temporary(fmt.Errorf("unlock guest 90001: %w: %w", roothelper.ErrNoAnswer, context.Canceled)) {
		t.Error("that it did not answer is not temporary")
	}
}

// TestDoKeepsToTheRange: without a socket there is no caller to judge, but the
// rules' ids and the looks at the guest hold all the same.
func TestDoKeepsToTheRange(t *testing.T) {
	h := stub(t, "qemu")
	var s *roothelper.Server
	serve(t, h, func(x *roothelper.Server) { s = x })
	for id, want := range map[int]roothelper.Code{91000: roothelper.OutOfRange, 90001: ""} {
		if got := codeOf(s.Do(t.Context(), roothelper.Request{Verb: roothelper.Unlock, ID: id})); got != want {
			t.Errorf("unlock %d: code %q, want %q", id, got, want)
		}
	}
	if got := h.acts(); len(got) != 1 {
		t.Errorf("acted by %q, want one unlock", got)
	}
	s.Rules = func() (roothelper.Rules, error) { return roothelper.Rules{}, errors.New("not readable") }
	if got := codeOf(s.Do(t.Context(), roothelper.Request{Verb: roothelper.Unlock, ID: 90001})); got != roothelper.BadRules {
		t.Errorf("without rules: code %q, want %q", got, roothelper.BadRules)
	}
}
