package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/config"
)

// memberRequest changes one member of the group, which is a person's act
// always: nobody is removed for being silent.
type memberRequest struct {
	Site    string `json:"site"`
	Set     string `json:"set"` // voter, nonvoter or removed
	Confirm string `json:"confirm,omitempty"`
}

const removed = "removed"

func (q memberRequest) check() error {
	switch {
	case q.Site == "":
		return errors.New("member: --site SITE is missing: wwwctl cluster peers lists the members")
	case q.Set != string(cluster.Voter) && q.Set != string(cluster.Nonvoter) && q.Set != removed:
		return fmt.Errorf("member: --set %q: want voter, nonvoter or removed", q.Set)
	case q.Set != string(cluster.Voter) && q.Confirm != q.Site:
		return fmt.Errorf("member: this takes the vote of %s, which makes a majority of fewer; type --confirm %s as well", q.Site, q.Site)
	}
	return nil
}

func member(ctx context.Context, conf *config.Config, q memberRequest, out io.Writer) error {
	if err := q.check(); err != nil {
		return err
	}
	return askLocal(ctx, conf, "/v1/cluster/member", q, out)
}

func (d *daemon) memberRoute(w http.ResponseWriter, r *http.Request) {
	var q memberRequest
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&q)
	if err != nil {
		err = fmt.Errorf("read request: %w", err)
	} else {
		err = q.check()
	}
	if err != nil {
		answerVerb(w, "", err)
		return
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(r.Context(), "local"), 55*time.Second)
	defer cancel()
	err = d.changeMember(ctx, q)
	answerVerb(w, fmt.Sprintf("%s is %s now; the group has %d voters", q.Site, q.Set, d.node.State().Voters()), err)
}

func (d *daemon) changeMember(ctx context.Context, q memberRequest) error {
	return access{d}.SetMember(ctx, failover.SiteID(q.Site), q.Set)
}
