package api_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func pageBackend(t *testing.T) *apitest.Backend {
	t.Helper()
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inFailover has moulin lost and an operation for it in the log.
func inFailover(t *testing.T) *apitest.Backend {
	t.Helper()
	b := pageBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for _, c := range failover.Decide(b.State(), b.Now()).Commands {
			_ = b.Apply(c) // as the leader would; what is refused is decided anew
		}
	}
	if len(b.State().Ops) == 0 {
		t.Fatal("no operation began")
	}
	return b
}

// isolated has the agent hear no leader, and be unwell in words that are no HTML.
func isolated(t *testing.T) *apitest.Backend {
	t.Helper()
	b := pageBackend(t)
	b.LocalFunc = func() failover.LocalView {
		return failover.LocalView{Site: "fabrique", LastContact: 90 * time.Second, Unwell: []string{"<script>alert(1)</script>"}}
	}
	return b
}

func get(t *testing.T, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestPageTellsWithoutScript(t *testing.T) {
	for _, c := range []struct {
		name   string
		b      *apitest.Backend
		has    []string
		hasNot []string
	}{
		{"healthy", pageBackend(t), []string{"<h1>Healthy</h1>", "as seen from fabrique, 0s old", "automatic failover armed"}, []string{"no leader", "<progress"}},
		{"failover", inFailover(t), []string{"<h1>Failover in progress</h1>", "failover of site:moulin", ">lost<"}, []string{"no leader"}},
		{"isolated", isolated(t), []string{"<h1>Isolated</h1>", "1m30s old", "no leader is heard", "when it last heard a leader", "&lt;script&gt;"}, []string{"<script>alert", "armed", "brought back elsewhere now"}},
	} {
		w := get(t, api.NewPageHandler(c.b, time.Hour), "GET", "/")
		body := w.Body.String()
		for _, want := range append(c.has, "moulin", "nuage", `http-equiv="refresh"`) {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in:\n%s", c.name, want, body)
			}
		}
		for _, not := range append(c.hasNot, "http://", "https://", "ZgotmplZ") {
			if strings.Contains(body, not) {
				t.Errorf("%s: %q in:\n%s", c.name, not, body)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s: %d, %v", c.name, w.Code, w.Header())
		}
	}
}

func TestPageServesNothingElse(t *testing.T) {
	h := api.NewPageHandler(pageBackend(t), time.Hour)
	for path, want := range map[string]int{
		"/page.css": http.StatusOK, "/page.js": http.StatusOK, "/page.html": http.StatusNotFound, "/v1/status": http.StatusNotFound,
		"/../etc/passwd": http.StatusTemporaryRedirect, "/%2e%2e/page.go": http.StatusNotFound, "/page.go": http.StatusNotFound,
	} {
		if got := get(t, h, "GET", path); got.Code != want && got.Code/100 != 3 {
			t.Errorf("GET %s: %d, want %d", path, got.Code, want)
		} else if strings.Contains(got.Body.String(), "package api") || strings.Contains(got.Body.String(), "root:") {
			t.Errorf("GET %s: %s", path, got.Body)
		}
	}
	for _, path := range []string{"/", "/live", "/metrics"} {
		if got := get(t, h, "POST", path); got.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, got.Code)
		}
	}
}

func TestPageIsLive(t *testing.T) {
	b := pageBackend(t)
	s := httptest.NewServer(api.NewPageHandler(b, time.Millisecond))
	defer s.Close()
	resp, err := http.Get(s.URL + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	second, err := http.Get(s.URL + "/live")
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Body.Close()
	if second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one reader more than may: %d", second.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	await := func(want string) {
		for lines.Scan() {
			if text := lines.Text(); text != "" && !strings.HasPrefix(text, "data: ") && text != "event: view" && text != "data:" {
				t.Errorf("no line of an event: %q", text)
			}
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	await("<h1>Healthy</h1>")
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	await(">lost<")
}

// TestPageInChromium looks at the page as a phone does; WWW_SHOTS keeps the pictures.
func TestPageInChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil || os.Getenv("WWW_E2E") == "" {
		t.Skip("needs chromium, and WWW_E2E=1")
	}
	dir := os.Getenv("WWW_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for name, b := range map[string]*apitest.Backend{"healthy": pageBackend(t), "failover": inFailover(t), "isolated": isolated(t)} {
		s := httptest.NewServer(api.NewPageHandler(b, time.Millisecond))
		shot := filepath.Join(dir, name+".png")
		out, err := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
			"--user-data-dir="+t.TempDir(), "--window-size=500,1100", "--timeout=3000", "--screenshot="+shot, s.URL+"/").CombinedOutput()
		s.CloseClientConnections()
		s.Close()
		if info, serr := os.Stat(shot); err != nil || serr != nil || info.Size() < 10_000 {
			t.Errorf("%s: %v, %v\n%s", name, err, serr, out)
		}
		if strings.Contains(string(out), "Content Security Policy") {
			t.Errorf("%s: the page breaks its own policy:\n%s", name, out)
		}
	}
}
