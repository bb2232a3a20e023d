// Package proxmox_test runs the set-up scripts against stand-ins of Proxmox's
// commands and holds what they grant against internal/privileges.
package proxmox_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/privileges"
)

const secret = "01234567-89ab-cdef-0123-456789abcdef"

// standIn is one program for all of Proxmox's commands. It keeps users, roles
// and tokens as files, writes down what changes something, and refuses what
// the real ones refuse: making a thing twice, and privileges that are gone.
const standIn = `#!/bin/sh
name=$(basename "$0")
say() { printf '%s' "$name"; for a in "$@"; do printf '\t%s' "$a"; done; printf '\n'; }
make() { [ ! -e "$STATE/$1" ] || { echo "already exists" >&2; exit 255; }; : >"$STATE/$1"; }
case "$name $1 $2 $3" in
"pveversion  "*) echo "pve-manager/$VERSION/abcdef012345 (running kernel: 6.8.12-9-pve)"; exit ;;
"pvesh get /access/roles/"*) [ -e "$STATE/role-${2##*/}" ] || exit 2; exit ;;
"pvesh get /access/users/"*/token/*) [ -e "$STATE/token-${2##*/}" ] || exit 2; exit ;;
"pvesh get /access/users/"*) [ -e "$STATE/user-${2##*/}" ] || exit 2; exit ;;
"proxmox-backup-manager user list ") ;;
"proxmox-backup-manager user list "*) for f in "$STATE"/user-*; do printf '[{"enable": true, "userid": "%s"}]' "${f##*/user-}"; done; exit ;;
"proxmox-backup-manager user list-tokens "*) for f in "$STATE"/token-*; do printf '[{"tokenid":"%s!%s"}]\n' "$3" "${f##*/token-}"; done; exit ;;
esac
say "$@" >>"$LOG"
case "$name $1 $2 $3" in
"pveum role add "*)
	make "role-$3"
	case "$VERSION $5" in 9*VM.Monitor* | 8*VM.GuestAgent*) echo "invalid privilege" >&2; exit 255 ;; esac ;;
"pveum role modify "*) [ -e "$STATE/role-$3" ] || exit 255 ;;
"pveum user add "* | "proxmox-backup-manager user create "*) make "user-$3" ;;
"pveum user token add")
	make "token-$5"
	echo '{"full-tokenid":"'"$4!$5"'","info":{"privsep":"1"},"value":"` + secret + `"}' ;;
"proxmox-backup-manager user generate-token "*)
	make "token-$4"
	printf 'Result: {\n  "tokenid": "%s!%s",\n  "value": "` + secret + `"\n}\n' "$3" "$4" ;;
esac
`

// machine is a directory with the stand-ins and their state.
type machine struct {
	dir string
	env []string
}

