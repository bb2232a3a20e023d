package netns_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const memberPatience = 3 * time.Second

// member is a person on the internet, somewhere between the sites.
type member struct {
	r     *room
	roots *x509.CertPool
}

// newMember trusts the authority of the public entries' certificates.
func newMember(r *room) *member {
	r.t.Helper()
	b, err := os.ReadFile(site.EntryCA(r.dir))
	if err != nil {
		r.t.Fatal(err)
	}
	m := &member{r: r, roots: x509.NewCertPool()}
	if !m.roots.AppendCertsFromPEM(b) {
		r.t.Fatal("the public authority's file holds no certificate")
	}
	return m
}

// find asks the name servers of some sites for a name, wants all to send it to one
// site, and fetches its page from there.
func (m *member) find(ctx context.Context, name, at string, servers []string) error {
	i, err := m.r.lab.Index(at)
	if err != nil {
		return fmt.Errorf("%s is served nowhere", name)
	}
	entry, ok := m.r.lab.Entry(i)
	if !ok {
		return fmt.Errorf("%s has no public entry", at)
	}
	for _, s := range servers {
		j, err := m.r.lab.Index(s)
		if err != nil {
			return err
		}
		got, err := m.resolve(ctx, m.r.lab.DNS(j), name)
		if err != nil {
			return fmt.Errorf("ask %s for %s: %w", s, name, err)
		}
		if got != entry.Addr() {
			return fmt.Errorf("%s sends %s to %s, want %s at %s", s, name, got, at, entry.Addr())
		}
	}
	return m.fetch(ctx, entry, name)
}

// resolve asks one name server for an address, and follows an alias within the answer.
func (m *member) resolve(ctx context.Context, server netip.AddrPort, name string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	conn, err := m.r.World.DialInternet(ctx, "udp", server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	client := &dns.Client{Timeout: memberPatience}
	in, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A)
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("an answer without an address: " + dns.RcodeToString[in.Rcode])
}

// fetch gets the page of a name from an entry, with its SNI and a look at its certificate.
func (m *member) fetch(ctx context.Context, entry netip.AddrPort, name string) error {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: m.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return m.r.World.DialInternet(ctx, network, entry)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+"/data", nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("fetch %s from %s: %w", name, entry, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch %s from %s: %s, want 200", name, entry, resp.Status)
	}
	return nil
}
