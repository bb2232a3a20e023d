package proxmox_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

const (
	testToken  = "wwwd@pve!agent"
	testSecret = "5ec2e700-1111-2222-3333-444455556666"
)

// clients makes both clients over one transport.
func clients(t testing.TB, rt http.RoundTripper) (*proxmox.PVE, *proxmox.PBS) {
	t.Helper()
	conf := proxmox.Config{URL: "https://127.0.0.1:8006", Node: "pve1", TokenID: testToken, Secret: proxmox.NewSecret(testSecret), Transport: rt}
	pve, err := proxmox.NewPVE(conf)
	if err != nil {
		t.Fatal(err)
	}
	conf.URL = "https://127.0.0.1:8007"
	pbs, err := proxmox.NewPBS(conf, "backups")
	if err != nil {
		t.Fatal(err)
	}
	return pve, pbs
}

// answer is a handler that always answers the same.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func pveAnswering(t testing.TB, status int, body string) *proxmox.PVE {
	t.Helper()
	pve, _ := clients(t, proxmoxtest.Handler(answer(status, body)))
	return pve
}

func data(body string) string { return `{"data":` + body + `}` }
