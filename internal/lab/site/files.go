package site

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// certLifetime of the agents' certificates: longer than any lab is kept.
const certLifetime = 90 * 24 * time.Hour

// NetworkFile is the declared network in a lab's directory.
func NetworkFile(dir string) string { return filepath.Join(dir, "network.yaml") }

// AgentFile is the wwwd.yaml of a site's agent.
func AgentFile(dir, site string) string { return secretFile(dir, site, "wwwd.yaml") }

// AgentSocket is where a site's agent is asked by people on its machine.
func AgentSocket(dir, site string) string { return secretFile(dir, site, "wwwd.sock") }

// AgentData is where a site's agent keeps its state.
func AgentData(dir, site string) string { return secretFile(dir, site, "data") }

// AgentLog is what a site's agent writes.
func AgentLog(dir, site string) string { return secretFile(dir, site, "wwwd.log") }

// HostsLog is what the process of a site's hosts writes.
func HostsLog(dir, site string) string { return secretFile(dir, site, "site.log") }

func secretFile(dir, site, file string) string { return filepath.Join(SiteDir(dir, site), file) }

// WriteFiles fills the lab's directory: lab.json, network.yaml, and for each site its
// certificates, token files and wwwd.yaml. Whatever is secret has mode 0600.
func (l *Lab) WriteFiles(dir string, now time.Time) error {
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
		os.WriteFile(NetworkFile(dir), text, 0o600),
	}
	for i := range l.Sites {
		errs = append(errs, l.writeAgent(dir, i, ca, now))
	}
	return errors.Join(errs...)
}

// writeAgent writes what one agent needs.
func (l *Lab) writeAgent(dir string, i int, ca *cluster.CA, now time.Time) error {
	name := l.Sites[i].Name
	id, err := cluster.ServerID(AgentData(dir, name))
	if err != nil {
		return err
	}
	plan := l.Plan()
	pair, err := ca.Issue(failover.SiteID(name), id, []netip.Addr{plan.Mesh(i)}, now, certLifetime)
	if err != nil {
		return err
	}
	conf, err := l.agentConfig(dir, i)
	if err != nil {
		return err
	}
	authority, err := ca.PEM()
	if err != nil {
		return err
	}
	files := map[string]string{
		"agent.crt": string(pair.Cert), "agent.key": string(pair.Key), "ca.crt": string(ca.CertPEM()), "ca.key": string(authority.Key), "wwwd.yaml": conf,
		"pve.token": fmt.Sprintf("%s=%s\n", PVEToken, l.TokenSecret(name, PVEToken)),
		"pbs.token": fmt.Sprintf("%s:%s\n", PBSToken, l.TokenSecret(name, PBSToken)),
	}
	if !l.Routed {
		files[RouterReaderFile], files[RouterWriterFile] = l.TokenSecret(name, RouterReader)+"\n", l.TokenSecret(name, RouterWriter)+"\n"
	}
	if l.RealDNS() {
		files[tsigName] = l.TSIGSecret() + "\n"
	}
	errs := []error{writePlug(dir, name)}
	for file, text := range files {
		errs = append(errs, os.WriteFile(secretFile(dir, name, file), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}
