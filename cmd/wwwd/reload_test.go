package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
)

// SIGHUP: a bad file changes nothing, a good one takes effect as far as it can, and
// what waits for a restart is told.
func TestReload(t *testing.T) {
	ca, err := cluster.NewCA("assos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, ca, "moulin", 40)
	a.start(t)
	good, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text, log, metric string
	}{
		{"bad", string(good) + "nonsense: true\n", "configuration not reloaded", "wwwd_config_last_reload_successful 0"},
		{
			"good", strings.Replace(string(good), "level: debug", "level: error, format: json", 1),
			`keys=log.format do="systemctl restart wwwd"`, "wwwd_config_last_reload_successful 1",
		},
	} {
		if err := os.WriteFile(a.file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		a.hangup <- syscall.SIGHUP
		eventually(t, func() error {
			if !strings.Contains(a.logs.String(), c.log) {
				return fmt.Errorf("log: %s", a.logs)
			}
			resp, err := http.Get("http://" + a.conf.Listen.Metrics.String() + "/metrics")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(string(b), c.metric+"\n") {
				err = fmt.Errorf("%s: metrics say otherwise", c.name)
			}
			return err
		})
	}
	before := len(a.logs.String())
	a.hangup <- syscall.SIGHUP
	a.hangup <- syscall.SIGHUP // taken: the first is done
	if more := a.logs.String()[before:]; strings.Contains(more, "level=WARN") || strings.Contains(more, "level=INFO") {
		t.Errorf("the log goes on below its new level: %s", more)
	}
	if a.conf.Log.Level != "debug" {
		t.Error("the file's configuration was changed under those who read it")
	}
}
