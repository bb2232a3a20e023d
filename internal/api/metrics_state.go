package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// descriptors names every metric (ux.md 4.3), by its name without the prefix.
func descriptors() map[string]*prometheus.Desc {
	d := map[string]*prometheus.Desc{}
	add := func(name, help string, labels ...string) {
		d[name] = prometheus.NewDesc("wwwd_"+name, help, labels, nil)
	}
	add("build_info", "Build of the agent.", "version", "revision", "goversion")
	add("config_info", "Hash of the declared network in force.", "hash")
	add("state_age_seconds", "Time since a leader was heard by this agent.")
	add("raft_state", "Role of this agent in Raft, 1 for the current one.", "state")
	add("raft_has_leader", "1 when a leader was heard within the lease.")
	add("raft_term", "Current Raft term.")
	add("raft_commit_index", "Newest committed log entry known here.")
	add("raft_applied_index", "Newest log entry applied here.")
	add("raft_leader_changes_total", "Changes of leader seen.")
	add("raft_peers", "Members of the Raft configuration.", "suffrage")
	add("raft_quorum_margin", "Voters present beyond the majority; 0 is the edge.")
	add("site_info", "Description of a site.", "site", "kind", "role")
	add("site_state", "Decided state of a site, 1 for the current one.", "site", "state")
	add("site_observers", "Agents that can judge the site.", "site")
	add("site_observers_up", "Agents that see something of the site alive.", "site")
	add("exposed_port_unexpected", "1 for a port that is open to the internet, as an agent elsewhere found, and not declared.", "site", "address", "port")
	add("guest_info", "Description of a guest.", "guest", "vmid", "type", "structure", "home", "priority")
	add("guest_state", "Phase of a guest, 1 for the current one.", "guest", "state")
	add("guest_location", "1 at the site that owns the guest.", "guest", "site")
	add("guest_left_copy_running", "Whether the copy that the guest has left, after a move, runs beside the one that serves.", "guest", "site")
	add("guest_away_since_timestamp_seconds", "Since when the guest is owned by another site than its home; 0 when it is not.", "guest")
	add("guest_backup_last_timestamp_seconds", "Newest usable restore point of a guest at a site.", "guest", "site", "offsite")
	add("guest_backup_replicas", "Sites other than the guest's home with a usable restore point.", "guest")
	add("guest_backup_encrypted", "1 when the newest usable restore point of a guest at a site is encrypted.", "guest", "site")
	add("guest_backup_verify_ok", "1 when the newest restore point of a guest at a site passed its verification, 0 when that found it corrupt; none before one.", "guest", "site")
	add("guest_key_available", "1 when a site holds the key of the newest backups of a guest there, 0 when it has none or another one.", "guest", "site")
	add("guest_restore_size_bytes", "Size of the newest usable restore point of a guest at another site than its owner.", "guest")
	add("guest_restore_estimate_seconds", "How long a site would restore that of its own, at the rate that was measured there.", "guest", "site")
	add("certificate_not_after_timestamp_seconds", "Last moment of the certificate that is shown for a public name, as other sites see it; 0 for one that browsers refuse.", "name", "site")
	add("warm_copy_timestamp_seconds", "Restore point of the warm copy of a guest that stands ready at a site.", "guest", "site")
	add("warm_behind", "1 with the reason why a warm guest has no copy that is as new as it could be.", "guest", "reason")
	add("warm_restored_bytes_total", "Bytes that a site has restored for warm copies.", "site")
	add("warm_wasted_bytes_total", "Of those, provisioned bytes of copies that were removed without having been used.", "site")
	add("prepared_wasted_bytes_total", "Bytes that a site has restored for operations that were given up before ownership moved.", "site")
	add("guest_rpo_objective_seconds", "Declared greatest loss (max_loss) of a guest that has one.", "guest")
	add("guest_service_up", "1 when the guest's declared check passes, asked from inside its site, or all its public names answer the agent of another site.", "guest", "from")
	add("guest_ready", "1 when the guest could be failed over now.", "guest")
	add("guest_not_ready", "1 with the reason why the guest could not be failed over now.", "guest", "reason")
	add("operation_in_progress", "1 while an operation runs.", "kind", "site")
	add("operation_last_progress_timestamp_seconds", "Last step of a running operation; 0 when none runs.", "kind", "site")
	add("operations_total", "Ended operations by result: ok, partial, failed, cancelled.", "kind", "site", "result")
	add("operation_duration_seconds", "From the beginning to the end of ended operations.", "kind")
	add("operation_step_duration_seconds", "From the first beginning to the end of each step that was done.", "kind", "step")
	add("automation_armed", "1 when automatic failover is armed, 0 when it is paused.")
	add("pause_expires_timestamp_seconds", "End of the pause of all sites; 0 when there is none, +Inf when it ends by hand.")
	add("failover_blocked", "1 with the reason why something lost is not failed over.", "site", "reason")
	add("maintenance_expires_timestamp_seconds", "End of the maintenance of a site, its own or of one of its hosts; 0 when there is none.", "site")
	add("observer_excluded", "1 while an operator does not let the site's agent count as an observer.", "site")
	add("dns_in_sync", "1 when the server answers as decided.", "zone", "server")
	add("dns_record_ttl_seconds", "TTL of a name that follows a guest.", "zone", "name")
	add("dns_last_change_timestamp_seconds", "When the decided content of a zone last changed.", "zone")
	add("dns_held_names", "Names that a person holds and that no failover moves.")
	add("plan_recoverable_guests", "Guests that would be brought back if the site died now.", "site")
	add("plan_unrecoverable_guests", "Guests that should be brought back and could not if the site died now.", "site")
	add("plan_capacity_shortfall_bytes", "What the guests lack together that would find no room if the site died now.", "site", "resource")
	add("plan_estimated_rto_seconds", "From the loss of the site until the last guest of a structure is restored and taken over, by the declared delays and the measured rates; none without a measured rate.", "site", "structure")
	add("plan_last_evaluation_timestamp_seconds", "When the plans were last evaluated.")
	return d
}