func newMachine(t *testing.T, env ...string) machine {
	t.Helper()
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "state", "secrets"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pveum", "pvesh", "pveversion", "proxmox-backup-manager"} {
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte(standIn), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return machine{dir: dir, env: append([]string{
		"PATH=" + filepath.Join(dir, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"STATE=" + filepath.Join(dir, "state"), "LOG=" + filepath.Join(dir, "log"),
		"TOKEN_FILE=" + filepath.Join(dir, "secrets", "pve.token"), "TOKEN_DIR=" + filepath.Join(dir, "secrets"), "TOKEN_OWNER=" + me.Username,
	}, env...)}
}

// run runs a script and returns what it said and the commands that changed
// something, each as its words.
func (m machine) run(t *testing.T, script string, env ...string) (string, [][]string, error) {
	t.Helper()
	log := filepath.Join(m.dir, "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", script)
	cmd.Env = append(slices.Clone(m.env), env...)
	out, err := cmd.CombinedOutput()
	b, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	var commands [][]string
	for line := range strings.Lines(string(b)) {
		commands = append(commands, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return string(out), commands, err
}

// rights are what commands grant: who → path → privilege → propagates.
func rights(t *testing.T, commands [][]string, roles map[string][]string) map[string]map[string]map[string]bool {
	t.Helper()
	out := map[string]map[string]map[string]bool{}
	for _, c := range commands {
		option := func(name string) string {
			if i := slices.Index(c, name); i > 0 && i+1 < len(c) {
				return c[i+1]
			}
			return ""
		}
		who, path, role := "", "", ""
		switch strings.Join(c[:3], " ") {
		case "pveum role add", "pveum role modify":
			roles[c[3]] = strings.Fields(option("--privs"))
			continue
		case "pveum acl modify":
			who, path, role = option("--users")+option("--tokens"), c[3], option("--roles")
		case "proxmox-backup-manager acl update":
			who, path, role = option("--auth-id"), c[3], c[4]
		default:
			continue
		}
		if len(roles[role]) == 0 {
			t.Errorf("%q: role %q is not known at this point", c, role)
		}
		if out[who] == nil {
			out[who] = map[string]map[string]bool{}
		}
		if out[who][path] == nil {
			out[who][path] = map[string]bool{}
		}
		for _, p := range roles[role] {
			out[who][path][p] = option("--propagate") != "0"
		}
	}
	return out
}

// pairs writes rights or grants as "PATH PRIVILEGE".
func pairs(have map[string]map[string]bool, need []privileges.Grant) []string {
	var out []string
	for path, all := range have {
		for p := range all {
			out = append(out, path+" "+p)
		}
	}
	for _, g := range need {
		out = append(out, g.Path+" "+g.Privilege)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func checkSecret(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%s: %q, %v, want %q", path, b, err, want)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %04o, want 0600", path, info.Mode().Perm())
	}
}

// TestPVE: user and token get exactly what the table says, and a second run
// changes nothing but to say the same again.
func TestPVE(t *testing.T) {
	const vars = "NODE=pve1 STORAGES=local-zfs|fast BACKUPS=pbs-quai|pbs-halle BRIDGES=vmbr9|vmbr1"
	env := func(more ...string) []string {
		out := strings.Fields(vars)
		for i := range out {
			out[i] = strings.ReplaceAll(out[i], "|", " ")
		}
		return append(out, more...)
	}
	paths := privileges.Paths{Node: "pve1", Storages: []string{"local-zfs", "fast"}, Backups: []string{"pbs-quai", "pbs-halle"}}
	whole, tagged, vnet := paths, paths, paths
	whole.Networks = []privileges.NIC{{Bridge: "vmbr9"}, {Bridge: "vmbr1"}}
	tagged.Networks = []privileges.NIC{{Bridge: "vmbr9", Tag: 120}, {Bridge: "vmbr9", Tag: 130}, {Bridge: "vmbr1", Tag: 120}, {Bridge: "vmbr1", Tag: 130}}
	vnet.Networks = []privileges.NIC{{Zone: "dr", Bridge: "vmbr9"}, {Zone: "dr", Bridge: "vmbr1"}}
	for _, c := range []struct {
		name, version string
		env           []string
		paths         privileges.Paths
	}{
		{"8.4", "8.4.1", env(), whole},
		{"8.4 tags", "8.4.16", env("TAGS=120 130"), tagged},
		{"9.0", "9.0.3", env("TAGS=120 130"), tagged},
		{"9.2", "9.2.11", env(), whole},
		{"9.2 vnet", "9.2.11", env("ZONE=dr"), vnet},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, append(c.env, "VERSION="+c.version)...)
			out, first, err := m.run(t, "setup-pve.sh")
			if err != nil {
				t.Fatalf("setup-pve.sh: %v\n%s", err, out)
			}
			release, err := privileges.ParseRelease(c.version)
			if err != nil {
				t.Fatal(err)
			}
			need := privileges.Needed(release, c.paths)
			got := rights(t, first, map[string][]string{})
			for _, who := range []string{"wwwd@pve", "wwwd@pve!agent"} {
				if missing := privileges.Missing(got[who], need); len(missing) > 0 {
					t.Errorf("%s lacks %+v", who, missing)
				}
				if d := cmp.Diff(pairs(nil, need), pairs(got[who], nil)); d != "" {
					t.Errorf("%s (-needed +granted):\n%s", who, d)
				}
				if got[who]["/"]["Sys.Audit"] {
					t.Errorf("%s: Sys.Audit on / propagates to everything", who)
				}
			}
			file := filepath.Join(m.dir, "secrets", "pve.token")
			checkSecret(t, file, "wwwd@pve!agent="+secret+"\n")
			if strings.Contains(out, secret) {
				t.Errorf("the secret was printed:\n%s", out)
			}
			out, second, err := m.run(t, "setup-pve.sh")
			if err != nil {
				t.Fatalf("second run: %v\n%s", err, out)
			}
			for _, command := range second {
				if words := strings.Join(command[:3], " "); words != "pveum role modify" && words != "pveum acl modify" {
					t.Errorf("second run: %q", command)
				}
			}
			checkSecret(t, file, "wwwd@pve!agent="+secret+"\n")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if out, _, err := m.run(t, "setup-pve.sh"); err == nil || !strings.Contains(out, "pveum user token delete") {
				t.Errorf("lost secret: %v, want a failure that tells what to do\n%s", err, out)
			}
		})
	}
}

