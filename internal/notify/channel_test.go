package notify

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var sample = Message{
	ID: "0123456789abcdef", Key: "site:moulin:lost", Kind: First, Code: "WWW-1103", Network: "assos", From: "quai", Site: "moulin",
	Urgency: Urgent, Subject: "[assos] moulin: lost, é", Text: "WHAT   moulin: lost\n.\nYOU    call\n", Short: "WWW moulin: lost", Made: noon,
}

func edge() Edge { return Edge{Dial: (&net.Dialer{}).DialContext, Now: time.Now} }

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func send(t *testing.T, c Channel) error {
	t.Helper()
	s, err := NewSender(c, edge())
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(t.Context(), sample)
}

// TestWebChannels: what each kind of server gets, from a real one.
func TestWebChannels(t *testing.T) {
	for _, c := range []struct {
		name    string
		channel Channel
		method  string
		path    string
		check   func(r *http.Request, body string) bool
	}{
		{"ntfy", Channel{Type: Ntfy, URL: "/topic", TokenFile: secretFile(t, "tk_1")}, "POST", "/topic", func(r *http.Request, body string) bool {
			return body == sample.Text && r.Header.Get("Priority") == "urgent" && r.Header.Get("Title") == "=?utf-8?q?[assos]_moulin:_lost,_=C3=A9?=" && r.Header.Get("Authorization") == "Bearer tk_1"
		}},
		{"matrix", Channel{Type: Matrix, URL: "/", Room: "!r:m.example", TokenFile: secretFile(t, "syt")}, "PUT", "/_matrix/client/v3/rooms/%21r:m.example/send/m.room.message/" + sample.attempt(), func(r *http.Request, body string) bool {
			var e struct{ Msgtype, Body string }
			return json.Unmarshal([]byte(body), &e) == nil && e.Msgtype == "m.text" && strings.Contains(e.Body, sample.Text) && r.Header.Get("Authorization") == "Bearer syt"
		}},
		{"web hook", Channel{Type: Webhook, URL: "/hook"}, "POST", "/hook", func(_ *http.Request, body string) bool {
			var e hook
			return json.Unmarshal([]byte(body), &e) == nil && e.APIVersion == "www/v1" && e.Kind == "Notification" && e.Message == sample
		}},
		{"web hook with a template", Channel{Type: Webhook, URL: "/hook", Body: `{"text": {{json .Text}}}`}, "POST", "/hook", func(_ *http.Request, body string) bool {
			var e struct{ Text string }
			return json.Unmarshal([]byte(body), &e) == nil && e.Text == sample.Text
		}},
		{"free mobile", Channel{Type: FreeMobile, URL: "/sendmsg", User: "12345678", PasswordFile: secretFile(t, "key")}, "POST", "/sendmsg", func(_ *http.Request, body string) bool {
			return body == "msg=WWW+moulin%3A+lost&pass=key&user=12345678"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				if r.Method != c.method || r.URL.EscapedPath() != c.path || !c.check(r, string(b)) {
					got = r.Method + " " + r.URL.EscapedPath() + "\n" + string(b)
					w.WriteHeader(http.StatusTeapot)
				}
			}))
			defer server.Close()
			c.channel.URL = server.URL + c.channel.URL
			if err := send(t, c.channel); err != nil {
				t.Errorf("%v; the server got %s", err, got)
			}
		})
	}
}

// TestWebChannelFails: what a server says against it is told, no redirect is followed with the
// secret, and the address stays out of what is told.
func TestWebChannelFails(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			return
		}
		http.Error(w, "no credit", http.StatusPaymentRequired)
	}))
	if err := send(t, Channel{Type: Webhook, URL: server.URL}); err == nil || err.Error() != "HTTP 402 no credit" {
		t.Errorf("refused: %v", err)
	}
	if err := send(t, Channel{Type: Webhook, URL: server.URL + "/away"}); err == nil || elsewhere.Load() != 0 {
		t.Errorf("redirected: %v, followed %d times", err, elsewhere.Load())
	}
	hidden := secretFile(t, server.URL+"/T0KEN")
	server.Close()
	if err := send(t, Channel{Type: Webhook, URLFile: hidden}); err == nil || strings.Contains(err.Error(), "T0KEN") {
		t.Errorf("gone: %v, want an error without the address", err)
	}
	if err := send(t, Channel{Type: Webhook, URL: server.URL, TokenFile: hidden + ".gone"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its secret: %v", err)
	}
	if err := send(t, Channel{Type: Ntfy, URLFile: secretFile(t, "https://h.example/%zz/T0KEN")}); err == nil || strings.Contains(err.Error(), "T0KEN") {
		t.Errorf("a bad address in a file: %v, want an error without it", err)
	}
}

