package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// channelSecret is the name of every file with a secret of a channel, each in a directory of
// its own.
const channelSecret = "channel.secret"

// hearing stands where agents tell people, by channels with secrets: a server that takes all,
// one that refuses all and says why with the secret in it, and addresses where nobody is.
type hearing struct {
	secrets secrets
	server  *httptest.Server
	nobody  string // HOST:PORT

	mu  sync.Mutex
	got map[string]bool // secrets that came where they belong
}

func newHearing(t *testing.T) *hearing {
	t.Helper()
	h := &hearing{secrets: secrets{}, got: map[string]bool{}}
	for i, what := range []string{"ntfy", "matrix", "freemobile", "hook", "refused", "gone", "mail", "deadman"} {
		h.secrets["the secret of the channel "+what] = fmt.Sprintf("Kanal%dGeheim%s", i, strings.ToUpper(what))
	}
	h.server = httptest.NewServer(http.HandlerFunc(h.answer))
	t.Cleanup(h.server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.nobody = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

// of is the secret of a channel.
func (h *hearing) of(channel string) string { return h.secrets["the secret of the channel "+channel] }

func (h *hearing) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what came is looked at
	all := r.URL.String() + r.Header.Get("Authorization") + string(body)
	h.mu.Lock()
	for what, text := range h.secrets {
		if strings.Contains(all, text) {
			h.got[what] = true
		}
	}
	h.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/refused") {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "cannot POST "+all)
	}
}

// plant gives each agent channels of every kind that has a secret.
func (h *hearing) plant(t *testing.T, r *room) {
	t.Helper()
	for _, name := range r.lab.Names() {
		file := func(what, text string) string {
			dir := filepath.Join(site.SiteDir(r.dir, name), "channel-"+what)
			path := filepath.Join(dir, channelSecret)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		url := h.server.URL
		section := fmt.Sprintf(`
notify:
  channels:
    ntfy: {type: ntfy, url: %q, token_file: %q}
    matrix: {type: matrix, url: %q, room: "!a:b", token_file: %q}
    freemobile: {type: freemobile, url: %q, user: camille, password_file: %q}
    hook: {type: webhook, url_file: %q}
    refused: {type: webhook, url_file: %q}
    gone: {type: webhook, url_file: %q}
    mail: {type: smtp, server: %q, tls: none, from: a@b.example, to: [c@d.example], user: wwwd, password_file: %q}
  dead_man:
    deadman: {url_file: %q, every: 10s}
`, url+"/topic", file("ntfy", h.of("ntfy")), url, file("matrix", h.of("matrix")), url+"/sms", file("freemobile", h.of("freemobile")),
			file("hook", url+"/hook/"+h.of("hook")), file("refused", url+"/refused/"+h.of("refused")),
			file("gone", "http://"+h.nobody+"/"+h.of("gone")), h.nobody, file("mail", h.of("mail")), file("deadman", url+"/alive/"+h.of("deadman")))
		if err := appendTo(site.AgentFile(r.dir, name), section); err != nil {
			t.Fatal(err)
		}
	}
}

// tried has every living agent test its channels, and returns what people are shown.
func (h *hearing) tried(t *testing.T, wwwctl string, r *room) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range r.living() {
		b, err := exec.CommandContext(t.Context(), wwwctl, "--socket", site.AgentSocket(r.dir, name), "alert", "test").CombinedOutput()
		if err == nil || !strings.Contains(string(b), "3 of 7") {
			t.Errorf("wwwctl alert test at %s: %v\n%s\nwant three of seven to fail", name, err, b)
		}
		out[name] = b
	}
	return out
}

// complete says which secrets never came where they belong: those prove nothing.
func (h *hearing) complete(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range []string{"ntfy", "matrix", "freemobile", "hook", "refused", "deadman"} {
		if what := "the secret of the channel " + channel; !h.got[what] {
			t.Errorf("%s was never used", what)
		}
	}
}
