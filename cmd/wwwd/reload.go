package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// settings is the agent's file while it runs. Only the loop of serve and the
// reloader that it has started, never both at once, touch conf.
type settings struct {
	conf  *config.Config // as it runs
	load  func() (*config.Config, []network.Problem)
	asked <-chan os.Signal // SIGHUP; nil: never
	level slog.LevelVar    // of the log

	leaderless time.Duration // see leaderlessFor
}

func newSettings(conf *config.Config, file string, asked <-chan os.Signal) *settings {
	s := &settings{conf: conf, asked: asked, leaderless: leaderlessFor, load: func() (*config.Config, []network.Problem) { return config.Load(file) }}
	s.setLevel()
	return s
}

func (s *settings) setLevel() {
	if s.level.UnmarshalText([]byte(s.conf.Log.Level)) != nil {
		s.level.Set(slog.LevelInfo) // Load has refused anything else
	}
}

// awaitReload reads the file again at each SIGHUP until ctx ends.
func (d *daemon) awaitReload(ctx context.Context, s *settings, m *api.ReloadMetrics) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asked:
		}
		_ = sdNotify("RELOADING=1")
		m.Reloaded(d.reload(s), time.Now())
		notifyReady(d.log)
	}
}

// reload takes over what a running agent can, and says what it cannot. A file with
// a mistake changes nothing.
func (d *daemon) reload(s *settings) bool {
	next, problems := s.load()
	for _, p := range problems {
		d.log.Warn("configuration", "problem", p.String())
	}
	if next == nil {
		d.log.Error("configuration not reloaded: the agent goes on with the one that it has", "do", "wwwd check")
		return false
	}
	taken, now, later, err := s.conf.Take(next)
	if err != nil {
		d.log.Error("configuration not reloaded", "err", err)
		return false
	}
	if len(later) > 0 { // told before the new level may hide it
		d.log.Warn("configuration: this waits for a restart", "keys", strings.Join(later, " "), "do", "systemctl restart wwwd")
	}
	d.log.Info("configuration reloaded", "changed", strings.Join(now, " "))
	s.conf = taken
	s.setLevel()
	d.probes.pin(taken.Pins())
	d.probes.trust(taken.PublicCAFile, d.log)
	if err := d.tell.take(taken.Notify); err != nil {
		d.log.Error("channels not reloaded", "err", err)
		return false
	}
	return true
}