func siteStates() []string {
	return []string{"up", "degraded", "suspect", "lost", "locked", "isolated", "maintenance", "unknown"}
}

func guestStates() []string {
	var out []string
	for _, p := range []failover.Phase{
		failover.PhaseHome, failover.PhasePreparing, failover.PhaseStaged, failover.PhaseStarting, failover.PhaseAway,
		failover.PhaseDiverged, failover.PhaseUnprotected, failover.PhaseStuck, failover.PhaseExcluded,
	} {
		out = append(out, string(p))
	}
	return out
}

func (v scrape) sites() {
	for _, row := range v.st.Sites {
		site, role := string(row.Site), "nonvoter"
		if row.Voter {
			role = "voter"
		}
		v.gauge("site_info", 1, site, row.Kind, role)
		v.oneOf("site_state", row.State, siteStates(), site)
		v.gauge("site_observers", float64(row.Observers), site)
		v.gauge("site_observers_up", float64(row.SeenBy), site)
		v.gauge("maintenance_expires_timestamp_seconds", v.restEnd(row.Site), site)
		_, excluded := v.s.Excluded[row.Site]
		v.gauge("observer_excluded", truth(excluded), site)
	}
	for _, e := range v.s.Exposed() {
		v.gauge("exposed_port_unexpected", 1, string(e.Site), e.Address.Addr().String(), strconv.Itoa(int(e.Address.Port())))
	}
	type held struct{ site, reason string }
	seen := map[held]bool{}
	for _, h := range v.st.Held {
		if key := (held{v.siteOf(h.Domain), message.Word(h.Reason.Code)}); blocks(h.Reason.Code) && !seen[key] {
			seen[key] = true
			v.gauge("failover_blocked", 1, key.site, key.reason)
		}
	}
}

// restEnd is when the last maintenance at a site ends.
func (v scrape) restEnd(id failover.SiteID) float64 {
	end := 0.0
	for _, r := range v.st.Resting {
		if v.s.SiteOfDomain(r.Domain) == id {
			end = max(end, unixSeconds(r.Until))
		}
	}
	return end
}

// blocks says whether a reason holds a failover back that would otherwise
// happen; the others say that there is nothing to fail over.
func blocks(code string) bool {
	return code != failover.CodeNothing && slices.Contains(failover.HoldCodes(), code)
}

func (v scrape) siteOf(d failover.DomainID) string {
	if host, ok := strings.CutPrefix(string(d), "host:"); ok {
		return string(v.s.Network.SiteOf(failover.HostID(host)))
	}
	return strings.TrimPrefix(string(d), "site:")
}

func (v scrape) guests(views []failover.GuestView) {
	for _, g := range views {
		name := string(g.Guest)
		v.gauge("guest_info", 1, name, strconv.Itoa(g.ID), g.Type, string(g.Structure), string(g.Home), strconv.Itoa(g.Priority))
		v.oneOf("guest_state", string(g.Phase), guestStates(), name)
		if g.At != "" {
			v.gauge("guest_location", 1, name, string(g.At))
		}
		away := 0.0
		if g.At != g.Home {
			away = unixSeconds(g.Since)
		}
		v.gauge("guest_away_since_timestamp_seconds", away, name)
		if b := v.s.Guests[g.Guest].Branch; b != nil {
			v.gauge("guest_left_copy_running", truth(!b.Since.IsZero()), name, string(b.Site))
		}
		v.copies(name, g)
		v.points(g)
		if limit := v.s.Network.Guests[g.Guest].MaxLoss.D(); limit > 0 {
			v.gauge("guest_rpo_objective_seconds", limit.Seconds(), name)
		}
		if g.Phase == failover.PhaseExcluded {
			continue // declared to stay: neither ready nor a reason to worry
		}
		v.gauge("guest_ready", truth(g.Ready), name)
		if !g.Ready {
			v.gauge("guest_not_ready", 1, name, message.Word(g.NotReady.Code))
		}
	}
}

