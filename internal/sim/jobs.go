package sim

import (
	"strings"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// What the simulator has of sync jobs that somebody has configured badly at one site: those that
// bring the later lines of other sites' guests. wwwctl doctor finds them; nobody has asked it.

// BadJobs are the jobs of one store for later lines, and what is wrong with them.
type BadJobs struct {
	At  network.SiteID
	How string
}

// What may be wrong with a store's jobs.
const (
	JobsMissing  = "missing"  // there are none for sealed branches
	JobsVanish   = "vanish"   // remove-vanished: what one source does not have goes, whoever has it
	JobsLast     = "last"     // transfer-last 1
	JobsVerified = "verified" // verified-only: what its own site has not read yet does not come
)

// drawJobs has them badly configured at one of the sites that can take guests.
func drawJobs(r interface{ IntN(int) int }) BadJobs {
	return BadJobs{
		At:  []network.SiteID{"moulin", "fabrique", "quai"}[r.IntN(3)],
		How: []string{JobsMissing, JobsVanish, JobsLast, JobsVerified}[r.IntN(4)],
	}
}

// job is a store's job as it is configured there; false: there is none.
func (b BadJobs) job(at network.SiteID, j lab.SyncJob) (lab.SyncJob, bool) {
	if b.At != at {
		return j, true
	}
	switch b.How {
	case JobsMissing:
		return j, !strings.HasPrefix(j.NS, "sealed/")
	case JobsVanish:
		j.RemoveVanished = true
	case JobsLast:
		j.TransferLast = 1
	case JobsVerified:
		j.VerifiedOnly = true
	}
	return j, true
}
