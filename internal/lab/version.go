package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The versions that the fakes play by default, and the oldest that they play. What differs between them
// is in reference/proxmox.md section 12: operations and parameters by Param.Since, the names of
// privileges, the texts of a 401, what a task checks and what an answer holds.
const (
	PVE9 = "9.2.1"
	PVE8 = "8.4.1"
	PBS4 = "4.2.0"
	PBS3 = "3.4.1"
)

// version is a parsed release number.
type version struct{ major, minor int }

func parseVersion(text string) (version, error) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return version{}, fmt.Errorf("version %q: want MAJOR.MINOR or MAJOR.MINOR.PATCH", text)
	}
	var n [3]int
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || v > 1000 {
			return version{}, fmt.Errorf("version %q: %q is not a number", text, p)
		}
		n[i] = v
	}
	return version{n[0], n[1]}, nil
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || (v.major == major && v.minor >= minor)
}

// fullVersion reads the version that a configuration declares: "" is the newest, "9.2" gets a patch
// number, and only the releases between the oldest and the newest played ones are taken.
func fullVersion(product, text, oldest, newest string) (string, version, error) {
	if text == "" {
		text = newest
	}
	v, err := parseVersion(text)
	if err != nil {
		return "", version{}, fmt.Errorf("%s %w", product, err)
	}
	low, errLow := parseVersion(oldest)
	high, errHigh := parseVersion(newest)
	if errLow != nil || errHigh != nil || !v.atLeast(low.major, low.minor) || v.major > high.major {
		return "", version{}, fmt.Errorf("%s version %s is not played: want %d.%d to %d.x", product, text, low.major, low.minor, high.major)
	}
	if strings.Count(text, ".") == 1 {
		text += ".1"
	}
	return text, v, nil
}

// CheckVersions returns what is wrong with the versions that fakes are to play; "" is the newest.
func CheckVersions(pve, pbs string) error {
	if _, _, err := fullVersion("Proxmox VE", pve, PVE8, PVE9); err != nil {
		return err
	}
	_, _, err := fullVersion("Proxmox Backup Server", pbs, PBS3, PBS4)
	return err
}

// gate leaves out the operations and parameters that are newer than a version.
func gate[T any](routes []route[T], v version) []route[T] {
	newer := func(since string) bool {
		s, err := parseVersion(since)
		return since != "" && err == nil && !v.atLeast(s.major, s.minor)
	}
	routes = slices.DeleteFunc(routes, func(r route[T]) bool { return newer(r.Since) })
	for i := range routes {
		routes[i].Params = slices.DeleteFunc(routes[i].Params, func(p Param) bool { return newer(p.Since) })
	}
	return routes
}