// TestServerThatRepeatsSecrets: many servers put into their word what they were asked.
func TestServerThatRepeatsSecrets(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "cannot %s %s, %s, %s", r.Method, r.URL, r.Header.Get("Authorization"), body)
	}))
	defer server.Close()
	hidden := secretFile(t, "Geh+im/T0KEN")
	for _, c := range []Channel{
		{Type: Webhook, Body: `{"text": "x"}`, URLFile: secretFile(t, server.URL+"/services/Geh+im%2FT0KEN?key=Geh%2Bim%2FT0KEN")},
		{Type: Ntfy, URL: server.URL, TokenFile: hidden},
		{Type: FreeMobile, URL: server.URL, User: "camille", PasswordFile: hidden},
	} {
		err := send(t, c)
		if err == nil || !strings.HasPrefix(err.Error(), "HTTP 403 cannot POST ") || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%s: %v, want the server's word without the secret", c.Type, err)
		}
	}
}

// TestSlowServer: the attempt ends with its deadline.
func TestSlowServer(t *testing.T) {
	free := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
	defer server.Close()
	defer close(free)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []Channel{
		{Type: Webhook, URL: server.URL},
		{Type: SMTP, Server: silent.Addr().String(), TLS: "none", From: "a@b.example", To: []string{"c@d.example"}},
		{Type: Exec, Command: []string{"/bin/sleep", "60"}},
	} {
		s, err := NewSender(c, edge())
		if err != nil {
			t.Fatal(err)
		}
		late := errors.New("too late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, late)
		if err := s.Send(ctx, sample); !errors.Is(err, late) {
			t.Errorf("%s: %v, want that it is too late", c.Type, err)
		}
		cancel()
	}
}

// mailbox is an SMTP server that takes one mail.
type mailbox struct {
	l      net.Listener
	tls    *tls.Config // offered as STARTTLS
	refuse string      // what it says to RCPT
	said   chan []string
}

func newMailbox(t *testing.T, conf *tls.Config) *mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{l: l, tls: conf, said: make(chan []string, 1)}
	t.Cleanup(func() { _ = l.Close() })
	go m.serve()
	return m
}

