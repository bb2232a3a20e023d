package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// controlSocket is where the supervisor of a directory is asked.
func controlSocket(dir string) string { return filepath.Join(dir, "wwwlab.sock") }

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
