package dnsctl

import (
	"context"
	"time"

	"github.com/miekg/dns"
)

// Told is an Exchanger of which somebody hears how each question went.
type Told struct {
	Exchanger Exchanger
	// Tell gets the name of the answer's response code (RFC 6895), "other" for one without a name,
	// "" without an answer, and how long it took.
	Tell func(code string, took time.Duration)
}

// Exchange implements Exchanger.
func (t Told) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	began := time.Now()
	got, err := t.Exchanger.Exchange(ctx, server, m)
	code := ""
	if err == nil {
		name, known := dns.RcodeToString[got.Rcode]
		if code = name; !known {
			code = "other"
		}
	}
	t.Tell(code, time.Since(began))
	return got, err
}
