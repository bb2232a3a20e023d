package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const defaultDir = ".lab"

// dirFlag registers --dir and returns the directory as an absolute name.
func dirFlag(fs *flag.FlagSet) func() (string, error) {
	dir := fs.String("dir", defaultDir, "directory of the network")
	return func() (string, error) {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return "", fmt.Errorf("find directory %s: %w", *dir, err)
		}
		return abs, nil
	}
}

// binFlags registers where the other programs are: beside this one, by default.
func binFlags(fs *flag.FlagSet) func() (binaries, error) {
	wwwd := fs.String("wwwd", "", "the agent's program (default: beside wwwlab)")
	wwwctl := fs.String("wwwctl", "", "the person's tool (default: beside wwwlab)")
	return func() (binaries, error) {
		self, err := os.Executable()
		if err != nil {
			return binaries{}, fmt.Errorf("find own program: %w", err)
		}
		b := binaries{lab: self, wwwd: *wwwd, wwwctl: *wwwctl}
		var errs []error
		for name, path := range map[string]*string{"wwwd": &b.wwwd, "wwwctl": &b.wwwctl} {
			if *path == "" {
				*path = filepath.Join(filepath.Dir(self), name)
			}
			if info, err := os.Stat(*path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
				errs = append(errs, fmt.Errorf("there is no program %s: build it (make build) or name it with --%s", *path, name))
			}
		}
		return b, errors.Join(errs...)
	}
}

// releases are the versions of Proxmox that the lab's hosts play; "" is the newest.
type releases struct{ pve, pbs string }

// releaseFlags registers --pve and --pbs.
func releaseFlags(fs *flag.FlagSet) func() (releases, error) {
	pve := fs.String("pve", "", "release of Proxmox VE to play, such as 9.2 or 8.4 (default: the newest)")
	pbs := fs.String("pbs", "", "release of Proxmox Backup Server to play, such as 4.2 or 3.4 (default: the newest)")
	return func() (releases, error) {
		if err := lab.CheckVersions(*pve, *pbs); err != nil {
			return releases{}, usagef("%v", err)
		}
		return releases{pve: *pve, pbs: *pbs}, nil
	}
}

// teller returns a function that prints lines.
func teller(w io.Writer) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}

func up(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	dirOf, binsOf, releasesOf := dirFlag(fs), binFlags(fs), releaseFlags(fs)
	sites := fs.Int("sites", site.DefaultSites, "number of sites")
	kind := fs.String("dns", site.Embedded, "who serves the zone: "+dnsChoices())
	keep := fs.Bool("keep", false, "leave the directory behind, with its logs")
	if _, err := parse(fs, args, s, 0, 0); err != nil {
		return err
	}
	if *sites < site.MinSites || *sites > site.MaxSites {
		return usagef("--sites: a network of the lab has %d to %d sites", site.MinSites, site.MaxSites)
	}
	plays, err := releasesOf()
	if err != nil {
		return err
	}
	if err := checkDNS(*kind); err != nil {
		return err
	}
	dir, err := dirOf()
	if err != nil {
		return err
	}
	bins, err := binsOf()
	if err != nil {
		return err
	}
	held, err := claimDir(dir)
	if err != nil {
		return err
	}
	r, err := newRoom(ctx, roomConfig{dir: dir, sites: *sites, dns: *kind, plays: plays, bins: bins, say: teller(s.Out)})
	if err == nil {
		err = runRoom(ctx, r, s.Out)
		if err != nil {
			*keep = true
			fmt.Fprintf(s.Err, "the logs are kept in %s\n", dir)
		}
	}
	if !*keep {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(err, held.Close())
}

// runRoom starts the network and keeps it until ctx ends or somebody asks for its end.
func runRoom(ctx context.Context, r *room, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := r.start(ctx)
	stopped := ctx.Err() != nil
	if err == nil {
		printGuide(out, r)
		err = serveControl(ctx, r, cancel)
	}
	if stopped {
		err = nil // a person changed their mind
	}
	fmt.Fprintln(out, "ending the network")
	return errors.Join(err, r.close())
}

// printGuide tells how to talk to the network.
func printGuide(out io.Writer, r *room) {
	rel := r.dir
	if wd, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(wd, r.dir); err == nil && len(short) < len(rel) {
			rel = short
		}
	}
	g := r.lab.Guests[0]
	entry, _ := r.lab.Entry(0)
	names := r.nameServers()
	dns := names[len(names)-1].addr
	fmt.Fprintf(out, `
The network is up: %d sites, %d guests, on 127.%d.0.0/16. Ctrl-C or "wwwlab down" ends it.

  %s --socket %s status
  dig @%s -p %d %s
  curl --cacert %s --resolve %s:%d:%s https://%s:%d/data
  wwwlab write %s "hello" --dir %s      as people do over the internet; --at %s: in the house, also while its line is cut; then: read
  wwwlab kill moulin --dir %s      then: status, revive, cut, heal, restart, fault, logs, down

Sites: %v
`, len(r.lab.Sites), len(r.lab.Guests), r.lab.Block,
		r.bins.wwwctl, site.AgentSocket(rel, r.lab.Names()[0]),
		dns.Addr(), dns.Port(), g.Names[0],
		site.EntryCA(rel), g.Names[0], entry.Port(), entry.Addr(), g.Names[0], entry.Port(),
		g.Name, rel, r.lab.Names()[0], rel, r.lab.Names())
}

// siteCommand is the process of one site.
func siteCommand(ctx context.Context, args []string, s streams) error {
	fs := flag.NewFlagSet("site", flag.ContinueOnError)
	dirOf := dirFlag(fs)
	name := fs.String("site", "", "name of the site")
	if _, err := parse(fs, args, s, 0, 0); err != nil {
		return err
	}
	dir, err := dirOf()
	if err != nil {
		return err
	}
	return site.Run(ctx, site.Config{Dir: dir, Site: *name, Logger: slog.New(slog.NewTextHandler(s.Err, nil))})
}
