package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// maxVoters is the largest group of voters (design section 10: 3 or 5).
const maxVoters = 5

// voters returns how many of n sites vote: an odd number, five at most.
func voters(n int) int { return min(maxVoters, n-(1-n%2)) }

const (
	healthLimit = 75 * time.Second
	silentLimit = 4 * time.Second // a person is told something at least as often
)

// start brings the whole network up and waits until it is sound.
func (r *room) start(ctx context.Context) error {
	r.say("starting the hosts of %d sites on 127.%d.0.0/16", len(r.lab.Sites), r.lab.Block)
	if err := r.each(ctx, r.startHosts); err != nil {
		return err
	}
	if err := r.startNames(ctx); err != nil {
		return err
	}
	r.say("starting %d agents", len(r.lab.Sites))
	if err := r.each(ctx, r.startAgent); err != nil {
		return err
	}
	first := r.lab.Names()[0]
	if err := r.tell(ctx, r.bins.wwwd, "bootstrap", "--config", site.AgentFile(r.dir, first)); err != nil {
		return err
	}
	to := fmt.Sprintf("%s:%d", r.lab.Plan().Mesh(0), site.MeshPort)
	for i, name := range r.lab.Names()[1:] {
		args := []string{"join", "--config", site.AgentFile(r.dir, name), "--to", to}
		if i+1 >= voters(len(r.lab.Sites)) {
			args = append(args, "--nonvoter")
		}
		if err := r.tell(ctx, r.bins.wwwd, args...); err != nil {
			return err
		}
	}
	out, err := r.wwwctl(ctx, first, "config", "apply", "--yes", site.NetworkFile(r.dir))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	r.say("wwwctl config apply network.yaml: %s", lines[len(lines)-1])
	return r.awaitHealth(ctx)
}

// each does something for every site, all at once.
func (r *room) each(ctx context.Context, do func(context.Context, string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range r.lab.Names() {
		g.Go(func() error { return do(ctx, name) })
	}
	return g.Wait()
}

// tell runs a command to its end and repeats its one line.
func (r *room) tell(ctx context.Context, program string, args ...string) error {
	out, err := output(ctx, program, args...)
	if err == nil {
		r.say("%s", strings.TrimSpace(out))
	}
	return err
}

// wwwctl asks a site's agent with the person's own tool.
func (r *room) wwwctl(ctx context.Context, name string, args ...string) (string, error) {
	return output(ctx, r.bins.wwwctl, append([]string{"--socket", site.AgentSocket(r.dir, name), "--color", "never"}, args...)...)
}

// output runs a program and returns what it prints; its complaint is in the error.
func output(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// awaitHealth waits until the network says that all is well and every guest could be
// failed over, and tells what is missing meanwhile.
func (r *room) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	told, said := time.Time{}, ""
	for {
		missing := r.missing(ctx)
		if len(missing) == 0 {
			return nil
		}
		text := strings.Join(missing, "; ")
		if now := time.Now(); text != said && now.Sub(told) > time.Second || now.Sub(told) > silentLimit {
			r.say("waiting: %s", text)
			told, said = now, text
		}
		if err := site.Sleep(ctx, 2*pollEvery); err != nil {
			return fmt.Errorf("the network is not sound after %s: %s", healthLimit, said)
		}
	}
}

// missing says what is not well yet, as the first agent that knows of something puts
// it: each has its own copy of the state, and all must have heard that all is well.
func (r *room) missing(ctx context.Context) []string {
	for _, name := range r.living() {
		client := r.agent(name)
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		st, err := client.Status(attempt)
		cancel()
		client.Close()
		if err != nil {
			return []string{fmt.Sprintf("the agent of %s does not answer", name)}
		}
		if missing := lacks(st, len(r.lab.Sites)); len(missing) > 0 {
			return missing
		}
	}
	return nil
}

// lacks reads out of a status what keeps a network of n sites from being sound.
func lacks(st failover.Status, n int) []string {
	var missing []string
	add := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	if len(st.Sites) != n {
		add("%d of %d sites declared", len(st.Sites), n)
	}
	if !st.Local.HasLeader || st.Leader == "" {
		add("no leader")
	}
	if st.Quorum.Voters != voters(n) || st.Quorum.Present < st.Quorum.Voters {
		add("%d of %d voters present", st.Quorum.Present, voters(n))
	}
	var unsound, unready []string
	for _, s := range st.Sites {
		if s.State != "up" {
			unsound = append(unsound, fmt.Sprintf("%s is %s", s.Site, s.State))
		}
		if s.Ready < s.Guests {
			unready = append(unready, fmt.Sprintf("%s %d/%d", s.Site, s.Ready, s.Guests))
		}
	}
	if len(unsound) > 0 {
		add("%s", strings.Join(unsound, ", "))
	}
	if len(unready) > 0 {
		add("guests with a copy elsewhere: %s", strings.Join(unready, ", "))
	}
	for _, z := range st.Zones {
		if !z.InSync {
			add("zone %s not served everywhere", z.Zone)
		}
	}
	return missing
}

// askEach asks the agents of the living sites, the given one first, until one answers.
func askEach[T any](ctx context.Context, r *room, first string, ask func(context.Context, *api.Client) (T, error)) (T, error) {
	var errs []error
	names := r.living()
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case a == first:
			return -1
		case b == first:
			return 1
		}
		return 0
	})
	for _, name := range names {
		client := r.agent(name)
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		v, err := ask(attempt, client)
		cancel()
		client.Close()
		if err == nil {
			return v, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	var none T
	return none, errors.Join(errs...)
}

func (r *room) anyStatus(ctx context.Context) (failover.Status, error) {
	return askEach(ctx, r, "", func(ctx context.Context, c *api.Client) (failover.Status, error) { return c.Status(ctx) })
}
