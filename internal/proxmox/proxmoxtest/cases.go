package proxmoxtest

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Case is one call of a client with every parameter that it can send. Answer is the "data" of a success.
type Case struct {
	Name   string
	Write  bool   // whether doing it twice differs from doing it once
	Null   bool   // whether null is the answer of a success
	Answer string // JSON
	Run    func(ctx context.Context, pve *proxmox.PVE, pbs *proxmox.PBS) error
}

const (
	pveTask  = "UPID:pve1:0000C0DE:0001E240:65A0B1C2:qmrestore:9001:wwwd@pve!agent:"
	pbsTask  = "UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verificationjob:backups-vm-100:wwwd@pbs!agent:"
	vmVolid  = "pbs-quai:backup/vm/100/2026-03-01T02:00:00Z"
	ctVolid  = "pbs-quai:backup/ct/101/2026-03-01T02:00:00Z"
	vmConfig = "boot: order=scsi0\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120\nscsi0: local-zfs:vm-100-disk-0,size=32G\n#qmdump#map:scsi0:drive-scsi0:local-zfs:raw:\n"
)

func upid() (proxmox.UPID, error) { return proxmox.ParseUPID(pveTask) }

func snapshot() proxmox.Snapshot {
	return proxmox.Snapshot{NS: "moulin", Kind: proxmox.VM, ID: 100, Time: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)}
}

// RestoreVM is a restore of a VM with every parameter.
func RestoreVM() proxmox.RestoreRequest {
	return proxmox.RestoreRequest{
		Kind: proxmox.VM, VMID: 9001, Volid: vmVolid, Storage: "local-zfs", Pool: "dr", Name: "nextcloud",
		Description: proxmox.Marker{Network: "assos", Guest: "nextcloud", Op: "12", Token: 18204, Role: "away"}.Line(),
		Tags:        []string{"www", "www-op-12"}, Nets: map[string]string{"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr9,tag=120"},
		Extra: map[string]string{"memory": "4096", "cores": "2"},
	}
}

// RestoreCT is a restore of a container with every parameter.
func RestoreCT() proxmox.RestoreRequest {
	r := RestoreVM()
	r.Kind, r.Volid, r.VMID = proxmox.CT, ctVolid, 9002
	r.Nets = map[string]string{"net0": "name=eth0,hwaddr=BC:24:11:00:00:02,bridge=vmbr9,tag=120,ip=dhcp,type=veth"}
	return r
}

// Calls gives every call of both clients once with full parameters, for the coverage of a contract test.
func Calls() []func(ctx context.Context, pve *proxmox.PVE, pbs *proxmox.PBS) {
	var all []func(context.Context, *proxmox.PVE, *proxmox.PBS)
	for _, c := range Cases() {
		all = append(all, func(ctx context.Context, pve *proxmox.PVE, pbs *proxmox.PBS) { _ = c.Run(ctx, pve, pbs) })
	}
	return all
}

// Cases gives every call of both clients with names, answers and errors.
func Cases() []Case {
	return slices.Concat(readCases(), guestCases(), restoreCases(), taskCases(), pbsCases())
}

type (
	ctxt = context.Context
	pveC = *proxmox.PVE
	pbsC = *proxmox.PBS
)

// last drops the value of a call.
func last[T any](_ T, err error) error { return err }

