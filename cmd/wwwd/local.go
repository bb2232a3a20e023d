package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// backend is what the API needs of the agent.
type backend struct{ d *daemon }

func (d *daemon) backend() api.Backend { return backend{d} }

func (b backend) State() *failover.State { return b.d.node.State() }
func (b backend) Now() time.Time         { return b.d.clock.Now(b.d.node.State(), time.Now()) }

// ownWrite is how long at most the answer to a person waits for this agent to
// know itself what it had accepted: status, asked next, must not deny it.
const ownWrite = 2 * time.Second

func (b backend) Propose(ctx context.Context, c failover.Command) (failover.Stamp, error) {
	st, err := b.d.node.Propose(ctx, c)
	if err != nil {
		return st, err
	}
	ctx, cancel := context.WithTimeout(ctx, ownWrite)
	defer cancel()
	_ = b.d.node.AwaitApplied(ctx, st.Index) // accepted it is, whether this agent hears of it now or later
	return st, nil
}

func (b backend) Node() api.Node {
	st := b.d.node.Stats()
	return api.Node{
		Boot: b.d.boot, Role: st.Role, Term: st.Term, Commit: st.CommitIndex, Applied: st.StateIndex,
	}
}

// leaderHeard is how recently a leader must have been heard to count as there:
// two heartbeat timeouts.
const leaderHeard = 4 * time.Second

func (b backend) Local() failover.LocalView {
	d := b.d
	age, _ := d.node.LastContact()
	_, leads := d.node.Lead()
	v := failover.LocalView{Site: d.conf.Site, Version: version, IsLeader: leads, LastContact: age, HasLeader: d.hasLeader()}
	v.Unwell, v.Reachable = d.probes.local()
	v.Channels = d.tell.views()
	v.Names = d.site.doctor.names(d.node.State())
	if house := d.site.house.Load(); house != nil && !v.HasLeader {
		v.House = house.View()
	}
	return v
}

// hasLeader says whether this agent leads or has just heard who does.
func (d *daemon) hasLeader() bool {
	age, heard := d.node.LastContact()
	_, leads := d.node.Lead()
	return leads || heard && age < leaderHeard && d.node.LeaderAddr() != ""
}

// Requests of the two verbs that only a person on this machine may use.
type joinRequest struct {
	To    string `json:"to"`
	Voter bool   `json:"voter"`
}

// localRoutes adds the verbs of the local socket to the API.
func (d *daemon) localRoutes(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("POST /v1/cluster/bootstrap", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 45*time.Second)
		defer cancel()
		err := d.node.Bootstrap(failover.WithActor(ctx, "local"), 1)
		answerVerb(w, fmt.Sprintf("network %s begun; this agent (%s) is its first member", d.conf.Network, d.conf.Site), err)
	})
	mux.HandleFunc("POST /v1/cluster/join", func(w http.ResponseWriter, r *http.Request) {
		var req joinRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
			answerVerb(w, "", fmt.Errorf("read request: %w", err))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 55*time.Second)
		defer cancel()
		answerVerb(w, fmt.Sprintf("joined the group of %s as %s", req.To, d.conf.Site), d.join(ctx, req))
	})
	mux.HandleFunc("POST /v1/cluster/member", d.memberRoute)
	verb(mux, "POST /v1/cluster/leave", func(ctx context.Context, _ struct{}) (string, error) {
		err := d.leave(failover.WithActor(ctx, "local"))
		return fmt.Sprintf("%s left the group; its certificate is refused from now on. Stop it: systemctl disable --now wwwd", d.conf.Site), err
	})
	verb(mux, "POST /v1/cluster/recover", d.rebuild)
	verb(mux, "POST /v1/alert/test", d.tell.test)
	return asPerson(mux, d.log.With("component", "api"))
}

// join asks the leader of the group that req.To belongs to to admit this
// agent, until it did or ctx ends.
func (d *daemon) join(ctx context.Context, req joinRequest) error {
	var last error
	to := req.To
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
		last = d.peers.client(to).Join(attempt, api.JoinRequest{
			Site: d.conf.Site, ServerID: d.id, Address: d.conf.Advertise.String(), Nonvoter: !req.Voter,
		})
		if errors.Is(last, failover.ErrNoLeader) {
			to = d.leaderOf(attempt, req.To)
		}
		cancel()
		if last == nil || !errors.Is(last, failover.ErrNoLeader) && !errors.Is(last, failover.ErrUnknown) {
			return last
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return fmt.Errorf("join: %w", last)
}

// leaderOf asks an agent for its leader's address; itself when it knows none.
func (d *daemon) leaderOf(ctx context.Context, to string) string {
	list, err := d.peers.client(to).Peers(ctx)
	if err != nil {
		return to
	}
	for _, p := range list.Items {
		if p.Role == "leader" {
			return p.Address
		}
	}
	return to
}

func answerVerb(w http.ResponseWriter, text string, err error) { api.AnswerVerb(w, text, err) }

// bootstrap and join ask the running local agent over its socket.
func bootstrap(ctx context.Context, conf *config.Config, out io.Writer) error {
	return askLocal(ctx, conf, "/v1/cluster/bootstrap", nil, out)
}

func join(ctx context.Context, conf *config.Config, to string, voter bool, out io.Writer) error {
	if _, _, err := net.SplitHostPort(to); err != nil {
		return fmt.Errorf("join: --to must be the mesh address and port of an agent, such as 10.77.2.1:%d", network.DefaultMeshPort)
	}
	return askLocal(ctx, conf, "/v1/cluster/join", joinRequest{To: to, Voter: voter}, out)
}

func askLocal(ctx context.Context, conf *config.Config, path string, body any, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := api.NewSocketClient(conf.Socket)
	defer client.Close()
	text, err := client.Verb(ctx, path, body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
