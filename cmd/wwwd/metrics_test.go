package main

import (
	"testing"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// The metrics tell a corrupt backup by the word that the client of Proxmox gives it.
func TestCorruptBackupsAreToldByTheirWord(t *testing.T) {
	if got := proxmox.ReasonVerifyFailed.String(); got != api.VerifyFailed {
		t.Errorf("a corrupt backup is %q, metrics look for %q", got, api.VerifyFailed)
	}
}
