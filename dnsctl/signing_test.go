package dnsctl_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// A message may be sent again and is signed each time, updates go over TCP, and
// of the answers only one with a signature of the same key counts.
func TestSigningExchangerBelievesSignedAnswersOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var networks []string
	unsigned := 0
	answer := func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		if q.IsTsig() == nil || w.TsigStatus() != nil {
			unsigned++
		}
		mu.Unlock()
		r := new(dns.Msg).SetReply(q)
		switch q.Question[0].Name {
		case "unsigned.test.":
		case "forged.test.":
			r.SetTsig(goodKey.Name, dns.HmacSHA256, 300, now())
			raw, _, err := dns.TsigGenerate(r, "b3RoZXItb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHkhISE=", q.IsTsig().MAC, false)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(raw)
			return
		default:
			r.SetTsig(goodKey.Name, dns.HmacSHA256, 300, now())
		}
		_ = w.WriteMsg(r)
	}
	updates := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // miekg's own refuses UPDATE
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(answer), TsigSecret: map[string]string{goodKey.Name: secret}, MsgAcceptFunc: updates}
	ended := make(chan error, 1)
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(srv.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	})
	plain := dnsctl.NetExchanger{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		networks = append(networks, network)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	ex, err := dnsctl.NewSigningExchanger(plain, goodKey, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, want := range map[string]error{"unsigned.test.": dnsctl.ErrUnsigned, "forged.test.": dns.ErrSig, "signed.test.": nil} {
		m := new(dns.Msg).SetUpdate(name)
		for range 2 {
			if r, err := ex.Exchange(ctx, l.Addr().String(), m); !errors.Is(err, want) || (r == nil) != (want != nil) {
				t.Errorf("%s: %v, %v; want %v", name, r, err, want)
			}
		}
	}
	if unsigned != 0 {
		t.Errorf("%d requests came in without a signature that holds", unsigned)
	}
	if n := len(networks); n != 6 || slices.Contains(networks, "udp") {
		t.Errorf("sent over %v", networks)
	}
	if _, err := plain.Exchange(ctx, l.Addr().String(), new(dns.Msg).SetUpdate("signed.test.")); err != nil || networks[len(networks)-1] != "tcp" {
		t.Errorf("an update that is not signed: %v, over %s", err, networks[len(networks)-1])
	}
}
