package notify

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

func tryOut(t *testing.T, c Channel) error {
	t.Helper()
	s, err := NewSender(c, edge())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.(trier).Trial(ctx)
}

// TestTrialsTellNobody: as much is done as can be without a message, and what would fail does.
func TestTrialsTellNobody(t *testing.T) {
	var asked []string
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer web.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	good, bad := secretFile(t, "good"), secretFile(t, "bad")
	exe := script(t, "exit 1\n")
	for what, c := range map[string]struct {
		channel Channel
		fails   string // part of the error; "" = it goes
	}{
		"hook":                {Channel{Type: Webhook, URL: web.URL, CAFile: ca}, ""},
		"hook, nobody there":  {Channel{Type: Webhook, URL: "https://" + nobody + "/T0KEN", CAFile: ca}, "refused"},
		"hook, foreign":       {Channel{Type: Webhook, URL: web.URL}, "certificate"},
		"ntfy, secret gone":   {Channel{Type: Ntfy, URL: web.URL, CAFile: ca, TokenFile: good + ".gone"}, "no such file"},
		"matrix":              {Channel{Type: Matrix, URL: web.URL, CAFile: ca, Room: "!a:b", TokenFile: good}, ""},
		"matrix, token ended": {Channel{Type: Matrix, URL: web.URL, CAFile: ca, Room: "!a:b", TokenFile: bad}, "401"},
		"program":             {Channel{Type: Exec, Command: []string{exe}}, ""},
		"no program":          {Channel{Type: Exec, Command: []string{exe + ".gone"}}, "no such file"},
		"no mail program":     {Channel{Type: Sendmail, Command: []string{exe + ".gone"}}, "no such file"},
		"no mail server":      {Channel{Type: SMTP, Server: nobody, TLS: "none", From: "a@b.example"}, "refused"},
	} {
		t.Run(what, func(t *testing.T) {
			asked = nil
			err := tryOut(t, c.channel)
			if (err == nil) != (c.fails == "") || err != nil && (!strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "T0KEN")) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
			for _, a := range asked {
				if !strings.HasPrefix(a, "GET /_matrix/client/v3/account/whoami Bearer ") {
					t.Errorf("a trial says %s", a)
				}
			}
		})
	}
	mail := Channel{Type: SMTP, TLS: "starttls", CAFile: ca, From: "wwwd@b.example", To: []string{"c@d.example"}, User: "wwwd", PasswordFile: good}
	box := newMailbox(t, &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
	mail.Server = box.l.Addr().String()
	if err := tryOut(t, mail); err != nil {
		t.Error(err)
	}
	if said := strings.Join(<-box.said, "\n"); !strings.Contains(said, "AUTH PLAIN") || !strings.Contains(said, "RCPT TO:<c@d.example>") || strings.Contains(said, "DATA") {
		t.Errorf("the trial of a mail server said\n%s", said)
	}
}

// silent is a channel that can be tried, and that notes what it is given.
type silent struct {
	err          error
	trials, sent *int
}

func (s *silent) Send(context.Context, Message) error { *s.sent++; return s.err }
func (s *silent) Trial(context.Context) error         { *s.trials++; return s.err }

// TestIdleChannelsAreTried: at the start, each day, soon again after a failure, and not while
// messages pass; a trial that goes well ends failures of trials and no other.
func TestIdleChannelsAreTried(t *testing.T) {
	s := newStage(t, nil)
	n := s.agents["fabrique"].n
	trials, sent := 0, 0
	c := &silent{trials: &trials, sent: &sent}
	conf := &ways{channels: map[string]way{"sms": {sender: c, least: Info}}, loc: time.UTC, began: s.start}
	n.ways.Store(conf)
	w := Worker{"sms", n}
	pass := func(d time.Duration) {
		for end := s.log.Now().Add(d); s.log.Now().Before(end); s.log.Advance(time.Minute) {
			w.Step(t.Context(), s.log.Now())
		}
	}
	expect := func(what string, wantTrials, wantSent int, failing bool) {
		t.Helper()
		if stat := n.Outbox.Stats([]string{"sms"})["sms"]; trials != wantTrials || sent != wantSent || (stat.Why != "") != failing {
			t.Errorf("%s: %d trials, %d messages, %+v; want %d, %d, failing %t", what, trials, sent, stat, wantTrials, wantSent, failing)
		}
		trials, sent = 0, 0
	}
	pass(23 * time.Hour)
	expect("at the start", 1, 0, false)
	pass(2 * time.Hour)
	expect("a day later", 1, 0, false)
	c.err = errors.New("key withdrawn")
	pass(24 * time.Hour)
	expect("withdrawn", 6, 0, true) // an hour before the end the day is over, and then one each ten minutes
	c.err = nil
	pass(20 * time.Minute)
	expect("mended", 1, 0, false)
	put := func() {
		t.Helper()
		m := sample
		m.ID = "id-" + s.log.Now().String()
		if err := n.Outbox.Put("sms", m, time.Time{}, s.log.Now()); err != nil {
			t.Fatal(err)
		}
	}
	pass(12 * time.Hour)
	put()
	pass(23 * time.Hour)
	expect("a message went", 0, 1, false)
	conf.channels["sms"] = way{sender: c, least: Info, test: 30 * time.Hour}
	n.ways.Store(conf)
	c.err = errors.New("no credit")
	pass(8 * time.Hour) // 31 hours after the message; after one hour the trials fail, too
	if sent < 2 {
		t.Errorf("%d tests by a message", sent)
	}
	c.err = nil
	pass(20 * time.Minute)
	if stat := n.Outbox.Stats([]string{"sms"})["sms"]; stat.Why != "" || s.log.Now().Sub(stat.Success) > 20*time.Minute {
		t.Errorf("after a test that was taken: %+v", stat)
	}
}

// TestATestKeepsQuiet: a channel's own test by a message waits for the end of its quiet hours.
func TestATestKeepsQuiet(t *testing.T) {
	s := newStage(t, nil)
	n := s.agents["fabrique"].n
	trials, sent := 0, 0
	quiet, err := ParseWindow("02:00-07:00") // the stage begins at 02:58 UTC
	if err != nil {
		t.Fatal(err)
	}
	n.ways.Store(&ways{loc: time.UTC, began: s.start, channels: map[string]way{
		"sms": {sender: &silent{trials: &trials, sent: &sent}, quiet: quiet, least: Info, test: network.Duration(time.Hour).D()},
	}})
	w := Worker{"sms", n}
	for ; s.log.Now().Before(s.start.Add(4 * time.Hour)); s.log.Advance(time.Minute) {
		w.Step(t.Context(), s.log.Now())
	}
	if sent != 0 {
		t.Errorf("%d tests at night", sent)
	}
	s.log.Advance(5 * time.Minute)
	if w.Step(t.Context(), s.log.Now()); sent != 1 {
		t.Errorf("%d tests in the morning, want one", sent)
	}
}
