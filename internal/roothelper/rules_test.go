package roothelper_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// ownDir is a directory that nobody else can write to, whatever the umask.
func ownDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadRules(t *testing.T) {
	good := fmt.Sprintf("user: %s\nids: [90000-90999, 95000-95000]\n", me(t))
	uid := os.Getuid()
	for _, c := range []struct {
		name   string
		text   string
		mode   os.FileMode // default: 0644
		dir    os.FileMode // default: 0755
		owner  int         // difference to the true owner
		change func(path string) error
		want   string // part of the error; "" for none
	}{
		{name: "good"},
		{name: "readable by root only", mode: 0o600},
		{name: "group may write", mode: 0o664, want: "mode 0664, others may write"},
		{name: "world may write", mode: 0o646, want: "mode 0646, others may write"},
		{name: "directory of a group", dir: 0o775, want: "mode 0775, others may write"},
		{name: "directory of everybody", dir: 0o777, want: "mode 0777, others may write"},
		{name: "another owner", owner: 1, want: fmt.Sprintf("belongs to uid %d, want %d", uid, uid+1)},
		{name: "no file", change: os.Remove, want: "no such file"},
		{name: "symbolic link", change: func(p string) error {
			return errorsFirst(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		}, want: "too many levels of symbolic links"},
		{name: "pipe", change: func(p string) error { return errorsFirst(os.Remove(p), syscall.Mkfifo(p, 0o600)) }, want: "not a regular file"},
		{name: "directory", change: func(p string) error { return errorsFirst(os.Remove(p), os.Mkdir(p, 0o755)) }, want: "not a regular file"},
		{name: "too large", text: good + strings.Repeat("#", 64<<10), want: "larger than"},
		{name: "empty", text: "#\n", want: "helper.yaml"},
		{name: "no ids", text: "user: root\n", want: "names no ids"},
		{name: "empty ids", text: "ids: []\n", want: "names no ids"},
		{name: "one number", text: "ids: [90000]\n", want: "1:7"},
		{name: "range upside down", text: "ids: [90999-90000]\n", want: "write FIRST-LAST"},
		{name: "system's ids", text: "ids: [0-99]\n", want: "write FIRST-LAST"},
		{name: "unknown key", text: good + "verbs: [destroy]\n", want: "verbs"},
		{name: "unknown user", text: "user: no-such-user\nids: [90000-90999]\n", want: `user "no-such-user"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(ownDir(t), "helper.yaml")
			text, mode, dir := good, os.FileMode(0o644), os.FileMode(0o755)
			if c.text != "" {
				text = c.text
			}
			if c.mode != 0 {
				mode = c.mode
			}
			if c.dir != 0 {
				dir = c.dir
			}
			// WriteFile's mode goes through the umask.
			if err := errorsFirst(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode), os.Chmod(filepath.Dir(path), dir)); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				if err := c.change(path); err != nil {
					t.Fatal(err)
				}
			}
			got, err := roothelper.ReadRules(path, uid+c.owner)
			switch {
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %+v, %v, want an error with %q", got, err, c.want)
			case c.want == "" && (err != nil || got.UID != uint32(uid)):
				t.Errorf("got %+v, %v, want uid %d", got, err, uid)
			case c.want == "":
				for id, want := range map[int]bool{89999: false, 90000: true, 90999: true, 91000: false, 94999: false, 95000: true, 95001: false} {
					if got.Covers(id) != want {
						t.Errorf("Covers(%d) = %v, want %v", id, !want, want)
					}
				}
			}
		})
	}
}

// TestExample: the example is good but for its user, whom this machine may not have.
func TestExample(t *testing.T) {
	b, err := os.ReadFile("../../deploy/examples/helper.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(ownDir(t), "helper.yaml")
	text := strings.Replace(string(b), "# user: wwwd ", "user: "+me(t), 1)
	if text == string(b) {
		t.Fatal("the example does not show the default user")
	}
	if err := errorsFirst(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if r, err := roothelper.ReadRules(path, os.Getuid()); err != nil || !r.Covers(90000) || r.Covers(100) {
		t.Errorf("got %+v, %v, want 90000 covered and 100 not", r, err)
	}
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
