package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/drive"
)

// How often the agent looks after its certificate, and how soon again after a failure.
const (
	credentialsEvery = 10 * time.Minute
	credentialsRetry = 30 * time.Second
)

// credentials is the step that keeps what this agent is known by: a voter gets
// the authority's key, and a certificate of which a third is left is renewed,
// for new connections, without a restart.
func (d *daemon) credentials() drive.Func {
	due, voted := time.Time{}, false
	return func(ctx context.Context, now time.Time) time.Time {
		votes := d.node.State().Members[d.conf.Site].Voter
		if now.Before(due) && votes == voted { // State changes all the time
			return due
		}
		voted = votes
		due = d.keepCredentials(ctx, now)
		return due
	}
}

func (d *daemon) keepCredentials(ctx context.Context, now time.Time) time.Time {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := errors.Join(d.fetchAuthority(ctx), d.renewCertificate(ctx, now))
	if err == nil {
		return now.Add(credentialsEvery)
	}
	d.log.Warn("certificates not kept as they should be", "err", err)
	return now.Add(credentialsRetry)
}

// fetchAuthority asks the other voters for the network's key, if this agent
// votes and has it not.
func (d *daemon) fetchAuthority(ctx context.Context) error {
	self, member := d.node.State().Members[d.conf.Site]
	if d.authority.get() != nil || !member || !self.Voter || self.ServerID != d.id {
		return nil
	}
	trusted, err := os.ReadFile(d.conf.TLS.CA)
	if err != nil {
		return err
	}
	errs := []error{errors.New("no other voter hands out the authority's key")}
	for _, addr := range d.voters() {
		got, err := d.peers.client(addr).Authority(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		ca, err := cluster.LoadCA(cluster.Pair{Cert: trusted, Key: []byte(got.Key)})
		if err != nil { // the key must be of the authority that this agent believes
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		if err := writeSecret(d.conf.TLS.CAKey, []byte(got.Key)); err != nil {
			return fmt.Errorf("keep authority's key: %w", err)
		}
		d.authority.set(ca)
		d.log.Info("this agent holds the authority's key now", "from", addr)
		return nil
	}
	return errors.Join(errs...)
}

func (d *daemon) renewCertificate(ctx context.Context, now time.Time) error {
	from, to := d.tls.Validity()
	if to.Sub(now) > to.Sub(from)/3 {
		return nil
	}
	csr, key, err := cluster.NewRequest()
	if err != nil {
		return err
	}
	cert, err := d.signOwn(ctx, csr, now)
	if err != nil {
		return fmt.Errorf("renew certificate (it ends %s): %w", to.UTC().Format(time.RFC3339), err)
	}
	pair := cluster.Pair{Cert: cert, Key: key}
	if err := d.tls.Renew(pair); err != nil {
		return err
	}
	if err := writePair(d.conf.TLS, pair); err != nil {
		return err
	}
	_, to = d.tls.Validity()
	d.log.Info("certificate renewed", "until", to.UTC().Format(time.RFC3339))
	return nil
}

// signOwn has the request signed here, or by any voter.
func (d *daemon) signOwn(ctx context.Context, csr []byte, now time.Time) ([]byte, error) {
	if ca := d.authority.get(); ca != nil {
		return ca.IssueFor(csr, d.conf.Site, d.id, []netip.Addr{d.conf.Advertise.Addr()}, now, agentLife)
	}
	errs := []error{failover.ErrUnknown}
	for _, addr := range d.voters() {
		got, err := d.peers.client(addr).Renew(ctx, string(csr))
		if err == nil {
			return []byte(got.Certificate), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return nil, errors.Join(errs...)
}

// ownCertificate returns this agent's pair. Where it is another server's, after
// a rebuild gave the data directory a new id, or does not match its key, a
// holder of the authority's key makes itself a new one.
func (d *daemon) ownCertificate() (cluster.Pair, error) {
	var p cluster.Pair
	var err error
	for path, into := range map[string]*[]byte{d.conf.TLS.Cert: &p.Cert, d.conf.TLS.Key: &p.Key} {
		if *into, err = os.ReadFile(path); err != nil {
			return p, fmt.Errorf("load certificates: %w", err)
		}
	}
	ca := d.authority.get()
	if ca == nil || cluster.Names(p, d.identity()) {
		return p, nil
	}
	p, err = ca.Issue(d.conf.Site, d.id, []netip.Addr{d.conf.Advertise.Addr()}, time.Now(), agentLife)
	if err != nil {
		return p, err
	}
	d.log.Info("certificate made for this data directory", "server", d.id)
	return p, writePair(d.conf.TLS, p)
}

func (d *daemon) identity() cluster.Identity {
	return cluster.Identity{Network: d.conf.Network, Site: d.conf.Site, ServerID: d.id}
}
