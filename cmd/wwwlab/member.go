package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// member is a person on the internet: asks name servers and fetches pages. Its source
// address is nobody's in the lab, so it reaches only what is public.
type member struct{ roots *x509.CertPool }

const memberPatience = 2 * time.Second

// newMember trusts the authority in a file, as a browser trusts its list.
func newMember(authority string) (*member, error) {
	b, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read authority: %s holds no certificate", authority)
	}
	return &member{roots: pool}, nil
}

// resolve asks one authoritative server for the address of a name.
func (m *member) resolve(ctx context.Context, server netip.AddrPort, name string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	client := &dns.Client{Net: "udp", Timeout: memberPatience}
	in, _, err := client.ExchangeContext(ctx, q, server.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask %s for %s: %w", server, name, err)
	}
	addr, err := addressIn(in, dns.Fqdn(name))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask %s for %s: %w", server, name, err)
	}
	return addr, nil
}

// addressIn follows the names in an authoritative answer to their address.
func addressIn(in *dns.Msg, name string) (netip.Addr, error) {
	switch {
	case in.Rcode != dns.RcodeSuccess:
		return netip.Addr{}, errors.New(dns.RcodeToString[in.Rcode])
	case !in.Authoritative:
		return netip.Addr{}, errors.New("answer without authority")
	}
	for range in.Answer {
		for _, rr := range in.Answer {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.A:
				addr, ok := netip.AddrFromSlice(rr.A)
				if ok {
					return addr.Unmap(), nil
				}
			case *dns.CNAME:
				name = rr.Target
			}
		}
	}
	return netip.Addr{}, errors.New("answer without an address")
}

// maxPage bounds what is read of a page.
const maxPage = 4 << 20

// fetch gets a page of a name from the entry at an address, as a browser does that has
// resolved the name: with its SNI, Host and a look at the certificate.
func (m *member) fetch(ctx context.Context, entry netip.AddrPort, name, path string) (string, error) {
	return m.ask(ctx, entry, http.MethodGet, name, path, "")
}

// write sends a line to a page.
func (m *member) write(ctx context.Context, entry netip.AddrPort, name, path, line string) error {
	_, err := m.ask(ctx, entry, http.MethodPost, name, path, line)
	return err
}

func (m *member) ask(ctx context.Context, entry netip.AddrPort, method, name, path, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	var d net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: m.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, entry.String())
		},
	}
	url := fmt.Sprintf("https://%s:%d%s", name, entry.Port(), path)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", url, err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", url, err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	switch {
	case err != nil:
		return "", fmt.Errorf("fetch %s: %w", url, err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("fetch %s: %s: %s", url, resp.Status, strings.TrimSpace(string(page)))
	}
	return string(page), nil
}