func readCases() []Case {
	return []Case{
		{Name: "Version", Answer: `{"version":"9.2.1","release":"9.2","repoid":"abc"}`, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Version(c)) }},
		{
			Name:   "NodeStatus",
			Answer: `{"memory":{"total":33554432,"used":"1024","free":33553408},"cpuinfo":{"cpus":8,"model":"Intel(R) Xeon(R)","flags":"fpu avx"},"loadavg":["0.10","0.20","0.30"],"uptime":3600,"pveversion":"pve-manager/9.2.1/x"}`,
			Run:    func(c ctxt, p pveC, _ pbsC) error { return last(p.NodeStatus(c)) },
		},
		{
			Name:   "Storages",
			Answer: `[{"storage":"pbs-quai","type":"pbs","server":"127.0.0.1","datastore":"backups","namespace":"moulin","content":"backup","encryption-key":"aa:bb:cc:dd:ee:ff:00:11","prune-backups":"keep-all=1"},{"storage":"local","type":"dir","content":"iso,backup","disable":1,"nodes":"pve1,pve2","prune-backups":"keep-daily=7,keep-last=3"}]`,
			Run:    func(c ctxt, p pveC, _ pbsC) error { return last(p.Storages(c)) },
		},
		{
			Name:   "StorageStatus",
			Answer: `{"type":"zfspool","content":"images,rootdir","active":1,"enabled":1,"shared":0,"total":100,"used":40,"avail":60}`,
			Run:    func(c ctxt, p pveC, _ pbsC) error { return last(p.StorageStatus(c, "local-zfs")) },
		},
		{
			Name:   "Backups",
			Answer: `[{"volid":"` + vmVolid + `","content":"backup","format":"pbs-vm","subtype":"qemu","vmid":100,"ctime":1772330400,"size":34359738368,"encrypted":"aa:bb","verification":{"state":"ok","upid":"x"},"protected":1,"notes":"nextcloud"}]`,
			Run:    func(c ctxt, p pveC, _ pbsC) error { return last(p.Backups(c, "pbs-quai", 100)) },
		},
		{
			Name: "ExtractConfig", Answer: quoted(vmConfig),
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.ExtractConfig(c, vmVolid)) },
		},
		{
			Name: "Files", Answer: `[{"filepath":"L3Jvb3QucHhhci5kaWR4L2V0Yw==","leaf":0,"text":"etc","type":"d","mtime":1772330400}]`,
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Files(c, vmVolid, "/root.pxar.didx")) },
		},
		{Name: "Permissions", Answer: `{"/vms/100":{"VM.Allocate":1,"VM.Audit":0}}`, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Permissions(c, "/vms/100")) }},
		{
			Name:   "Bridges",
			Answer: `[{"iface":"vmbr0","type":"bridge","active":1,"bridge_ports":"eno1","bridge_vlan_aware":1,"bridge_vids":"2-4094","cidr":"10.9.0.2/24"},{"iface":"vmbr1","type":"bridge","bridge_ports":""}]`,
			Run:    func(c ctxt, p pveC, _ pbsC) error { return last(p.Bridges(c)) },
		},
		{
			Name: "Machines", Answer: `[{"id":"pc-i440fx-10.1","type":"i440fx","version":"10.1"},{"id":"pc-q35-10.1+pve1","type":"q35","version":"10.1+pve1","changes":"x"}]`,
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Machines(c)) },
		},
		{
			Name: "CPUModels", Answer: `[{"name":"x86-64-v2-AES","vendor":"default","custom":0},{"name":"EPYC","vendor":"AuthenticAMD","custom":0}]`,
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.CPUModels(c)) },
		},
		{
			Name: "BackupJobs", Answer: `[{"id":"backup-1","enabled":1,"storage":"pbs-quai","node":"pve1","all":1,"schedule":"21:00","prune-backups":{"keep-last":"3","keep-weekly":0}},{"id":"backup-2","enabled":0,"dumpdir":"/srv"}]`,
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.BackupJobs(c)) },
		},
		{Name: "HAResources", Answer: `[{"sid":"vm:100"},{"sid":"ct:101"}]`, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.HAResources(c)) }},
	}
}

