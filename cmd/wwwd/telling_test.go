package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
)

// TestChannelsOfAnAgent: channels that a reload brings are there at once, a test goes through
// them, and one that fails is in the answer, in the status and in the metrics. The dead man's
// switch is called.
func TestChannelsOfAnAgent(t *testing.T) {
	var messages, pings atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hook":
			messages.Add(1)
		case "/alive":
			pings.Add(1)
		default:
			http.Error(w, "no credit", http.StatusPaymentRequired)
		}
	}))
	defer server.Close()
	ca, err := cluster.NewCA("assos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, ca, "moulin", 41)
	a.start(t)
	ask := func(channel string) (string, error) {
		return a.client().Verb(t.Context(), "/v1/alert/test", testRequest{Channel: channel})
	}
	if text, err := ask(""); err == nil || !strings.Contains(err.Error(), "no channel") {
		t.Errorf("without channels: %q, %v", text, err)
	}
	b, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	address := filepath.Join(t.TempDir(), "address")
	if err := os.WriteFile(address, []byte(server.URL+"/alive\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%snotify:\n  channels: {hook: {type: webhook, url: \"%s/hook\"}, sms: {type: ntfy, url: \"%s/sms\"}}\n  dead_man: {outside: {url_file: %s}}\n",
		b, server.URL, server.URL, address)
	if err := os.WriteFile(a.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.hangup <- syscall.SIGHUP
	eventually(t, func() error {
		_, err := ask("hook")
		return err
	})
	if messages.Load() != 1 {
		t.Errorf("%d messages, want one", messages.Load())
	}
	if text, err := ask(""); err == nil || !strings.Contains(err.Error(), "hook: taken") || !strings.Contains(err.Error(), "sms: FAILED, HTTP 402 no credit") {
		t.Errorf("one of two fails: %q, %v", text, err)
	}
	st, err := a.client().Status(t.Context())
	if err != nil || len(st.Local.Channels) != 2 || st.Local.Channels[1].Failing == "" {
		t.Errorf("status: %+v, %v", st.Local.Channels, err)
	}
	eventually(t, func() error {
		resp, err := http.Get("http://" + a.conf.Listen.Metrics.String() + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		for _, want := range []string{`wwwd_notification_failures{channel="sms"} 1`, `wwwd_notifications_total{channel="hook",result="sent"} 2`, `wwwd_notification_failures{channel="hook"} 0`} {
			if err == nil && !strings.Contains(string(b), want+"\n") {
				err = fmt.Errorf("metrics lack %s", want)
			}
		}
		if err == nil && (pings.Load() == 0 || strings.Contains(string(b), `wwwd_deadman_last_ping_timestamp_seconds{target="outside"} 0`)) {
			err = fmt.Errorf("the switch outside was called %d times, or metrics do not say so", pings.Load())
		}
		return err
	})
}
