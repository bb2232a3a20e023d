package agent

import (
	"context"

	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

func (r *doctorRound) readHA(ctx context.Context) error {
	sids, err := r.PVE.HAResources(ctx)
	if err == nil {
		r.facts.HA = sids
	}
	return err
}

func (r *doctorRound) readBridges(ctx context.Context) error {
	list, err := r.PVE.Bridges(ctx)
	if err != nil {
		return err
	}
	r.facts.Bridges = map[string]doctor.Bridge{}
	for _, b := range list {
		r.facts.Bridges[b.Name] = doctor.Bridge{
			Active: b.Active, VLANAware: b.VLANAware, VNet: b.VNet, Ports: b.Ports, Addresses: b.Addresses, VIDs: b.VIDs,
		}
	}
	return nil
}

func (r *doctorRound) readProcessor(ctx context.Context) error {
	n, err := r.PVE.NodeStatus(ctx)
	r.facts.Hardware.CPU, r.facts.Hardware.Flags = n.CPUModel, n.CPUFlags
	return err
}

func (r *doctorRound) readMachines(ctx context.Context) error {
	machines, err := r.PVE.Machines(ctx)
	r.facts.Hardware.Machines = machines
	return err
}

func (r *doctorRound) readModels(ctx context.Context) error {
	models, err := r.PVE.CPUModels(ctx)
	if err != nil {
		return err
	}
	r.facts.Hardware.Models = map[string]string{}
	for _, m := range models {
		r.facts.Hardware.Models[m.Name] = m.Vendor
	}
	return nil
}

// readJobs learns the sync jobs. Which remotes the token needs rights on is
// known only then.
func (r *doctorRound) readJobs(ctx context.Context) error {
	jobs, err := r.PBS.SyncJobs(ctx)
	if err != nil {
		return err
	}
	r.facts.Store.JobsRead = true
	for _, j := range jobs {
		r.facts.Jobs = append(r.facts.Jobs, doctor.SyncJob{
			ID: j.ID, Remote: j.Remote, RemoteStore: j.RemoteStore, RemoteNS: j.RemoteNS, NS: j.NS, Pull: j.Direction == "pull",
			LastState: j.LastState, LastEnd: j.LastEnd, RemoveVanished: j.RemoveVanished, VerifiedOnly: j.VerifiedOnly,
			TransferLast: j.TransferLast, MaxDepth: j.MaxDepth, GroupFilter: j.GroupFilter, Scheduled: j.Schedule != "" || j.OnMount,
		})
	}
	return nil
}

func (r *doctorRound) readPrunes(ctx context.Context) error {
	jobs, err := r.PBS.PruneJobs(ctx)
	if err != nil {
		return err
	}
	r.facts.Store.PrunesRead = true
	for _, j := range jobs {
		r.facts.Prunes = append(r.facts.Prunes, doctor.PruneJob{ID: j.ID, NS: j.NS, MaxDepth: j.MaxDepth, Keep: doctor.Keep(j.Keep), Disabled: j.Disabled})
	}
	return nil
}

func (r *doctorRound) readBackupJobs(ctx context.Context) error {
	jobs, err := r.PVE.BackupJobs(ctx)
	for _, j := range jobs {
		r.facts.BackupJobs = append(r.facts.BackupJobs, doctor.BackupJob(j))
	}
	return err
}

// readStoreVersion learns the release of the PBS and plans one question per ACL
// path there; it comes after the storage entries and the jobs, which name them.
func (r *doctorRound) readStoreVersion(ctx context.Context) error {
	v, err := r.PBS.Version(ctx)
	if err != nil {
		r.unusable("pbs "+r.facts.Store.Datastore, err)
		return nil
	}
	r.facts.Store.Release = v.Version
	r.facts.Store.Permissions = map[string]map[string]bool{}
	for _, path := range doctor.GrantPaths(doctor.StoreGrants(r.host, r.facts)) {
		r.plan(doctor.Privileges, func(ctx context.Context) error {
			have, err := r.PBS.Permissions(ctx, path)
			if err == nil {
				r.facts.Store.Permissions[path] = have[path] // left out: no right on it
			}
			return err
		})
	}
	return nil
}

// planOthers plans to list the guests of the site's other PVEs.
func (r *doctorRound) planOthers() {
	for _, o := range r.Others {
		r.facts.Others = append(r.facts.Others, doctor.OtherPVE{Host: o.Host})
	}
	for i, o := range r.Others {
		facts := &r.facts.Others[i]
		if o.Err != nil {
			facts.Access = clip(o.Err.Error())
			continue
		}
		r.plan(doctor.Guests, func(ctx context.Context) error {
			have, err := o.PVE.Permissions(ctx, "/vms")
			if err != nil {
				facts.Access = clip(err.Error()) // told with its host; not a failure of this site's own
				return nil
			}
			if facts.Blind = !have.Has("/vms", "VM.Audit"); facts.Blind {
				return nil
			}
			facts.Residents = map[doctor.Kind][]doctor.Resident{}
			for _, kind := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
				r.plan(doctor.Guests, func(ctx context.Context) error {
					list, err := o.PVE.Guests(ctx, kind)
					if err != nil {
						facts.Access = clip(err.Error())
						return nil
					}
					facts.Residents[doctor.Kind(kind)] = residents(kind, list)
					return nil
				})
			}
			return nil
		})
	}
}

// planRouter plans to read what the site's router answers its members by itself.
func (d *Doctor) planRouter(r *doctorRound) {
	if d.Router == nil {
		return
	}
	router := d.Router()
	if router == nil {
		return
	}
	r.plan(doctor.DNS, func(ctx context.Context) error {
		r.facts.Router = &doctor.RouterNames{}
		list, err := router.StaticNames(ctx)
		if err != nil {
			r.facts.Router.Why = clip(err.Error()) // told with its own remedy; not a failure of this site's Proxmox
		}
		for _, e := range list {
			r.facts.Router.Entries = append(r.facts.Router.Entries, doctor.RouterName(e))
		}
		return nil
	})
}

func residents(kind proxmox.Kind, list []proxmox.Guest) []doctor.Resident {
	rows := make([]doctor.Resident, 0, len(list))
	for _, g := range list {
		rows = append(rows, doctor.Resident{Kind: doctor.Kind(kind), ID: g.ID, Name: g.Name, Template: g.Template})
	}
	return rows
}