func guestCases() []Case {
	var all []Case
	for _, k := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
		verb := map[proxmox.Kind]string{proxmox.VM: "qm", proxmox.CT: "vz"}[k]
		task := func(name string) string {
			return `"UPID:pve1:0000C0DE:0001E240:65A0B1C2:` + verb + name + `:9001:wwwd@pve!agent:"`
		}
		addresses := `{"result":[{"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1"}]},{"name":"eth0","ip-addresses":[{"ip-address":"10.9.0.5","prefix":24},{"ip-address":"fe80::1"}]}]}`
		if k == proxmox.CT {
			addresses = `[{"name":"lo","hwaddr":"00:00:00:00:00:00","inet":"127.0.0.1/8"},{"name":"eth0","hwaddr":"bc:24:11:00:00:02","inet":"10.9.0.5/24","inet6":"fe80::1/64"}]`
		}
		all = append(
			all,
			Case{
				Name: "Guests " + string(k), Answer: `[{"vmid":"100","name":"a","status":"running","tags":"a;b","template":"","maxmem":1,"maxdisk":2,"uptime":3,"lock":"backup"},{"vmid":9001,"status":"stopped","template":1}]`,
				Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Guests(c, k)) },
			},
			Case{
				Name: "GuestConfig " + string(k), Answer: `{"digest":"d1","memory":"4096","cores":2,"onboot":0,"tags":"www;www-op-12","description":"x\n"}`,
				Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.GuestConfig(c, k, 9001)) },
			},
			Case{
				Name: "GuestStatus " + string(k), Answer: `{"status":"running","name":"a","vmid":9001,"uptime":12,"qmpstatus":"running","lock":"backup","ha":{"managed":0},"tags":"www"}`,
				Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.GuestStatus(c, k, 9001)) },
			},
			Case{
				Name: "GuestUse " + string(k), Answer: `[{"time":1772323200,"diskwrite":10,"netin":2.5,"netout":1},{"time":1772323260}]`,
				Run: func(c ctxt, p pveC, _ pbsC) error {
					return last(p.GuestUse(c, k, 9001, time.Unix(1772323200, 0), time.Unix(1772323500, 0)))
				},
			},
			Case{
				Name: "SetConfig " + string(k), Write: true, Null: true, Answer: `null`,
				Run: func(c ctxt, p pveC, _ pbsC) error {
					return p.SetConfig(c, k, 9001, map[string]string{"onboot": "0", "tags": "www", "protection": "1"}, []string{"net1"}, "da39a3ee5e6b4b0d3255bfef95601890afd80709")
				},
			},
			Case{Name: "Interfaces " + string(k), Answer: addresses, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Interfaces(c, k, 9001)) }},
			Case{Name: "Start " + string(k), Write: true, Answer: task("start"), Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Start(c, k, 9001)) }},
			Case{Name: "Shutdown " + string(k), Write: true, Answer: task("shutdown"), Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Shutdown(c, k, 9001, 3*time.Minute)) }},
			Case{Name: "Dump " + string(k), Write: true, Answer: `"UPID:pve1:0000C0DE:0001E240:65A0B1C2:vzdump:9001:www@pve!agent:"`, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Dump(c, k, 9001, "pbs-quai")) }},
			Case{Name: "Stop " + string(k), Write: true, Answer: task("stop"), Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Stop(c, k, 9001)) }},
			Case{Name: "Destroy " + string(k), Write: true, Answer: task("destroy"), Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Destroy(c, k, 9001)) }},
		)
	}
	return append(all, Case{Name: "AgentPing", Answer: `{"result":{}}`, Run: func(c ctxt, p pveC, _ pbsC) error { return p.AgentPing(c, 9001) }})
}

func restoreCases() []Case {
	answer := `"` + pveTask + `"`
	return []Case{
		{Name: "Restore vm", Write: true, Answer: answer, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Restore(c, RestoreVM())) }},
		{Name: "Restore ct", Write: true, Answer: answer, Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Restore(c, RestoreCT())) }},
	}
}