func (m *mailbox) serve() {
	conn, err := m.l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	var said []string
	defer func() { m.said <- said }()
	r := bufio.NewReader(conn)
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	say("220 mail.example ESMTP")
	data, secure := false, false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		said = append(said, line)
		switch {
		case data && line == ".":
			data = false
			say("250 taken")
		case data:
		case strings.HasPrefix(line, "EHLO") && m.tls != nil && !secure:
			say("250-mail.example\r\n250 STARTTLS")
		case strings.HasPrefix(line, "EHLO"):
			say("250-mail.example\r\n250 AUTH PLAIN")
		case line == "STARTTLS":
			say("220 go on")
			conn, secure = tls.Server(conn, m.tls), true
			r = bufio.NewReader(conn)
		case strings.HasPrefix(line, "AUTH"):
			say("235 welcome")
		case strings.HasPrefix(line, "RCPT") && m.refuse != "":
			say(m.refuse)
		case line == "DATA":
			data = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// TestMail: over STARTTLS with a password, and to the machine's own server without either.
func TestMail(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler())
	defer web.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	c := Channel{Type: SMTP, From: "wwwd@assos.example", To: []string{"equipe@assos.example", "camille@assos.example"}}

	t.Run("STARTTLS", func(t *testing.T) {
		box := newMailbox(t, conf)
		c := c
		c.Server, c.CAFile, c.User, c.PasswordFile = box.l.Addr().String(), ca, "wwwd", secretFile(t, "pass")
		if err := send(t, c); err != nil {
			t.Fatal(err)
		}
		letter := strings.Join(<-box.said, "\n")
		for _, want := range []string{
			"AUTH PLAIN AHd3d2QAcGFzcw==", "RCPT TO:<camille@assos.example>", "Subject: =?utf-8?q?[assos]_moulin:_lost,_=C3=A9?=",
			"Message-ID: <" + sample.attempt() + "@assos.example>", "Importance: high", "WHAT   moulin: lost\n..\nYOU",
		} {
			if !strings.Contains(letter, want) {
				t.Errorf("the mail lacks %q:\n%s", want, letter)
			}
		}
	})
	t.Run("another certificate", func(t *testing.T) {
		box := newMailbox(t, conf)
		c := c
		c.Server, c.User, c.PasswordFile = box.l.Addr().String(), "wwwd", secretFile(t, "pass")
		if err := send(t, c); err == nil {
			t.Error("a server with a certificate of nobody is believed")
		}
		if said := strings.Join(<-box.said, "\n"); strings.Contains(said, "AUTH") {
			t.Errorf("the password was told:\n%s", said)
		}
	})
	t.Run("no STARTTLS", func(t *testing.T) {
		box := newMailbox(t, nil)
		c := c
		c.Server = box.l.Addr().String()
		if err := send(t, c); err == nil {
			t.Error("a mail leaves in the clear")
		}
	})
	t.Run("refused, then taken", func(t *testing.T) {
		c := c
		c.TLS = "none"
		box := newMailbox(t, nil)
		box.refuse = "450 greylisted"
		c.Server = box.l.Addr().String()
		if err := send(t, c); err == nil || !strings.Contains(err.Error(), "greylisted") {
			t.Errorf("refused: %v", err)
		}
		box = newMailbox(t, nil)
		c.Server = box.l.Addr().String()
		if err := send(t, c); err != nil {
			t.Errorf("taken: %v", err)
		}
	})
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tell")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrograms: a program gets the text and the facts; sendmail the letter and whom it is for.
func TestPrograms(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	tell := script(t, `{ echo "$WWW_CODE $WWW_SITE $WWW_URGENCY $1"; cat; } >`+out)
	if err := send(t, Channel{Type: Exec, Command: []string{tell, "first"}}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out); string(b) != "WWW-1103 moulin urgent first\n"+sample.Text {
		t.Errorf("the program got %q", b)
	}
	mailer := script(t, `{ echo "$@"; cat; } >`+out)
	if err := send(t, Channel{Type: Sendmail, From: "wwwd@assos.example", To: []string{"root"}, Command: []string{mailer}}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out); !strings.HasPrefix(string(b), "-i -f wwwd@assos.example -- root\nFrom: wwwd@assos.example\nTo: root\n") {
		t.Errorf("sendmail got %q", b)
	}
	if err := send(t, Channel{Type: Exec, Command: []string{script(t, "echo no paper; exit 3")}}); err == nil || !strings.Contains(err.Error(), "no paper") {
		t.Errorf("a program that fails: %v", err)
	}
	loose := script(t, "")
	if err := os.Chmod(loose, 0o722); err != nil {
		t.Fatal(err)
	}
	if err := send(t, Channel{Type: Exec, Command: []string{loose}}); err == nil {
		t.Error("a program that anybody can change is run")
	}
}

// TestServerComesBack: the worker of a channel tries again until its server takes the message.
func TestServerComesBack(t *testing.T) {
	var up atomic.Bool
	var taken atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		taken.Add(1)
	}))
	defer server.Close()
	s := newStage(t, one)
	n := s.agents["fabrique"].n
	if err := n.Take(Config{Channels: map[string]Channel{"hook": {Type: Webhook, URL: server.URL}}}, edge()); err != nil {
		t.Fatal(err)
	}
	if err := n.Outbox.Put("hook", sample, time.Time{}, noon); err != nil {
		t.Fatal(err)
	}
	w := Worker{"hook", n}
	for now := noon; now.Before(noon.Add(5 * time.Minute)); now = now.Add(5 * time.Second) {
		up.Store(now.After(noon.Add(3 * time.Minute)))
		w.Step(t.Context(), now)
	}
	if v := n.Views()[0]; taken.Load() != 1 || v.Waiting != 0 || v.Failing != "" {
		t.Errorf("taken %d times, %+v; want once", taken.Load(), v)
	}
	got, err := n.Try(t.Context(), "", noon)
	if err != nil || got["hook"] != nil || taken.Load() != 2 {
		t.Errorf("test: %v, %v, taken %d times", got, err, taken.Load())
	}
	if _, err := n.Try(t.Context(), "sms", noon); err == nil || !strings.Contains(err.Error(), "it has [hook]") {
		t.Errorf("a channel that is not there: %v", err)
	}
}

// TestDeadMan: called while the agent is well, and not while it is not.
func TestDeadMan(t *testing.T) {
	var calls atomic.Int64
	var broken atomic.Bool
	well := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	s := newStage(t, one)
	var done []string
	d := DeadMan{
		Name: "outside", Ping: Ping{URLFile: secretFile(t, server.URL)}, Edge: edge(), Logger: s.agents["quai"].n.Logger,
		Well: func() bool { return well }, Done: func(name string, _ time.Time) { done = append(done, name) },
	}
	if next := d.Step(t.Context(), noon); calls.Load() != 1 || len(done) != 1 || !next.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("%d calls, %v, next %s", calls.Load(), done, next)
	}
	well = false
	if next := d.Step(t.Context(), noon); calls.Load() != 1 || next.After(noon.Add(time.Minute)) {
		t.Errorf("unwell: %d calls, next %s", calls.Load(), next)
	}
	well = true
	broken.Store(true)
	if next := d.Step(t.Context(), noon); calls.Load() != 2 || len(done) != 1 || !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("refused: %d calls, %v, next %s", calls.Load(), done, next)
	}
}
