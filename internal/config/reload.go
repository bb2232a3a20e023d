package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// live are the keys that a running agent takes over. All others are wired once: a
// listener, a certificate, a client of Proxmox.
var live = []string{"log.level", "probe_fingerprints", "public_ca_file", "notify"}

// Take returns the configuration in which a running agent goes on once its file says
// next: the keys that it takes over at once, and those that wait for a restart.
func (c *Config) Take(next *Config) (taken *Config, now, later []string, err error) {
	was, err := c.flat()
	if err != nil {
		return nil, nil, nil, err
	}
	will, err := next.flat()
	if err != nil {
		return nil, nil, nil, err
	}
	all := maps.Clone(was)
	maps.Copy(all, will)
	for _, key := range network.SortedKeys(all) {
		switch {
		case was[key] == will[key]:
		case slices.Contains(live, key):
			now = append(now, key)
		default:
			later = append(later, key)
		}
	}
	out := *c
	out.Log.Level, out.ProbeFingerprints, out.PublicCAFile, out.Notify = next.Log.Level, next.ProbeFingerprints, next.PublicCAFile, next.Notify
	return &out, now, later, nil
}

// flat is the configuration as text by key, sections one level deep.
func (c *Config) flat() (map[string]string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("compare configurations: %w", err)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(b, &top); err != nil {
		return nil, fmt.Errorf("compare configurations: %w", err)
	}
	out := map[string]string{}
	for key, raw := range top {
		var section map[string]json.RawMessage
		if slices.Contains(live, key) || !strings.HasPrefix(string(raw), "{") || json.Unmarshal(raw, &section) != nil {
			out[key] = string(raw)
			continue
		}
		for sub, value := range section {
			out[key+"."+sub] = string(value)
		}
	}
	return out, nil
}
