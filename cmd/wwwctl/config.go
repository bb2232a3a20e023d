package main

import (
	"context"
	_ "embed" // the example
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

//go:embed example.yaml
var example string

func configCommand(a *app, fs *flag.FlagSet) runner {
	exitCode := fs.Bool("exit-code", false, "diff: exit 1 when there is a difference")
	return func(ctx context.Context, args []string) error {
		verbs := []string{"check", "diff", "apply", "show", "example", "schema"}
		if len(args) == 0 || !slices.Contains(verbs, args[0]) {
			return usagef("wwwctl config needs one of %v", verbs)
		}
		verb, rest := args[0], args[1:]
		switch verb {
		case "show":
			return a.configShow(ctx, rest)
		case "example":
			a.printf("%s", example)
			return need(rest, 0, 0, "")
		case "schema":
			return a.configSchema(rest)
		}
		if err := need(rest, 1, 1, "the file (- for standard input)"); err != nil {
			return err
		}
		spec, err := a.readNetwork(rest[0])
		if err != nil {
			return err
		}
		switch verb {
		case "check":
			a.say("%s: %s, %s, %s", rest[0], plural(len(spec.Sites), "site"), plural(len(spec.Structures), "structure"), plural(len(spec.Guests), "guest"))
			return nil
		case "diff":
			return a.configDiff(ctx, spec, *exitCode)
		}
		return a.configApply(ctx, spec)
	}
}

// configSchema writes the JSON Schema of a file, for editors.
func (a *app) configSchema(rest []string) error {
	if err := need(rest, 0, 1, ""); err != nil {
		return err
	}
	files := map[string]any{"network.yaml": network.Spec{}, "wwwd.yaml": config.Config{}}
	name := "network.yaml"
	if len(rest) > 0 {
		name = rest[0]
	}
	into, ok := files[name]
	if !ok {
		return usagef("wwwctl config schema knows network.yaml and wwwd.yaml, not %q", name)
	}
	b, err := netyaml.Schema(name, into)
	if err != nil {
		return err
	}
	a.printf("%s", b)
	return nil
}

// maxNetworkFile bounds what is read of a file; the agent takes no more either.
const maxNetworkFile = api.MaxBody

// readNetwork reads and checks a file; problems are printed like a compiler's.
func (a *app) readNetwork(file string) (*network.Spec, error) {
	var in io.Reader = a.con.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		defer func() { _ = f.Close() }() // opened for reading only
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxNetworkFile+1))
	if err != nil {
		return nil, fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	if len(b) > maxNetworkFile {
		return nil, fail(exitFailure, "WWW-3014", "why", fmt.Sprintf("%s is larger than %d bytes", file, maxNetworkFile))
	}
	spec, problems := netyaml.Parse(file, b)
	fmt.Fprint(a.con.Err, netyaml.Format(problems))
	wrong := 0
	for _, p := range problems {
		if p.Severity == network.Error {
			wrong++
		}
	}
	if wrong > 0 || spec == nil {
		return nil, fail(exitFailure, "WWW-3015", "errors", fmt.Sprint(wrong), "warnings", fmt.Sprint(len(problems)-wrong))
	}
	return spec, nil
}

// configShow writes the network in force, with every default, as the file
// that would declare it.
func (a *app) configShow(ctx context.Context, rest []string) error {
	if err := need(rest, 0, 0, ""); err != nil {
		return err
	}
	return a.present(ctx, func(ctx context.Context) (view, error) {
		n, err := a.client.Network(ctx)
		if err == nil && n.Spec == nil {
			err = fail(exitRefused, "WWW-2006")
		}
		if err != nil {
			return view{}, err
		}
		text, err := netyaml.Marshal(n.Spec)
		if err != nil {
			return view{}, err
		}
		return view{
			kind: api.KindNetwork, data: n,
			text: func() string { return fmt.Sprintf("# version %d\n%s", n.Version, text) },
		}, nil
	})
}

func (a *app) configDiff(ctx context.Context, spec *network.Spec, exitCode bool) error {
	changes, version, err := a.difference(ctx, spec)
	if err != nil {
		return err
	}
	if err := a.printChanges(changes, version); err != nil {
		return err
	}
	if exitCode && len(changes) > 0 {
		return &exitError{code: exitFailure}
	}
	return nil
}

// difference compares with what the network has now.
func (a *app) difference(ctx context.Context, spec *network.Spec) ([]network.Change, uint64, error) {
	n, err := request(ctx, a, func(ctx context.Context) (api.Network, error) { return a.client.Network(ctx) })
	if err != nil {
		return nil, 0, err
	}
	return network.Diff(n.Spec, spec), n.Version, nil
}

// printChanges writes the difference, in JSON as the answer to an application.
func (a *app) printChanges(changes []network.Change, version uint64) error {
	t := table{cols: cols("PATH", "CHANGE", "OLD", "NEW")}
	for _, ch := range changes {
		t.add(c(ch.Path), c(string(ch.Kind)), c(dash(ch.Old)), c(dash(ch.New)))
	}
	return a.print(view{
		kind: api.KindApplied, data: api.Applied{Version: version, DryRun: true, Changes: changes}, table: t,
		text: func() string {
			p := &page{s: a.show}
			for _, ch := range changes {
				tn := map[network.ChangeKind]tone{network.Added: good, network.Removed: bad, network.Changed: warn}[ch.Kind]
				p.line("%s", a.show.paint(tn, a.show.text(ch.String())))
			}
			p.line("%s against version %d", plural(len(changes), "change"), version)
			return p.b.String()
		},
	})
}

// configApply shows the difference, asks, and applies exactly that: if the
// declared network changes meanwhile, the log refuses.
func (a *app) configApply(ctx context.Context, spec *network.Spec) error {
	changes, version, err := a.difference(ctx, spec)
	if err != nil {
		return err
	}
	if a.structured() == "" {
		if err := a.printChanges(changes, version); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		a.say("nothing to apply")
		return nil
	}
	if !a.g.dryRun {
		if err := a.askYes(ctx, "Apply this everywhere?"); err != nil {
			return err
		}
	}
	done, err := a.applyNamed(ctx, api.ApplyRequest{Spec: spec, IfVersion: version, DryRun: a.g.dryRun})
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(view{kind: api.KindApplied, data: done})
	}
	if done.DryRun {
		a.say("nothing was applied (dry run)")
		return nil
	}
	a.printf("applied: version %d\n", done.Version)
	return nil
}

// applyNamed asks for the name of each site whose copies of guests would be given up,
// one after the other: the log refuses until all are named.
func (a *app) applyNamed(ctx context.Context, req api.ApplyRequest) (api.Applied, error) {
	for {
		done, err := request(ctx, a, func(ctx context.Context) (api.Applied, error) { return a.client.ApplyNetwork(ctx, req) })
		e, ok := errors.AsType[*api.Error](err)
		if !ok || e.Code != failover.CodeDropsReplica || a.g.dryRun && a.g.confirm == "" {
			return done, err
		}
		site := failover.SiteID(e.Args["site"])
		if slices.Contains(req.Confirm, site) {
			return done, err
		}
		a.say("%s", message.Clean(e.Message))
		if err := a.askName(ctx, string(site)); err != nil {
			return done, err
		}
		req.Confirm = append(req.Confirm, site)
	}
}
