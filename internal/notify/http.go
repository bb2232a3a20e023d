package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"
)

// freeMobile is where Free Mobile takes SMS to the subscriber's own phone. It answers 200, or
// 400 a parameter is missing, 402 too many, 403 not switched on or a wrong key, 500 try later.
const freeMobile = "https://smsapi.free-mobile.fr/sendmsg"

// httpSender sends by one HTTP request: ntfy, Matrix, a web hook, Free Mobile.
type httpSender struct {
	channel Channel
	edge    Edge
	body    *template.Template // webhook; nil: the message itself
}

// Send implements Sender.
func (h httpSender) Send(ctx context.Context, m Message) error {
	req, err := h.request(ctx, m)
	if err != nil {
		return err
	}
	t, err := transport(h.channel.CAFile, h.edge)
	if err != nil {
		return err
	}
	return call(t, req)
}

// Trial implements trier. Matrix says whose token it is (client-server API, GET /account/whoami);
// the others can only be told something, so that of them no more is tried than that the secrets
// can be read, and that somebody with a valid certificate answers there.
func (h httpSender) Trial(ctx context.Context) error {
	req, err := h.request(ctx, Message{Subject: "trial"})
	if err != nil {
		return err
	}
	if h.channel.Type == Matrix {
		base, err := address(h.channel.URL, h.channel.URLFile)
		if err != nil {
			return err
		}
		who, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/_matrix/client/v3/account/whoami", http.NoBody)
		if err != nil {
			return withoutURL(err)
		}
		who.Header.Set("Authorization", req.Header.Get("Authorization"))
		t, err := transport(h.channel.CAFile, h.edge)
		if err != nil {
			return err
		}
		return call(t, who)
	}
	return h.meet(ctx, req.URL)
}

// meet opens a connection and closes it.
func (h httpSender) meet(ctx context.Context, to *url.URL) error {
	port := cmp.Or(to.Port(), map[string]string{"https": "443", "http": "80"}[to.Scheme])
	conn, err := h.edge.Dial(ctx, "tcp", net.JoinHostPort(to.Hostname(), port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if to.Scheme != "https" {
		return nil
	}
	conf, err := tlsConfig(h.channel.CAFile, to.Hostname(), h.edge.Now)
	if err != nil {
		return err
	}
	if err := tls.Client(conn, conf).HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
		return err
	}
	return nil
}

func (h httpSender) request(ctx context.Context, m Message) (*http.Request, error) {
	base, err := address(h.channel.URL, h.channel.URLFile)
	if err != nil {
		return nil, err
	}
	token, err := secret(h.channel.TokenFile)
	if err != nil {
		return nil, err
	}
	req, err := h.shape(ctx, base, m)
	if err != nil {
		return nil, withoutURL(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

func (h httpSender) shape(ctx context.Context, base string, m Message) (*http.Request, error) {
	switch h.channel.Type {
	case Ntfy:
		return ntfyRequest(ctx, base, m)
	case Matrix:
		return matrixRequest(ctx, base, h.channel.Room, m)
	case FreeMobile:
		password, err := secret(h.channel.PasswordFile)
		if err != nil {
			return nil, err
		}
		form := url.Values{"user": {h.channel.User}, "pass": {password}, "msg": {m.Short}}
		return post(ctx, cmp.Or(base, freeMobile), "application/x-www-form-urlencoded", []byte(form.Encode()))
	}
	b, err := json.Marshal(hook{APIVersion: "www/v1", Kind: "Notification", Message: m})
	if h.body != nil {
		b, err = bodyOf(h.body, m)
	}
	if err != nil {
		return nil, err
	}
	return post(ctx, base, "application/json", b)
}

// hook is what a web hook gets where no template says otherwise.
type hook struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Message    Message `json:"message"`
}

func post(ctx context.Context, to, kind string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", kind)
	}
	return req, err
}

// ntfyRequest publishes to a topic: https://docs.ntfy.sh/publish/. Headers that are not ASCII
// are encoded as RFC 2047 says, which ntfy reads.
func ntfyRequest(ctx context.Context, topic string, m Message) (*http.Request, error) {
	req, err := post(ctx, topic, "text/plain; charset=utf-8", []byte(m.Text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Title", mime.QEncoding.Encode("utf-8", m.Subject))
	req.Header.Set("Priority", map[Urgency]string{Urgent: "urgent", Warning: "default", Info: "low"}[m.Urgency])
	return req, nil
}

// matrixRequest sends an event. The transaction id makes a repetition harmless: the server
// knows it (client-server API, PUT /rooms/{roomId}/send/{eventType}/{txnId}).
func matrixRequest(ctx context.Context, server, room string, m Message) (*http.Request, error) {
	b, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": m.Subject + "\n" + m.Text})
	if err != nil {
		return nil, err
	}
	to := strings.TrimRight(server, "/") + "/_matrix/client/v3/rooms/" + url.PathEscape(room) + "/send/m.room.message/" + url.PathEscape(m.attempt())
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(b))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// call makes one request and follows no redirect: secrets go to this address only.
func call(t http.RoundTripper, req *http.Request) error {
	resp, err := t.RoundTrip(req)
	if err != nil {
		if ctx := req.Context(); ctx.Err() != nil {
			return fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
		return withoutURL(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // for people only
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d %s", resp.StatusCode, clip(strings.TrimSpace(withoutSecrets(string(said), req)), 200))
	}
	return nil
}

// withoutSecrets takes out of a server's word what the request may have told it in confidence:
// many repeat the address that was asked for, or what was wrong with a token or a form.
func withoutSecrets(text string, req *http.Request) string {
	told := strings.Split(req.URL.Path, "/")
	told = append(told, strings.Split(req.URL.EscapedPath(), "/")...)
	told = append(told, strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	forms := []url.Values{req.URL.Query()}
	if req.GetBody != nil && strings.Contains(req.Header.Get("Content-Type"), "form") {
		if body, err := req.GetBody(); err == nil {
			b, _ := io.ReadAll(body) // of memory
			if form, err := url.ParseQuery(string(b)); err == nil {
				forms = append(forms, url.Values{"pass": form["pass"]})
			}
		}
	}
	for _, form := range forms {
		for _, values := range form {
			for _, v := range values {
				told = append(told, v, url.QueryEscape(v))
			}
		}
	}
	slices.SortFunc(told, func(a, b string) int { return len(b) - len(a) }) // the whole before its parts
	for _, secret := range told {
		if len(secret) >= 6 { // a shorter one is a word
			text = strings.ReplaceAll(text, secret, "[…]")
		}
	}
	return text
}

// withoutURL takes the address off an error: it may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
