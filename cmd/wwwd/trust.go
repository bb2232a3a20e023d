package main

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/drive"
)

// agentLife is how long an agent's certificate is valid. A third before its end
// it is renewed: an agent may be away for a month.
const agentLife = 90 * 24 * time.Hour

// authority is the key of the network, on voters.
type authority struct {
	mu sync.Mutex
	ca *cluster.CA // nil: not here
}

func (a *authority) get() *cluster.CA {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca
}

func (a *authority) set(ca *cluster.CA) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ca = ca
}

// loadAuthority reads the key of the network, if this agent holds it.
func (d *daemon) loadAuthority(caPEM []byte) error {
	key, err := os.ReadFile(d.conf.TLS.CAKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load authority: %w", err)
	}
	ca, err := cluster.LoadCA(cluster.Pair{Cert: caPEM, Key: key})
	if err != nil {
		return fmt.Errorf("load authority from %s: %w", d.conf.TLS.CAKey, err)
	}
	if ca.Network() != d.conf.Network {
		return fmt.Errorf("load authority: %s is of network %q, this agent is of %q", d.conf.TLS.CAKey, ca.Network(), d.conf.Network)
	}
	d.authority.set(ca)
	return nil
}

// writeSecret writes a file of mode 0600 whole or not at all.
func writeSecret(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writePair writes key and certificate of the agent, the certificate last: a
// crash between leaves a pair that does not match, which is found at the start.
func writePair(t config.TLS, p cluster.Pair) error {
	if err := errors.Join(writeSecret(t.Key, p.Key), writeSecret(t.Cert, p.Cert)); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

// revoked says why a certificate is not accepted; nothing is before the log is open.
func (d *daemon) revoked(cert *x509.Certificate) error {
	n := d.opened.Load()
	if n == nil {
		return nil
	}
	return cluster.RevokedBy(n.State(), cert)
}

// expelAfter lets the answer to who leaves get out.
const expelAfter = 2 * time.Second

// expel closes connections whose certificate was revoked since they were opened.
func (d *daemon) expel() drive.Func {
	known, due := 0, time.Time{}
	return func(_ context.Context, now time.Time) time.Time {
		if n := len(d.node.State().Revoked); n != known {
			known, due = n, now.Add(expelAfter)
		}
		switch {
		case due.IsZero():
			return now.Add(time.Minute)
		case now.Before(due):
			return due
		}
		due = time.Time{}
		d.mux.Expel(d.revoked)
		return now.Add(time.Minute)
	}
}

// forgetAuthority destroys this agent's copy of the authority's key.
func (d *daemon) forgetAuthority() error {
	d.authority.set(nil)
	if err := os.Remove(d.conf.TLS.CAKey); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget authority: %w", err)
	}
	return nil
}

// access is what the API needs to admit, expel and change the group.
type access struct{ d *daemon }

var _ api.Access = access{}

// CreateToken makes a token; every agent can, since it needs no key.
func (a access) CreateToken(ctx context.Context, site failover.SiteID, life time.Duration) (api.TokenMade, error) {
	t := api.NewJoinToken(a.d.tls.Authority())
	_, err := a.d.backend().Propose(ctx, failover.CreateToken{ID: t.ID, Hash: t.Hash(), For: life, Site: site})
	if err != nil {
		return api.TokenMade{}, err
	}
	return api.TokenMade{
		ID: t.ID, Token: t.String(), Site: site, Until: a.d.backend().Now().Add(life), Via: a.d.voters(),
	}, nil
}

// voters returns the mesh addresses of those who can sign, this agent first.
func (d *daemon) voters() []string {
	var out []string
	for site, m := range d.node.State().Members {
		if m.Voter && site != d.conf.Site {
			out = append(out, m.Address)
		}
	}
	slices.Sort(out)
	if d.authority.get() != nil {
		out = slices.Insert(out, 0, d.conf.Advertise.String())
	}
	return out
}

func (d *daemon) signingCA() (*cluster.CA, error) {
	if ca := d.authority.get(); ca != nil {
		return ca, nil
	}
	return nil, api.NoAuthority(strings.Join(d.voters(), ", "))
}

// AdmitOperator records the certificate before it hands it out: one that is not
// in State could not be revoked by name.
func (a access) AdmitOperator(ctx context.Context, name string, role failover.Role, life time.Duration) (api.Login, error) {
	ca, err := a.d.signingCA()
	if err != nil {
		return api.Login{}, err
	}
	pair, serial, err := ca.IssueOperator(name, role, time.Now(), life)
	if err != nil {
		return api.Login{}, err
	}
	if _, err := a.d.backend().Propose(ctx, failover.AdmitOperator{Serial: serial, Name: name, Role: role, For: life}); err != nil {
		return api.Login{}, err
	}
	return api.Login{
		Network: a.d.conf.Network, Name: name, Role: role, Until: time.Now().Add(life).UTC().Truncate(time.Second),
		Endpoints: a.d.endpoints(), CA: string(ca.CertPEM()), Cert: string(pair.Cert), Key: string(pair.Key),
	}, nil
}

// endpoints returns the mesh addresses of all members, this agent's first.
func (d *daemon) endpoints() []string {
	out := []string{d.conf.Advertise.String()}
	for site, m := range d.node.State().Members {
		if site != d.conf.Site {
			out = append(out, m.Address)
		}
	}
	slices.Sort(out[1:])
	return out
}

// Snapshot is the state as it is here.
func (a access) Snapshot() ([]byte, error) { return cluster.EncodeSnapshot(a.d.node.State()) }

// member returns the member that an agent is, if it is one.
func (d *daemon) member(who api.Actor) (failover.Member, error) {
	m, ok := d.node.State().Members[who.Site]
	if !ok || m.ServerID != who.ServerID {
		return m, api.NotNow(fmt.Sprintf("%s is no member of the group", who.Name))
	}
	return m, nil
}

// Renew signs for the agent that calls, under the name in its certificate so
// far and the address that State has of it.
func (a access) Renew(_ context.Context, who api.Actor, request string) (string, error) {
	m, err := a.d.member(who)
	if err != nil {
		return "", err
	}
	ca, err := a.d.signingCA()
	if err != nil {
		return "", err
	}
	addr, err := netip.ParseAddrPort(m.Address)
	if err != nil {
		return "", fmt.Errorf("renew certificate of %s: %w", who.Site, err)
	}
	cert, err := ca.IssueFor([]byte(request), who.Site, who.ServerID, []netip.Addr{addr.Addr()}, time.Now(), agentLife)
	return string(cert), err
}

// Authority hands the network's key to a voter, so that any survivor can admit and renew.
func (a access) Authority(_ context.Context, who api.Actor) (api.AuthorityKey, error) {
	m, err := a.d.member(who)
	if err != nil {
		return api.AuthorityKey{}, err
	}
	if !m.Voter {
		return api.AuthorityKey{}, api.NotNow(fmt.Sprintf("%s has no vote: only voters hold the authority's key", who.Site))
	}
	ca, err := a.d.signingCA()
	if err != nil {
		return api.AuthorityKey{}, err
	}
	pair, err := ca.PEM()
	a.d.log.Info("authority's key handed to a voter", "audit", true, "to", who.Name)
	return api.AuthorityKey{Cert: string(pair.Cert), Key: string(pair.Key)}, err
}

// tokenWait is how long an agent that lags behind the log may need to hear of a
// token.
const tokenWait = 2 * time.Second

// Redeem checks a token, spends it in the log, and signs.
func (d *daemon) Redeem(ctx context.Context, req api.RedeemRequest, addr netip.AddrPort, token api.JoinToken) (api.Redeemed, error) {
	ca, err := d.signingCA()
	if err != nil {
		return api.Redeemed{}, err
	}
	key, err := cluster.RequestFingerprint([]byte(req.Request))
	if err != nil {
		return api.Redeemed{}, api.NotNow(err.Error())
	}
	// Guesses stay out of the log.
	if known := d.awaitToken(ctx, token.ID); subtle.ConstantTimeCompare([]byte(known.Hash), []byte(token.Hash())) != 1 {
		return api.Redeemed{}, &failover.RejectedError{Reason: failover.Reason{
			Code: failover.CodeBadToken, Args: map[string]string{"why": "it was revoked, or never made here"},
		}}
	}
	ctx = failover.WithActor(ctx, "token:"+token.ID)
	_, err = d.node.Propose(ctx, failover.UseToken{ID: token.ID, Hash: token.Hash(), Key: key, Site: req.Site, ServerID: req.ServerID})
	if err != nil {
		return api.Redeemed{}, err
	}
	cert, err := ca.IssueFor([]byte(req.Request), req.Site, req.ServerID, []netip.Addr{addr.Addr()}, time.Now(), agentLife)
	return api.Redeemed{Certificate: string(cert)}, err
}

func (d *daemon) awaitToken(ctx context.Context, id string) failover.JoinToken {
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	for {
		changed := d.node.Changed()
		if t, ok := d.node.State().Tokens[id]; ok {
			return t
		}
		select {
		case <-ctx.Done():
			return failover.JoinToken{}
		case <-changed:
		}
	}
}