// services tells what the agents of the sites see of the guests beside them, and what those of
// other sites see of their names.
func (v scrape) services() {
	seen := map[string]bool{}
	for _, site := range v.s.Network.SiteIDs() {
		for _, o := range v.s.Reports[site].Report.Observations {
			guest, ok := strings.CutPrefix(o.Target, "guest:")
			if ok && o.Path == failover.PathGuest && o.Seen != failover.SeenUnknown && !seen[guest] {
				seen[guest] = true
				v.gauge("guest_service_up", truth(o.Seen == failover.SeenUp), guest, "inside")
			}
		}
		v.names(site)
	}
}

// names tells of the guests of which an agent has asked every public name where they are served.
func (v scrape) names(observer failover.SiteID) {
	type at struct {
		site failover.SiteID
		name string
	}
	seen := map[at]failover.Seen{}
	report := v.s.Reports[observer]
	if v.now.Sub(report.Stamp.At) > failover.PresenceAge {
		return // what an agent saw that tells nothing any more
	}
	for _, o := range report.Report.Observations {
		if name, ok := strings.CutPrefix(o.Target, "name:"); ok && o.Path == failover.PathPublic && o.Seen != failover.SeenUnknown {
			seen[at{o.Site, name}] = o.Seen
		}
	}
	for _, g := range v.s.Network.GuestIDs() {
		names, serving := v.s.Network.Guests[g].Names, v.s.Guests[g].Serving
		asked, up := 0, true
		for _, name := range names {
			if answer, ok := seen[at{serving, name}]; ok {
				asked++
				up = up && answer == failover.SeenUp
			}
		}
		if asked > 0 && asked == len(names) {
			v.gauge("guest_service_up", truth(up), string(g), string(observer))
		}
	}
}

// warm tells what is kept ready, and what that costs.
func (v scrape) warm(views []failover.GuestView) {
	for _, g := range views {
		for _, c := range g.Warm {
			if c.State == failover.WarmReady {
				v.gauge("warm_copy_timestamp_seconds", unixSeconds(c.Time), string(g.Guest), string(c.Site))
				break
			}
		}
		if !g.WarmWhy.IsZero() {
			v.gauge("warm_behind", 1, string(g.Guest), message.Word(g.WarmWhy.Code))
		}
	}
	for site, spent := range v.s.WarmSpent {
		v.counter("warm_restored_bytes_total", float64(spent.Total), string(site))
		v.counter("warm_wasted_bytes_total", float64(spent.Waste), string(site))
	}
	for site, bytes := range v.s.Wasted {
		v.counter("prepared_wasted_bytes_total", float64(bytes), string(site))
	}
}

func (v scrape) copies(name string, g failover.GuestView) {
	newest := map[failover.SiteID]time.Time{}
	replicas := 0
	for _, c := range g.Copies {
		if c.Unusable != "" || !c.Time.After(newest[c.Site]) {
			continue
		}
		if newest[c.Site].IsZero() && c.Site != g.Home {
			replicas++
		}
		newest[c.Site] = c.Time
	}
	for site, at := range newest {
		v.gauge("guest_backup_last_timestamp_seconds", unixSeconds(at), name, string(site), strconv.FormatBool(site != g.Home))
	}
	v.gauge("guest_backup_replicas", float64(replicas), name)
}

// opKey is one series of the running operations.
type opKey struct {
	kind failover.OpKind
	site failover.SiteID
}

func (v scrape) operations(ended map[endedKey]float64) {
	running := map[opKey]time.Time{}
	// Zero rather than nothing: an alert on an increase needs the first value.
	for _, id := range v.s.Network.SiteIDs() {
		for _, kind := range []failover.OpKind{failover.KindFailover, failover.KindRescue, failover.KindSwitchover, failover.KindFailback} {
			running[opKey{kind, id}] = time.Time{}
			for _, result := range []string{"ok", "partial", "failed", "cancelled"} {
				ended[endedKey{kind, id, result}] += 0
			}
		}
	}
	for _, op := range v.s.Ops {
		key := opKey{op.Kind, op.Plan.Loss.Site}
		if last := lastProgress(op); !op.Phase.Ended() && last.After(running[key]) {
			running[key] = last
		}
	}
	for key, last := range running {
		v.gauge("operation_in_progress", truth(!last.IsZero()), string(key.kind), string(key.site))
		v.gauge("operation_last_progress_timestamp_seconds", unixSeconds(last), string(key.kind), string(key.site))
	}
	for key, n := range ended {
		v.counter("operations_total", n, string(key.kind), string(key.site), key.result)
	}
}

// lastProgress is the newest stamp that the operation or one of its steps bears.
func lastProgress(op failover.Operation) time.Time {
	last := op.Begun.At
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	later(op.Committed.At)
	for _, run := range op.Guests {
		for _, step := range run.Steps {
			later(step.Begun.At)
			later(step.Moved.At)
			later(step.Ended.At)
		}
	}
	return last
}
