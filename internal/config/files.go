package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// namedFile is one that the configuration names.
type namedFile struct {
	path, name string
	secret     bool
	severity   network.Severity // of its absence
	next       string           // what to type when it is missing
}

// CheckFiles looks at the files that the configuration names and returns what
// is wrong with them, sorted by path. Without its certificate an agent cannot
// start. Without a Proxmox token it can: it votes and observes, so that a
// revoked or lost token takes a site's hands but not its voice.
func (c *Config) CheckFiles() []network.Problem {
	certificate := fmt.Sprintf("on the first site: wwwctl init --site %s; on the others: wwwctl join ADDRESS --site %s --token TOKEN", c.Site, c.Site)
	missing := network.Error
	if _, err := os.Stat(c.TLS.Cert); errors.Is(err, fs.ErrNotExist) {
		missing = network.Warning // it was not admitted yet
	}
	files := []namedFile{
		{"tls.ca", c.TLS.CA, false, missing, certificate},
		{"tls.cert", c.TLS.Cert, false, missing, certificate},
		{"tls.key", c.TLS.Key, true, missing, certificate},
		{"pve.token_file", c.PVE.TokenFile, true, network.Warning, "make a token (pveum user token add wwwd@pve agent) and write USER@REALM!NAME=SECRET into the file"},
		{"pbs.token_file", c.PBS.TokenFile, true, network.Warning, "make a token (proxmox-backup-manager user generate-token wwwd@pbs agent) and write USER@REALM!NAME:SECRET into the file"},
		{"router.password_file", c.Router.PasswordFile, true, network.Warning, "make a user on the router (/user/add group=ww-ro) and write its password into the file, one line"},
		{"router.ca_file", c.Router.CAFile, false, network.Warning, "export the router's authority (/certificate/export-certificate ww-ca) and copy it there"},
		{"pve.ca_file", c.PVE.CAFile, false, network.Warning, "copy the authority's certificate there: cp /etc/pve/pve-root-ca.pem " + c.PVE.CAFile},
		{"public_ca_file", c.PublicCAFile, false, network.Warning, "copy the authority of the public certificates there, or remove public_ca_file"},
		{"pbs.ca_file", c.PBS.CAFile, false, network.Warning, "remove ca_file and write fingerprint: (proxmox-backup-manager cert info)"},
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fences)) {
		f, path := c.Fences[name], "fences."+name
		if len(f.Command) > 0 {
			files = append(files, namedFile{path + ".command", f.Command[0], false, network.Warning, "put the program there, owner root, mode 0755"})
		}
		files = append(
			files,
			namedFile{path + ".router.password_file", f.Router.PasswordFile, true, network.Warning, "make a user on the router (/user/add group=ww-fence) and write its password into the file, one line"},
			namedFile{path + ".router.ca_file", f.Router.CAFile, false, network.Warning, "export the router's authority (/certificate/export-certificate ww-ca) and copy it there"},
		)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Programs)) {
		files = append(files, namedFile{"programs." + name + ".command", c.Programs[name].Command[0], false, network.Warning, "put the program there, owner root, mode 0755"})
	}
	for _, name := range slices.Sorted(maps.Keys(c.TSIG)) {
		files = append(files, namedFile{"tsig." + name + ".secret_file", c.TSIG[name].SecretFile, true, network.Error, "make the key (tsig-keygen " + name + ") and write its secret into the file"})
	}
	for _, host := range slices.Sorted(maps.Keys(c.Inventory)) {
		path := "inventory." + string(host)
		files = append(
			files,
			namedFile{path + ".token_file", c.Inventory[host].TokenFile, true, network.Warning, "on that host make a token with PVEAuditor on /vms and write USER@REALM!NAME=SECRET into the file"},
			namedFile{path + ".ca_file", c.Inventory[host].CAFile, false, network.Warning, "copy that host's /etc/pve/pve-root-ca.pem there"},
		)
	}
	for _, host := range slices.Sorted(maps.Keys(c.Hands)) {
		path := "hands." + string(host)
		files = append(
			files,
			namedFile{path + ".token_file", c.Hands[host].TokenFile, true, network.Warning, "on that host make a token (deploy/proxmox/README.md, planned moves) and write USER@REALM!NAME=SECRET into the file"},
			namedFile{path + ".ca_file", c.Hands[host].CAFile, false, network.Warning, "copy that host's /etc/pve/pve-root-ca.pem there"},
		)
	}
	files = append(files, notifyFiles(c.Notify)...)
	var out []network.Problem
	for _, f := range files {
		if p, bad := f.check(); bad {
			out = append(out, p)
		}
	}
	network.SortProblems(out)
	return out
}

// check looks at one file; bad is false if nothing is wrong.
func (f namedFile) check() (p network.Problem, bad bool) {
	if f.name == "" {
		return p, false
	}
	p = network.Problem{Path: f.path, Code: network.CodeFileUnread, Severity: network.Error}
	info, err := os.Stat(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Code, p.Severity, p.Hint = network.CodeFileMissing, f.severity, f.next
		p.Message = fmt.Sprintf("file %s does not exist", f.name)
	case err != nil:
		p.Hint = "check the owner and mode of the directories above it: namei -l " + f.name
		p.Message = fmt.Sprintf("file %s cannot be looked at: %v", f.name, err)
	case !info.Mode().IsRegular():
		p.Hint = "name a regular file"
		p.Message = fmt.Sprintf("%s is not a regular file", f.name)
	case f.secret && info.Mode().Perm()&0o077 != 0:
		p.Code, p.Hint = network.CodeFileMode, "chmod 0600 "+f.name
		p.Message = fmt.Sprintf("file %s is a secret with mode %04o: others than its owner can use it", f.name, info.Mode().Perm())
	default:
		return f.readable()
	}
	return p, true
}

// readable proves that this process can read the file.
func (f namedFile) readable() (p network.Problem, bad bool) {
	r, err := os.Open(f.name)
	if err != nil {
		return network.Problem{
			Path: f.path, Code: network.CodeFileUnread, Severity: network.Error,
			Message: fmt.Sprintf("file %s cannot be read: %v", f.name, err),
			Hint:    "give it to the user of the service: chown wwwd: " + f.name,
		}, true
	}
	_ = r.Close() // nothing was written
	return p, false
}
