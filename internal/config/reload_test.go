package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/config"
)

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, problems := config.Parse("wwwd.yaml", []byte(text))
	if c == nil {
		t.Fatal(problems)
	}
	return c
}

func TestTakeTellsWhatNeedsARestart(t *testing.T) {
	const pin = `AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA`
	for _, c := range []struct {
		name, more string
		now, later []string
	}{
		{"nothing", "", nil, nil},
		{"a comment", "# words\n", nil, nil},
		{"a default written out", "log: {level: info}\n", nil, nil},
		{"the level", "log: {level: debug}\n", []string{"log.level"}, nil},
		{"a pin", "probe_fingerprints: {pve-a: {pve: \"" + pin + "\"}}\n", []string{"probe_fingerprints"}, nil},
		{"an authority", "public_ca_file: /etc/www/public-ca.pem\n", []string{"public_ca_file"}, nil},
		{"level and format", "log: {level: warn, format: json}\n", []string{"log.level"}, []string{"log.format"}},
		{"a channel", "notify: {channels: {root: {type: sendmail, from: a@b.example, to: [root]}}}\n", []string{"notify"}, nil},
		{"a socket", "socket: /run/www/other.sock\n", nil, []string{"socket"}},
		{"a hand", "hands: {pve-a: {token_file: /etc/www/secrets/a, backup: x}}\n", nil, []string{"hands.pve-a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, next := parsed(t, minimal), parsed(t, minimal+c.more)
			taken, now, later, err := old.Take(next)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.now, now) + cmp.Diff(c.later, later); d != "" {
				t.Error(d)
			}
			if taken.Log.Level != next.Log.Level || taken.Log.Format != old.Log.Format || taken.Socket != old.Socket {
				t.Errorf("taken: %+v", taken)
			}
			// What was taken is not told again; what waits is.
			_, now, again, err := taken.Take(next)
			if err != nil || now != nil || cmp.Diff(later, again) != "" {
				t.Errorf("second time: now %v, later %v, %v", now, again, err)
			}
		})
	}
}
