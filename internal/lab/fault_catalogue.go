package lab

import (
	"slices"
	"time"
)

// Effect names what a fault does to the requests that it matches.
type Effect string

// The effects. Those marked "before" change the fake before the request is served, which then meets the
// changed world; the change lasts until Heal. Those marked "PVE" pass by a PBS, which has no such part.
const (
	EffectDelay           Effect = "delay"            // serve, answer Delay later
	EffectHang            Effect = "hang"             // do nothing and never answer
	EffectStatus          Effect = "status"           // do nothing, answer Status with reason Text
	EffectDropReply       Effect = "drop-reply"       // serve, lose the answer
	EffectTwice           Effect = "twice"            // serve twice, answer what the second gave
	EffectCrashHost       Effect = "crash-host"       // serve, then the host loses power; no answer
	EffectFillStorage     Effect = "fill-storage"     // before: the storage named Text has no room left
	EffectLoseSnapshot    Effect = "lose-snapshot"    // before: snapshot Text ("ns:vm/100/TIME"; "" = newest) is gone
	EffectCorruptSnapshot Effect = "corrupt-snapshot" // before: same, a chunk of it is bad
	EffectWrongKey        Effect = "wrong-key"        // before: storage entry Text ("" = every PBS entry) holds another key
	EffectRevokeToken     Effect = "revoke-token"     // before: token Text ("" = the caller's) is refused
	EffectHTML            Effect = "html"             // do nothing, answer 200 with an HTML page
	EffectTruncate        Effect = "truncate"         // serve, answer the first half of the body
	EffectLoseKey         Effect = "lose-key"         // before, PVE: the key file of entry Text ("" = every one) is missing
	EffectSkewClock       Effect = "skew-clock"       // before: the host's clock goes wrong by Delay, which may be negative
	EffectStallHost       Effect = "stall-host"       // before: the host takes requests and answers none
	EffectRevokePrivilege Effect = "revoke-privilege" // before: the caller's token loses the privilege Text on every path
	EffectOfflineStorage  Effect = "offline-storage"  // before, PVE: the storage named Text is not online
	EffectHoldLock        Effect = "hold-lock"        // before, PVE: guest Text ("100") or "storage:ID" is locked for Delay
	EffectLoseQuorum      Effect = "lose-quorum"      // before, PVE: its corosync cluster, if it is in one, has no majority
	EffectBackendDown     Effect = "backend-down"     // PVE: pvedaemon is down: 595 for what needs it, nothing is done
	EffectProxyCut        Effect = "proxy-cut"        // PVE: serve; the proxy gives up on the backend after 30 s: 596
	EffectBackendClosed   Effect = "backend-closed"   // PVE: do nothing; the backend closed the connection: 599
	EffectKillTask        Effect = "kill-task"        // before, PVE: every running restore dies as by kill -9: lock and disks stay
)

// EffectInfo describes one effect. Example is a well-formed fault of it that hits one request; on a fake
// that has what its Text names, the example does what the effect is for.
type EffectInfo struct {
	Effect  Effect
	What    string // one line for people
	Fields  string // the fields of Fault that it reads beside Where, Match and Times
	PVEOnly bool
	Example Fault
}

// Catalogue returns every effect, in a fixed order: for tables of tests, for the simulator and for the
// help of wwwlab.
func Catalogue() []EffectInfo { return slices.Clone(catalogue) }

// catalogue is not changed after it is made.
var catalogue = newCatalogue()

func newCatalogue() []EffectInfo {
	all := []EffectInfo{
		{EffectDelay, "serve, answer later", "delay", false, Fault{Delay: 8 * time.Second}},
		{EffectHang, "do nothing and never answer", "", false, Fault{}},
		{EffectStatus, "do nothing, answer a status", "status, text = reason", false, Fault{Status: 500, Text: "got timeout"}},
		{EffectDropReply, "serve, lose the answer", "", false, Fault{}},
		{EffectTwice, "serve twice, answer what the second gave", "", false, Fault{}},
		{EffectCrashHost, "serve, then the host loses power; matched to a poll it hits in mid-task", "", false, Fault{}},
		{EffectFillStorage, "a storage has no room left", "text = storage", false, Fault{}},
		{EffectLoseSnapshot, "a snapshot is gone", "text = [NS:]GROUP[/TIME], empty: the newest", false, Fault{}},
		{EffectCorruptSnapshot, "a chunk of a snapshot is bad", "text = [NS:]GROUP[/TIME], empty: the newest", false, Fault{}},
		{EffectWrongKey, "a PBS entry holds another key", "text = entry, empty: all", false, Fault{}},
		{EffectRevokeToken, "a token is refused", "text = token, empty: the caller's", false, Fault{}},
		{EffectHTML, "do nothing, answer an HTML page", "", false, Fault{}},
		{EffectTruncate, "serve, answer half of the body", "", false, Fault{}},
		{EffectLoseKey, "the key file of a PBS entry is missing", "text = entry, empty: all", true, Fault{}},
		{EffectSkewClock, "the host's clock goes wrong", "delay, may be negative", false, Fault{Delay: -10 * time.Minute}},
		{EffectStallHost, "the host takes requests and answers none", "", false, Fault{}},
		{EffectRevokePrivilege, "the caller's token loses a privilege everywhere", "text = privilege", false, Fault{Text: "VM.PowerMgmt"}},
		{EffectOfflineStorage, "a storage is not online", "text = storage, empty: all but PBS", true, Fault{}},
		{EffectHoldLock, "the lock file of a guest, or of a storage, is held", "text = ID or storage:NAME, delay", true, Fault{Text: "100", Delay: 20 * time.Second}},
		{EffectLoseQuorum, "the host's corosync cluster has no majority", "", true, Fault{}},
		{EffectBackendDown, "pvedaemon is down: 595", "", true, Fault{}},
		{EffectProxyCut, "serve; the proxy gives up after 30 s: 596", "", true, Fault{}},
		{EffectBackendClosed, "do nothing; the backend closed the connection: 599", "", true, Fault{}},
		{EffectKillTask, "running restores die as by kill -9", "", true, Fault{}},
	}
	for i := range all {
		all[i].Example.Effect, all[i].Example.Times = all[i].Effect, 1
	}
	return all
}

// info returns the catalogue's entry.
func (e Effect) info() (EffectInfo, bool) {
	i := slices.IndexFunc(catalogue, func(x EffectInfo) bool { return x.Effect == e })
	if i < 0 {
		return EffectInfo{}, false
	}
	return catalogue[i], true
}

// Effects returns the names of the catalogue's effects.
func Effects() []Effect {
	var out []Effect
	for _, x := range catalogue {
		out = append(out, x.Effect)
	}
	return out
}

// changesWorld tells whether an effect acts on the fake before the request.
func (e Effect) changesWorld() bool {
	switch e {
	case EffectFillStorage, EffectLoseSnapshot, EffectCorruptSnapshot, EffectWrongKey, EffectRevokeToken, EffectLoseKey,
		EffectSkewClock, EffectStallHost, EffectRevokePrivilege, EffectOfflineStorage, EffectHoldLock, EffectLoseQuorum, EffectKillTask:
		return true
	}
	return false
}
