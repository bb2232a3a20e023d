package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/template"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Config is the section notify: of wwwd.yaml. Each agent has its own: what it can reach and
// by which way is its own business.
type Config struct {
	Channels map[string]Channel `json:"channels,omitempty"`
	DeadMan  map[string]Ping    `json:"dead_man,omitempty"`
	Digest   string             `json:"digest,omitempty"`   // such as "monday 09:00", or off
	Timezone string             `json:"timezone,omitempty"` // such as Europe/Paris; default: the machine's
}

// IsZero says whether nothing is configured.
func (c Config) IsZero() bool { return len(c.Channels) == 0 && len(c.DeadMan) == 0 }

// Type of a channel.
type Type string

// Types of channels.
const (
	SMTP       Type = "smtp"
	Sendmail   Type = "sendmail"
	Ntfy       Type = "ntfy"
	Matrix     Type = "matrix"
	Webhook    Type = "webhook"
	FreeMobile Type = "freemobile"
	Exec       Type = "exec"
)

// Types lists them.
func Types() []Type { return []Type{SMTP, Sendmail, Ntfy, Matrix, Webhook, FreeMobile, Exec} }

// Channel is one way to reach people. Which keys it needs depends on its type.
type Channel struct {
	Type  Type    `json:"type"`
	Quiet string  `json:"quiet,omitempty"` // HH:MM-HH:MM, when only what is urgent is sent
	Least Urgency `json:"least,omitempty"` // info, warning or urgent; default info

	// TestEvery has a message sent for a test when nothing else was for so long; 0: none.
	TestEvery network.Duration `json:"test_every,omitempty"`

	Server       string   `json:"server,omitempty"` // smtp: HOST:PORT
	TLS          string   `json:"tls,omitempty"`    // smtp: starttls (default), tls, none (loopback only)
	From         string   `json:"from,omitempty"`   // smtp, sendmail
	To           []string `json:"to,omitempty"`     // smtp, sendmail
	User         string   `json:"user,omitempty"`   // smtp, freemobile
	PasswordFile string   `json:"password_file,omitempty"`

	URL       string `json:"url,omitempty"`
	URLFile   string `json:"url_file,omitempty"` // where the URL itself is a secret
	TokenFile string `json:"token_file,omitempty"`
	CAFile    string `json:"ca_file,omitempty"` // authority of the server's certificate; default: the system's
	Room      string `json:"room,omitempty"`    // matrix
	Body      string `json:"body,omitempty"`    // webhook: template of the JSON that is sent

	Command []string `json:"command,omitempty"` // exec; sendmail: default /usr/sbin/sendmail
}

// Ping is an address outside that complains when it is not called any more.
type Ping struct {
	URL     string           `json:"url,omitempty"`
	URLFile string           `json:"url_file,omitempty"`
	CAFile  string           `json:"ca_file,omitempty"`
	Every   network.Duration `json:"every,omitempty"` // default 5m
}

// ParseBody reads the template of a web hook's body and tries it.
func ParseBody(text string) (*template.Template, error) {
	t, err := template.New("body").Option("missingkey=error").Funcs(template.FuncMap{"json": jsonText}).Parse(text)
	if err != nil {
		return nil, err
	}
	b, err := bodyOf(t, Message{Subject: `a "subject"`, Text: "two\nlines"})
	if err == nil && !json.Valid(b) {
		err = fmt.Errorf("it makes no JSON: %s", b)
	}
	return t, err
}

func bodyOf(t *template.Template, m Message) ([]byte, error) {
	var b bytes.Buffer
	err := t.Execute(&b, m)
	return b.Bytes(), err
}

func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
