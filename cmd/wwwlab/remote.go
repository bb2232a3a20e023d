package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// remote talks to the supervisor of a directory.
type remote struct{ dir string }

func (c remote) do(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return fmt.Errorf("ask the supervisor: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://wwwlab"+path, &payload)
	if err != nil {
		return fmt.Errorf("ask the supervisor: %w", err)
	}
	var d net.Dialer
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", controlSocket(c.dir))
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("no network runs in %s (%w): begin one with wwwlab up --dir %s", c.dir, err, c.dir)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f refusal
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("the supervisor answers %s", resp.Status)
		}
		return errors.New(f.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the supervisor's answer: %w", err)
	}
	return nil
}

// connect parses a command line with --dir and returns the supervisor's client.
func connect(fs *flag.FlagSet, args []string, s streams, least, most int) (remote, []string, error) {
	dirOf := dirFlag(fs)
	rest, err := parse(fs, args, s, least, most)
	if err != nil {
		return remote{}, nil, err
	}
	dir, err := dirOf()
	return remote{dir: dir}, rest, err
}

// verb is a command that names a site and nothing else.
func verb(name string) func(context.Context, []string, streams) error {
	return func(ctx context.Context, args []string, s streams) error {
		c, rest, err := connect(flag.NewFlagSet(name, flag.ContinueOnError), args, s, 1, 1)
		if err != nil {
			return err
		}
		if err := c.do(ctx, http.MethodPost, "/sites/"+rest[0]+"/"+name, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "%s %s: done\n", name, rest[0])
		return nil
	}
}

func heal(ctx context.Context, args []string, s streams) error { return verb("heal")(ctx, args, s) }

func cut(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("cut", flag.ContinueOnError)
	path := fs.String("path", "both", "mesh, public or both")
	oneWay := fs.Bool("one-way", false, "only what the site sends is lost")
	c, rest, err := connect(fs, args, s, 1, 1)
	if err != nil {
		return err
	}
	req := cutRequest{Site: rest[0], Path: *path, OneWay: *oneWay}
	if err := c.do(ctx, http.MethodPost, "/cut", req, nil); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "cut %s: done\n", rest[0])
	return nil
}

func down(ctx context.Context, args []string, s streams) error {
	c, _, err := connect(flag.NewFlagSet("down", flag.ContinueOnError), args, s, 0, 0)
	if err != nil {
		return err
	}
	if err := c.do(ctx, http.MethodPost, "/down", nil, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		// The supervisor holds the lock until the last process has ended.
		held, err := lock(c.dir)
		if err == nil {
			err = held.Close()
			fmt.Fprintln(s.Out, "the network has ended")
			return errors.Join(err, removeEmpty(c.dir))
		}
		if err := site.Sleep(ctx, pollEvery); err != nil {
			return fmt.Errorf("the network in %s does not end: %w", c.dir, err)
		}
	}
}

// removeEmpty removes what looking at the lock of an ended network has left.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != lockFile {
		return nil //nolint:nilerr // it is gone already, or kept on purpose
	}
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

func roomStatus(ctx context.Context, args []string, s streams) error {
	c, _, err := connect(flag.NewFlagSet("status", flag.ContinueOnError), args, s, 0, 0)
	if err != nil {
		return err
	}
	var v roomView
	if err := c.do(ctx, http.MethodGet, "/status", nil, &v); err != nil {
		return err
	}
	printView(s.Out, v)
	return nil
}

func printView(w io.Writer, v roomView) {
	fmt.Fprintf(w, "%s on %s, supervisor %d, leader %s\n", v.Dir, v.Block, v.PID, v.Leader)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SITE\tKIND\tPOWER\tAGENT\tHOSTS\tMESH")
	for _, x := range v.Sites {
		power := "on"
		if !x.Power {
			power = "OFF"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Site, x.Kind, power, pidText(x.Agent), pidText(x.Hosts), x.Mesh)
	}
	_ = t.Flush() // as any print
	for _, x := range v.Cuts {
		fmt.Fprintf(w, "cut: %s → %s, path %s\n", x.From, x.To, x.Path)
	}
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return fmt.Sprint(pid)
}

// printEffects tells people what faults there are.
func printEffects(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EFFECT\tHOSTS\tWHAT HAPPENS\tFLAGS")
	for _, x := range lab.Catalogue() {
		hosts := "pve, pbs"
		if x.PVEOnly {
			hosts = "pve"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Effect, hosts, x.What, x.Fields)
	}
	_ = t.Flush() // as any print
}

func fault(ctx context.Context, args []string, s streams) error {
	if slices.Contains(args, "effects") { // whatever network it is
		printEffects(s.Out)
		return nil
	}
	fs := flag.NewFlagSet("fault", flag.ContinueOnError)
	var f lab.Fault
	effect := fs.String("effect", "", fmt.Sprintf("one of %v; wwwlab fault effects explains them", lab.Effects()))
	fs.StringVar(&f.Where, "where", "", "pve:HOST or pbs:HOST; empty: every host of the site")
	fs.StringVar(&f.Match.Method, "method", "", "of the requests it hits")
	fs.StringVar(&f.Match.Path, "path", "", "of the requests it hits, without /api2/json; * stands for anything")
	fs.IntVar(&f.Match.Skip, "skip", 0, "let so many requests pass first")
	fs.IntVar(&f.Times, "times", 0, "hit so many requests; 0: all")
	fs.DurationVar(&f.Delay, "delay", 0, "with the effects delay, skew-clock (may be negative) and hold-lock")
	fs.IntVar(&f.Status, "status", 0, "with the effect status")
	fs.StringVar(&f.Text, "text", "", "reason, storage, snapshot, token, privilege or lock, by effect")
	c, rest, err := connect(fs, args, s, 2, 2)
	if err != nil {
		return err
	}
	f.Effect = lab.Effect(*effect)
	switch rest[0] {
	case "add":
		if err := f.Validate(); err != nil {
			return usagef("%v", err)
		}
		return c.do(ctx, http.MethodPost, "/faults", faultRequest{Site: rest[1], Fault: f}, nil)
	case "clear":
		return c.do(ctx, http.MethodDelete, "/faults/"+rest[1], nil, nil)
	case "list":
		var list []lab.Fault
		if err := c.do(ctx, http.MethodGet, "/faults/"+rest[1], nil, &list); err != nil {
			return err
		}
		for _, f := range list {
			b, err := json.Marshal(f)
			if err != nil {
				return err
			}
			fmt.Fprintln(s.Out, string(b))
		}
		return nil
	}
	return usagef("want add, list, clear or effects, not %q", rest[0])
}

func guest(ctx context.Context, args []string, s streams) error {
	c, rest, err := connect(flag.NewFlagSet("guest", flag.ContinueOnError), args, s, 3, 3)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "/guest", guestRequest{Site: rest[1], Act: site.Act{Do: rest[0], Guest: rest[2]}}, nil)
}

func logs(_ context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("logs", flag.ContinueOnError)
	hosts := fs.Bool("site", false, "of the site's hosts, not of its agent")
	lines := fs.Int("n", 50, "how many lines")
	c, rest, err := connect(fs, args, s, 1, 1)
	if err != nil {
		return err
	}
	file := site.AgentLog(c.dir, rest[0])
	if *hosts {
		file = site.HostsLog(c.dir, rest[0])
	}
	b, err := readEnd(file, 4<<20)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	all := strings.SplitAfter(string(b), "\n")
	_, err = io.WriteString(s.Out, strings.Join(all[max(0, len(all)-1-max(0, *lines)):], ""))
	return err
}
