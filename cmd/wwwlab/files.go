package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// certLifetime of the agents' certificates: longer than any lab is kept.
const certLifetime = 30 * 24 * time.Hour

// Where things stand in the lab's directory.
func networkFile(dir string) string { return filepath.Join(dir, "network.yaml") }

func agentFile(dir, name string) string { return filepath.Join(site.SiteDir(dir, name), "wwwd.yaml") }

func agentSocket(dir, name string) string { return filepath.Join(site.SiteDir(dir, name), "wwwd.sock") }

func agentLog(dir, name string) string { return filepath.Join(site.SiteDir(dir, name), "wwwd.log") }

func hostsLog(dir, name string) string      { return filepath.Join(site.SiteDir(dir, name), "site.log") }
func controlSocket(dir string) string       { return filepath.Join(dir, "wwwlab.sock") }
func secretFile(dir, name, f string) string { return filepath.Join(site.SiteDir(dir, name), f) }

// writeFiles fills the lab's directory: lab.json, network.yaml, and for each site its
// certificates, token files and wwwd.yaml. Whatever is secret has mode 0600.
func writeFiles(l *site.Lab, dir string, now time.Time) error {
	if err := l.CheckDir(dir); err != nil {
		return err
	}
	text, err := netyaml.Marshal(l.Spec())
	if err != nil {
		return err
	}
	ca, err := cluster.NewCA(l.Network, now)
	if err != nil {
		return err
	}
	errs := []error{
		l.Save(dir), l.MakeCerts(dir, now),
		os.WriteFile(networkFile(dir), text, 0o600),
	}
	for i := range l.Sites {
		errs = append(errs, writeAgent(l, dir, i, ca, now))
	}
	return errors.Join(errs...)
}

// writeAgent writes what one agent needs.
func writeAgent(l *site.Lab, dir string, i int, ca *cluster.CA, now time.Time) error {
	name := l.Sites[i].Name
	id, err := cluster.ServerID(secretFile(dir, name, "data"))
	if err != nil {
		return err
	}
	plan := l.Plan()
	pair, err := ca.Issue(failover.SiteID(name), id, []netip.Addr{plan.Mesh(i)}, now, certLifetime)
	if err != nil {
		return err
	}
	conf, err := agentConfig(l, dir, i)
	if err != nil {
		return err
	}
	files := map[string]string{
		"agent.crt": string(pair.Cert), "agent.key": string(pair.Key), "ca.crt": string(ca.CertPEM()), "wwwd.yaml": conf,
		"pve.token": fmt.Sprintf("%s=%s\n", site.PVEToken, l.TokenSecret(name, site.PVEToken)),
		"pbs.token": fmt.Sprintf("%s:%s\n", site.PBSToken, l.TokenSecret(name, site.PBSToken)),
	}
	var errs []error
	for file, text := range files {
		errs = append(errs, os.WriteFile(secretFile(dir, name, file), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// tail returns the last lines of a file, indented.
func tail(file string, lines int) string {
	b, err := readEnd(file, 16<<10)
	if err != nil {
		return "  " + err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// readEnd reads at most n bytes from the end of a file.
func readEnd(file string, n int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, info.Size()-n), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// claimDir makes an empty directory for a lab and locks it for this process. One that
// holds anything but the remains of a lab is left alone.
func claimDir(dir string) (*os.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("claim %s: %w", dir, err)
	}
	named := func(name string) func(fs.DirEntry) bool {
		return func(e fs.DirEntry) bool { return e.Name() == name }
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, named(site.FileName)) && !slices.ContainsFunc(entries, named(lockFile)) {
		return nil, fmt.Errorf("%s is not empty and no directory of a lab: choose another --dir", dir)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, errors.Join(fmt.Errorf("remove the remains of a lab: %w", err), held.Close())
		}
	}
	return held, nil
}