func TestPVEChangesNothingWhenItCannot(t *testing.T) {
	good := []string{"NODE=n", "STORAGES=s", "BACKUPS=b", "BRIDGES=v"}
	for name, env := range map[string][]string{
		"dry run":     append(slices.Clone(good), "VERSION=9.2.1", "DRY_RUN=1"),
		"old release": append(slices.Clone(good), "VERSION=7.4.1"),
		"no version":  good,
		"no storages": {"NODE=n", "BACKUPS=b", "BRIDGES=v", "VERSION=9.2.1"},
		"no bridges":  {"NODE=n", "STORAGES=s", "BACKUPS=b", "VERSION=9.2.1"},
	} {
		m := newMachine(t, env...)
		out, commands, err := m.run(t, "setup-pve.sh")
		if len(commands) > 0 || (err == nil) != (name == "dry run") {
			t.Errorf("%s: %v and commands %q\n%s", name, err, commands, out)
		}
		if name == "dry run" && !strings.Contains(out, "+ pveum acl modify /vms --tokens wwwd@pve!agent --roles WWWGuests --propagate 1") {
			t.Errorf("dry run does not show the commands:\n%s", out)
		}
		if files, _ := os.ReadDir(filepath.Join(m.dir, "secrets")); len(files) > 0 {
			t.Errorf("%s: left %v", name, files)
		}
	}
	// The place for the secret is made sure of before there is one.
	m := newMachine(t, append(good, "VERSION=9.2.1")...)
	if out, commands, err := m.run(t, "setup-pve.sh", "TOKEN_FILE="+filepath.Join(m.dir, "no", "pve.token")); err == nil || slices.ContainsFunc(commands, func(c []string) bool { return slices.Contains(c, "token") }) {
		t.Errorf("no place for the secret: %v and commands %q\n%s", err, commands, out)
	}
}

func TestPBS(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   []string
		paths privileges.StorePaths
		pve   []string // paths of the token pve
		pull  []string
	}{
		{
			name:  "namespaces",
			env:   []string{"DATASTORE=backups", "NAMESPACES=quai a/b", "REMOTES=quai:src halle:src", "SHARED=moulin"},
			paths: privileges.StorePaths{Datastore: "backups", Namespaces: []string{"quai", "a/b"}, Remotes: []privileges.Remote{{Name: "quai", Datastore: "src"}, {Name: "halle", Datastore: "src"}}},
			pve:   []string{"/datastore/backups/a/b", "/datastore/backups/quai"}, pull: []string{"/datastore/backups/moulin"},
		},
		{
			name: "root namespace", env: []string{"DATASTORE=backups"}, paths: privileges.StorePaths{Datastore: "backups"},
			pve: []string{"/datastore/backups"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.env...)
			out, first, err := m.run(t, "setup-pbs.sh")
			if err != nil {
				t.Fatalf("setup-pbs.sh: %v\n%s", err, out)
			}
			got := rights(t, first, privileges.PBSRoles())
			for _, who := range []string{"wwwd@pbs", "wwwd@pbs!agent"} {
				if missing := privileges.Missing(got[who], privileges.NeededPBS(c.paths)); len(missing) > 0 {
					t.Errorf("%s lacks %+v", who, missing)
				}
			}
			for who, want := range map[string][]string{"wwwd@pbs!pve": c.pve, "wwwd@pbs!pull": c.pull} {
				var reader []string
				for _, p := range want {
					for _, privilege := range privileges.PBSRoles()["DatastoreReader"] {
						reader = append(reader, p+" "+privilege)
					}
				}
				slices.Sort(reader)
				if d := cmp.Diff(reader, pairs(got[who], nil)); d != "" {
					t.Errorf("%s (-want +granted):\n%s", who, d)
				}
			}
			for who, paths := range got {
				for path, all := range paths {
					for _, never := range []string{"Datastore.Modify", "Datastore.Prune", "Datastore.Allocate"} {
						if _, ok := all[never]; ok {
							t.Errorf("%s has %s on %s", who, never, path)
						}
					}
				}
			}
			checkSecret(t, filepath.Join(m.dir, "secrets", "pbs.token"), "wwwd@pbs!agent:"+secret+"\n")
			checkSecret(t, filepath.Join(m.dir, "secrets", "pbs-pve.token"), "wwwd@pbs!pve:"+secret+"\n")
			if strings.Contains(out, secret) {
				t.Errorf("the secret was printed:\n%s", out)
			}
			out, second, err := m.run(t, "setup-pbs.sh")
			if err != nil {
				t.Fatalf("second run: %v\n%s", err, out)
			}
			for _, command := range second {
				if strings.Join(command[:3], " ") != "proxmox-backup-manager acl update" {
					t.Errorf("second run: %q", command)
				}
			}
		})
	}
	m := newMachine(t, "DATASTORE=backups", "DRY_RUN=1")
	if out, commands, err := m.run(t, "setup-pbs.sh"); err != nil || len(commands) > 0 || !strings.Contains(out, "+ proxmox-backup-manager acl update /datastore/backups DatastoreBackup --auth-id wwwd@pbs!agent") {
		t.Errorf("dry run: %v and commands %q\n%s", err, commands, out)
	}
}

// TestShellcheck runs where shellcheck is installed.
func TestShellcheck(t *testing.T) {
	path, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), path, "setup-pve.sh", "setup-pbs.sh").CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}