func taskCases() []Case {
	withTask := func(f func(c ctxt, p pveC, u proxmox.UPID) error) func(ctxt, pveC, pbsC) error {
		return func(c ctxt, p pveC, _ pbsC) error {
			u, err := upid()
			if err != nil {
				return err
			}
			return f(c, p, u)
		}
	}
	filter := proxmox.TaskFilter{Source: proxmox.ActiveTasks, VMID: 9001, Type: "qmrestore", Since: time.Unix(1772330400, 0), Limit: 100}
	return []Case{
		{
			Name: "Task", Answer: `{"upid":"` + pveTask + `","status":"stopped","exitstatus":"WARNINGS: 1","type":"qmrestore","id":"9001","starttime":1705030082}`,
			Run: withTask(func(c ctxt, p pveC, u proxmox.UPID) error { return last(p.Task(c, u)) }),
		},
		{
			Name: "TaskLog", Answer: `[{"n":1,"t":"progress 1% (read 4194304 bytes, zeroes = 0% (0 bytes), duration 0 sec)"},{"n":2,"t":"TASK OK"}]`,
			Run: withTask(func(c ctxt, p pveC, u proxmox.UPID) error { return last(p.TaskLog(c, u, 500, 200)) }),
		},
		{
			Name: "Tasks", Answer: `[{"upid":"` + pveTask + `","status":"RUNNING","type":"qmrestore","id":"9001","user":"wwwd@pve!agent","starttime":1705030082}]`,
			Run: func(c ctxt, p pveC, _ pbsC) error { return last(p.Tasks(c, filter)) },
		},
		{
			Name: "CancelTask", Write: true, Null: true, Answer: `null`,
			Run: withTask(func(c ctxt, p pveC, u proxmox.UPID) error { return p.CancelTask(c, u) }),
		},
	}
}

func pbsCases() []Case {
	return []Case{
		{Name: "PBS Version", Answer: `{"version":"4.2.0","release":"1","repoid":"abc"}`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Version(c)) }},
		{Name: "PBS Permissions", Answer: `{"/datastore/backups":{"Datastore.Audit":true,"Datastore.Backup":false}}`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Permissions(c, "/datastore/backups")) }},
		{Name: "PBS Status", Answer: `{"total":100,"used":40,"avail":60}`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Status(c)) }},
		{Name: "PBS Namespaces", Answer: `[{"ns":""},{"ns":"moulin"}]`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Namespaces(c)) }},
		{
			Name:   "PBS Snapshots",
			Answer: `[{"backup-type":"vm","backup-id":"100","backup-time":1772330400,"size":100,"fingerprint":"aa:bb","files":[{"filename":"index.json.blob","size":1,"crypt-mode":"none"}],"protected":false,"verification":{"state":"ok","upid":"` + pbsTask + `"},"comment":"x","owner":"a@pbs"}]`,
			Run:    func(c ctxt, _ pveC, b pbsC) error { return last(b.Snapshots(c, "moulin", proxmox.VM, 100)) },
		},
		{Name: "PBS Protect", Write: true, Null: true, Answer: `null`, Run: func(c ctxt, _ pveC, b pbsC) error { return b.Protect(c, snapshot()) }},
		{Name: "PBS Unprotect", Write: true, Null: true, Answer: `null`, Run: func(c ctxt, _ pveC, b pbsC) error { return b.Unprotect(c, snapshot()) }},
		{Name: "PBS Verify", Write: true, Answer: `"` + pbsTask + `"`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Verify(c, snapshot())) }},
		{
			Name: "PBS Task", Answer: `{"upid":"` + pbsTask + `","status":"stopped","exitstatus":"OK","endtime":1705030099}`,
			Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.Task(c, pbsTask)) },
		},
		{Name: "PBS RunSync", Write: true, Null: true, Answer: `"` + pbsTask + `"`, Run: func(c ctxt, _ pveC, b pbsC) error { return last(b.RunSync(c, "pull-moulin")) }},
		{
			Name:   "PBS SyncJobs",
			Answer: `[{"id":"pull-moulin","store":"backups","ns":"moulin","remote":"moulin","remote-store":"backups","schedule":"*:0/15","last-run-state":"OK","last-run-endtime":1772330400,"last-run-upid":"x","next-run":1772331300,"remove-vanished":false}]`,
			Run:    func(c ctxt, _ pveC, b pbsC) error { return last(b.SyncJobs(c)) },
		},
		{
			Name:   "PBS PruneJobs",
			Answer: `[{"id":"all","store":"backups","schedule":"daily","keep-daily":7,"keep-last":3},{"id":"later","store":"backups","ns":"away","max-depth":0,"disable":true,"schedule":"daily"}]`,
			Run:    func(c ctxt, _ pveC, b pbsC) error { return last(b.PruneJobs(c)) },
		},
	}
}

// quoted encodes s as JSON. A string always can be.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
