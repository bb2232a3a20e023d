package dnsctl_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

type answers func() (*dns.Msg, error)

func (a answers) Exchange(context.Context, string, *dns.Msg) (*dns.Msg, error) { return a() }

// TestToldHearsEveryQuestion: by the name of the response code, and passes the answer on.
func TestToldHearsEveryQuestion(t *testing.T) {
	silent := errors.New("timeout")
	for want, a := range map[string]answers{
		"NOERROR": func() (*dns.Msg, error) { return &dns.Msg{}, nil },
		"REFUSED": func() (*dns.Msg, error) { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeRefused}}, nil },
		"other":   func() (*dns.Msg, error) { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: 77}}, nil },
		"":        func() (*dns.Msg, error) { return nil, silent },
	} {
		var heard []string
		told := dnsctl.Told{Exchanger: a, Tell: func(code string, _ time.Duration) { heard = append(heard, code) }}
		got, err := told.Exchange(t.Context(), "192.0.2.1:53", &dns.Msg{})
		if (want == "") != errors.Is(err, silent) || (got == nil) != (want == "") {
			t.Errorf("%q: got %v, %v", want, got, err)
		}
		if len(heard) != 1 || heard[0] != want {
			t.Errorf("heard %q, want %q", heard, want)
		}
	}
}
