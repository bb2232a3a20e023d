package lab_test

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// exercisePVE makes a request to every operation of the fake PVE.
func exercisePVE(w *world) {
	w.backup(100)
	w.backup(101)
	n := "/nodes/" + node
	get := func(path string, args ...string) { w.call("GET", path, pairs(args...)) }
	for _, p := range []string{
		"/version", "/cluster/status", "/cluster/resources", "/cluster/nextid", "/cluster/backup", "/cluster/ha/resources", "/nodes", n + "/status", n + "/network",
		"/access/permissions", "/storage", "/storage/pbs-local", n + "/storage", n + "/storage/pbs-local/status", n + "/storage/local-zfs/status",
		n + "/storage/pbs-local/content", n + "/storage/local-zfs/content", n + "/qemu", n + "/lxc", n + "/qemu/100/config", n + "/lxc/101/config",
		n + "/qemu/100/status/current", n + "/lxc/101/status/current",
	} {
		get(p)
	}
	if w.serves("/nodes/{node}/storage/{storage}/identity") {
		get(n + "/storage/pbs-local/identity")
	}
	get("/cluster/nextid", "vmid", "555")
	get("/access/permissions", "path", "/vms/100")
	vol := url.PathEscape(w.newest(100))
	get(n + "/storage/pbs-local/content/" + vol)
	w.call("PUT", n+"/storage/pbs-local/content/"+vol, pairs("notes", "hello", "protected", "1"))
	get(n+"/storage/pbs-local/content", "content", "backup", "vmid", "100")
	w.call("PUT", n+"/storage/pbs-local/content/"+vol, pairs("protected", "0"))
	get(n+"/vzdump/extractconfig", "volume", w.newest(100))
	get(n+"/storage/pbs-local/file-restore/list", "volume", w.newest(100), "filepath", "/")

	w.ok("POST", n+"/qemu", pairs("vmid", "900", "archive", w.newest(100), "storage", "local-zfs", "onboot", "0", "net0",
		"virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120", "tags", "www", "description", "by hand"))
	w.ok("POST", n+"/lxc", pairs("vmid", "901", "ostemplate", w.newest(101), "restore", "1", "storage", "local-zfs", "onboot", "0"))
	w.call("PUT", n+"/qemu/900/config", pairs("name", "other", "delete", "tags"))
	w.ok("POST", n+"/qemu/900/config", pairs("tags", "b;a"))
	w.call("PUT", n+"/lxc/901/config", pairs("hostname", "other"))
	w.ok("POST", n+"/qemu/900/status/start", nil)
	w.ok("POST", n+"/lxc/901/status/start", nil)
	w.advance(5 * time.Second)
	get(n + "/qemu/900/status/current")
	get(n+"/qemu/900/rrddata", "timeframe", "hour", "cf", "AVERAGE")
	get(n+"/lxc/901/rrddata", "timeframe", "day")
	w.call("POST", n+"/qemu/900/agent/ping", nil)
	get(n + "/qemu/900/agent/network-get-interfaces")
	get(n + "/lxc/901/interfaces")
	get("/cluster/resources", "type", "vm")
	w.ok("POST", n+"/qemu/900/status/shutdown", pairs("timeout", "30"))
	w.ok("POST", n+"/lxc/901/status/shutdown", nil)
	w.ok("POST", n+"/qemu/100/status/start", nil)
	w.ok("POST", n+"/lxc/101/status/start", nil)
	w.ok("POST", n+"/qemu/100/status/stop", nil)
	w.ok("POST", n+"/lxc/101/status/stop", nil)
	w.ok("POST", n+"/vzdump", pairs("vmid", "100", "storage", "pbs-local", "mode", "snapshot", "notes-template", "{{guestname}}"))
	upid := w.ok("DELETE", n+"/qemu/900", pairs("purge", "1", "destroy-unreferenced-disks", "1"))
	w.ok("DELETE", n+"/lxc/901", pairs("purge", "1"))
	get(n+"/tasks", "source", "all", "limit", "100")
	get(n + "/tasks/" + url.PathEscape(upid) + "/log")
	w.call("DELETE", n+"/tasks/"+url.PathEscape(upid), nil)
	w.ok("DELETE", n+"/storage/pbs-local/content/"+vol, nil)
}

// serves tells whether the fake PVE's release has a path.
func (w *world) serves(path string) bool {
	return slices.ContainsFunc(w.pve.Routes(), func(r lab.RouteInfo) bool { return r.Path == path })
}

// exercisePBS makes a request to every operation of the fake PBS.
func exercisePBS(w *world) {
	w.backup(100)
	snap := w.pbs.Snapshots("moulin")[0]
	one := pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "backup-time", fmt.Sprint(snap.Time))
	store := "/admin/datastore/backups"
	with := func(extra ...string) url.Values {
		v := pairs(extra...)
		for k, x := range one {
			v[k] = x
		}
		return v
	}
	w.pbsCall("GET", "/ping", nil)
	w.pbsCall("GET", "/version", nil)
	w.pbsCall("GET", "/admin/datastore", nil)
	w.pbsCall("GET", store+"/status", nil)
	w.pbsCall("GET", store+"/namespace", pairs("max-depth", "3"))
	w.pbsCall("GET", store+"/groups", pairs("ns", "moulin"))
	w.pbsCall("GET", store+"/protected", one)
	w.pbsCall("PUT", store+"/protected", with("protected", "false"))
	w.pbsCall("PUT", store+"/notes", with("notes", "seen"))
	w.pbsCall("GET", store+"/notes", one)
	upid, ok := w.pbsCall("POST", store+"/verify", with("ignore-verified", "false")).(string)
	if !ok {
		w.t.Fatal("verify gave no UPID")
	}
	w.advance(5 * time.Second)
	w.pbsCall("GET", store+"/snapshots", pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100"))
	w.pbsCall("POST", "/admin/sync/pull-quai/run", nil)
	w.advance(5 * time.Second)
	w.pbsCall("GET", "/admin/sync", pairs("store", "backups", "sync-direction", "all"))
	w.pbsCall("GET", "/nodes/localhost/tasks", pairs("limit", "10"))
	w.pbsCall("GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/status", nil)
	w.pbsCall("GET", "/nodes/localhost/tasks/"+url.PathEscape(upid)+"/log", nil)
	w.pbsCall("GET", "/access/permissions", pairs("path", "/datastore/backups"))
	w.pbsCall("GET", store+"/gc", nil)
	w.pbsCall("POST", store+"/gc", nil)
	w.pbsCall("POST", "/admin/verify/all/run", nil)
	w.pbsCall("POST", "/admin/prune/old/run", nil)
	w.pbsCall("POST", store+"/prune", pairs("ns", "moulin", "backup-type", "vm", "backup-id", "100", "keep-last", "3"))
	w.pbsCall("POST", store+"/prune-datastore", pairs("ns", "moulin", "keep-last", "3"))
	w.advance(5 * time.Second)
	for _, list := range []string{"/admin/gc", "/admin/verify", "/admin/prune", store + "/gc"} {
		w.pbsCall("GET", list, nil)
	}
	w.pbsCall("DELETE", store+"/snapshots", one)
}
