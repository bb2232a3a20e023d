package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// onboarding is the agent that belongs to no network yet: it listens on its
// socket only, and waits for a person to begin a network or to join one.
type onboarding struct {
	d    *daemon
	done chan struct{} // one slot: certificates are in place
}

// onboardJoin is the request of `wwwctl join`.
type onboardJoin struct {
	Address string `json:"address"` // mesh address and port of an agent that holds the authority's key
	Token   string `json:"token"`
}

// onboardRestore is the request of `wwwctl cluster snapshot restore`.
type onboardRestore struct {
	Snapshot []byte `json:"snapshot"`
}

// hasCertificate says whether the agent was admitted to a network.
func (d *daemon) hasCertificate() bool {
	_, err := os.Stat(d.conf.TLS.Cert)
	return !errors.Is(err, fs.ErrNotExist)
}

// onboard returns when the agent has its certificates.
func (d *daemon) onboard(ctx context.Context) error {
	if d.hasCertificate() {
		return nil
	}
	logger := d.log.With("component", "onboarding")
	l, err := api.ListenSocket(ctx, d.conf.Socket)
	if err != nil {
		return err
	}
	o := &onboarding{d: d, done: make(chan struct{}, 1)}
	serveCtx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(serveCtx, api.NewSocketServer(o.routes(), logger), l) }()
	logger.Info("belongs to no network yet: wwwctl init, or wwwctl join", "socket", d.conf.Socket)
	notifyReady(d.log)
	every, fed := watchdogEvery()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		state := "STATUS=waits for wwwctl init or wwwctl join"
		if fed {
			state += "\nWATCHDOG=1"
		}
		_ = sdNotify(state) // nothing depends on it
		select {
		case <-o.done:
			stop()
			<-ended // the answer has left
			return nil
		case err := <-ended:
			return err
		case <-tick.C:
		}
	}
}

func (o *onboarding) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api.NewWaitingHandler(o.d.log))
	verb(mux, "POST /v1/onboard/init", func(context.Context, struct{}) (string, error) { return o.begin(nil) })
	verb(mux, "POST /v1/onboard/restore", func(_ context.Context, q onboardRestore) (string, error) { return o.begin(q.Snapshot) })
	verb(mux, "POST /v1/onboard/join", o.join)
	return asPerson(mux, o.d.log)
}

// verb adds a route of the local socket that takes JSON and answers in words.
func verb[Q any](mux *http.ServeMux, pattern string, f func(ctx context.Context, q Q) (string, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 55*time.Second)
		defer cancel()
		var q Q
		if err := json.NewDecoder(io.LimitReader(r.Body, maxVerb)).Decode(&q); err != nil && !errors.Is(err, io.EOF) {
			answerVerb(w, "", fmt.Errorf("read request: %w", err))
			return
		}
		text, err := f(ctx, q)
		answerVerb(w, text, err)
	})
}

// maxVerb holds a snapshot of the largest network in base64.
const maxVerb = 64 << 20

func (o *onboarding) finish() {
	select {
	case o.done <- struct{}{}:
	default:
	}
}

// begin makes the authority of a new network and this agent's certificate. With
// a snapshot the new network begins with what that holds.
func (o *onboarding) begin(snapshot []byte) (string, error) {
	d := o.d
	if has, err := cluster.HasLog(d.conf.DataDir); err != nil {
		return "", err
	} else if has {
		return "", fmt.Errorf("%s holds the log of a network: its certificates are what is missing. "+
			"Join again with a token (wwwctl join), or move %s aside to begin a new network", d.conf.DataDir, d.conf.DataDir)
	}
	now := time.Now()
	if snapshot != nil {
		if err := d.prepareRebuild(snapshot, "a snapshot file"); err != nil {
			return "", err
		}
	}
	ca, err := cluster.NewCA(d.conf.Network, now)
	if err != nil {
		return "", err
	}
	id, err := cluster.ServerID(d.conf.DataDir)
	if err != nil {
		return "", err
	}
	pair, err := ca.Issue(d.conf.Site, id, []netip.Addr{d.conf.Advertise.Addr()}, now, agentLife)
	if err != nil {
		return "", err
	}
	keys, err := ca.PEM()
	if err != nil {
		return "", err
	}
	t := d.conf.TLS
	if err := errors.Join(writeSecret(t.CAKey, keys.Key), writeSecret(t.CA, keys.Cert)); err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	if snapshot != nil {
		if err := cluster.CommitRebuild(d.conf.DataDir); err != nil {
			return "", err
		}
	}
	if err := writePair(t, pair); err != nil {
		return "", err
	}
	o.finish()
	return fmt.Sprintf("authority of network %s made; its fingerprint is %s", d.conf.Network, ca.Fingerprint()), nil
}

// join has a certificate signed by an agent that the token vouches for.
func (o *onboarding) join(ctx context.Context, q onboardJoin) (string, error) {
	d := o.d
	token, err := api.ParseJoinToken(q.Token)
	if err != nil {
		return "", err
	}
	host, _, err := net.SplitHostPort(q.Address)
	if err != nil {
		return "", fmt.Errorf("address %q: want the mesh address and port of an agent, such as 10.77.1.1:9977", q.Address)
	}
	id, err := cluster.ServerID(d.conf.DataDir)
	if err != nil {
		return "", err
	}
	csr, key, err := cluster.NewRequest()
	if err != nil {
		return "", err
	}
	var ca []byte
	config := cluster.JoinTLS(host, token.Authority, time.Now, func(pem []byte) { ca = pem })
	dialer := cluster.NewDialer(d.conf.Dial.Mesh)
	transport := &http.Transport{TLSClientConfig: config, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second}
	defer transport.CloseIdleConnections()
	got, err := api.NewClient("https://"+q.Address, &http.Client{Transport: transport}).Redeem(ctx, api.RedeemRequest{
		Token: q.Token, Site: d.conf.Site, ServerID: id, Address: d.conf.Advertise.String(), Request: string(csr),
	})
	if errors.Is(err, cluster.ErrWrongAuthority) {
		return "", fmt.Errorf("%s: %w; nothing was sent to it", q.Address, cluster.ErrWrongAuthority)
	}
	if err != nil {
		return "", err
	}
	pair := cluster.Pair{Cert: []byte(got.Certificate), Key: key}
	d.id = id
	_, err = cluster.NewTLS(cluster.TLSConfig{Self: d.identity(), Pair: pair, CA: ca, Now: time.Now})
	if err != nil {
		return "", fmt.Errorf("certificate from %s: %w", q.Address, err)
	}
	if err := writeSecret(d.conf.TLS.CA, ca); err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	if err := writePair(d.conf.TLS, pair); err != nil {
		return "", err
	}
	o.finish()
	return fmt.Sprintf("%s signed the certificate of %s", q.Address, d.conf.Site), nil
}
