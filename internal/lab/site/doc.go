// Package site runs one site of a lab as a process of its own: the
// passive fakes of internal/lab behind real sockets, with real time.
//
//	lab.go       what the lab is made of, as lab.json keeps it
//	layout.go    the lab of N sites        network.go   its network.yaml
//	process.go   one site's process        hosts.go     its PVE and PBS hosts
//	guests.go    guests as web servers     entry.go     its public entry and router
//	leases.go    the guests' addresses     store.go     backups and sync jobs
//	control.go   its control socket        certs.go     certificates
//	files.go     a lab's directory         agentfile.go wwwd.yaml of an agent
//	effects.go   what was asked of a PVE   plug.go      the plug of a structure's host
//	router.go    the router's REST API, and the port of that host
//
// A site listens on its backend addresses only; what others dial are the
// forwarders of internal/lab/fabric, which a supervisor holds. A site that is
// started again finds its disks as a power cut left them.
package site
