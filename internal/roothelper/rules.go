package roothelper

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// Rules say for whom and on which guests the helper acts.
type Rules struct {
	UID uint32            // the only user who may ask
	IDs []network.IDRange // the only guests
}

// Covers says whether id is in one of the ranges.
func (r Rules) Covers(id int) bool {
	return slices.ContainsFunc(r.IDs, func(x network.IDRange) bool { return x.Contains(id) })
}

// rulesFile is the YAML of helper.yaml.
type rulesFile struct {
	User string            `json:"user,omitempty"` // default: wwwd
	IDs  []network.IDRange `json:"ids"`
}

const maxRules = 64 << 10 // bytes

// ReadRules reads the rules file. The file is what limits a helper that runs
// as root, so it is refused unless it and its directory belong to uid owner
// and nobody else can write to either: who may write to the directory could
// put another file in its place.
func ReadRules(path string, owner int) (Rules, error) {
	b, err := readOwned(path, owner)
	if err != nil {
		return Rules{}, fmt.Errorf("read rules: %w", err)
	}
	var f rulesFile
	if problems := netyaml.Decode(path, b, &f); network.HasErrors(problems) {
		return Rules{}, fmt.Errorf("read rules: %s", strings.TrimSpace(netyaml.Format(problems)))
	}
	if len(f.IDs) == 0 {
		return Rules{}, fmt.Errorf("read rules: %s names no ids: want a list such as [90000-90999]", path)
	}
	name := cmp.Or(f.User, DefaultUser)
	u, err := user.Lookup(name)
	if err != nil {
		return Rules{}, fmt.Errorf("read rules: %s: user %q: %w", path, name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return Rules{}, fmt.Errorf("read rules: %s: user %q: %w", path, name, err)
	}
	return Rules{UID: uint32(uid), IDs: f.IDs}, nil
}

// readOwned reads a file after checking who could have written it. The checks
// are made on the opened file: its name may mean another one a moment later.
func readOwned(path string, owner int) ([]byte, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := onlyWriter(filepath.Dir(path), dir, owner); err != nil {
		return nil, err
	}
	// Not through a symbolic link, and without waiting for a writer of a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case info.Size() > maxRules:
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxRules)
	}
	if err := onlyWriter(path, info, owner); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxRules))
}

func onlyWriter(name string, info os.FileInfo, owner int) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return errors.New(name + ": owner unknown on this system")
	case int64(st.Uid) != int64(owner):
		return fmt.Errorf("%s belongs to uid %d, want %d: chown it", name, st.Uid, owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s has mode %04o, others may write to it: chmod go-w it", name, info.Mode().Perm())
	}
	return nil
}
