package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disks are file systems of their own, small, for the state of every agent.
type disks struct{ mounted map[string]string } // by site: where

const (
	diskSize = "size=48m"
	filler   = "filler" // the file that fills a disk
)

// mount gives a site's agent a disk of its own, with what is in its directory.
func (d *disks) mount(site, dir string) error {
	kept := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make disk of %s: %w", site, err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("make disk of %s: %w", site, err)
		}
		kept[e.Name()] = b
	}
	if err := unix.Mount("chaos", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, diskSize+",mode=0700"); err != nil {
		return fmt.Errorf("make disk of %s: mount: %w", site, err)
	}
	d.mounted[site] = dir
	for name, b := range kept {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return fmt.Errorf("make disk of %s: %w", site, err)
		}
	}
	return nil
}

// fill leaves no room on a site's disk; drain gives it back.
func (d *disks) fill(site string) error {
	f, err := os.OpenFile(filepath.Join(d.mounted[site], filler), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill disk of %s: %w", site, err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096} {
		for err == nil {
			_, err = f.Write(bytes.Repeat([]byte{'x'}, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill disk of %s: %w", site, err)
		}
		err = nil
	}
	return nil
}

func (d *disks) drain(site string) error {
	if err := os.Remove(filepath.Join(d.mounted[site], filler)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drain disk of %s: %w", site, err)
	}
	return nil
}

// close keeps what is on the disks and removes them.
func (d *disks) close() error {
	var errs []error
	for site, dir := range d.mounted {
		errs = append(errs, d.drain(site), unix.Unmount(dir, unix.MNT_DETACH))
		delete(d.mounted, site)
	}
	return errors.Join(errs...)
}

// sweepDisks removes the disks below a directory that a killed run has left.
func sweepDisks(below string) error {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("look for old disks: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "chaos" && f[2] == "tmpfs" && strings.HasPrefix(f[1], below+"/") {
			errs = append(errs, unix.Unmount(f[1], unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}
