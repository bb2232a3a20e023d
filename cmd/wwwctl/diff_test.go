package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// twoFiles is a browser that found two files, and a directory that it could not read.
type twoFiles struct{ stopped string }

func (twoFiles) Use(_ context.Context, _ failover.GuestID, of api.CopyUse) api.CopyUse { return of }

func (b twoFiles) Diff(_ context.Context, pair failover.FilePair, _ api.DiffRequest) (failover.FileDiff, error) {
	const root = "/drive-scsi0.img.fidx/part/1"
	at := time.Date(2026, 11, 22, 9, 1, 0, 0, time.UTC)
	return failover.FileDiff{
		Changes: []failover.FileChange{
			{Path: root + "/srv/devis.ods", Kind: failover.FileOnlySealed, Sealed: failover.FileState{Size: 48 << 10, MTime: at}},
			{Path: root + "/srv/membres.ods", Kind: failover.FileDiffers, Sealed: failover.FileState{Size: 7, MTime: at}, Running: failover.FileState{Size: 9, MTime: at.Add(time.Hour)}},
		},
		Unread: []failover.UnreadDir{{Path: "/drive-scsi1.img.fidx", Volid: pair.Sealed.Volid, Why: "unknown filesystem"}}, Dirs: 12, Stopped: b.stopped,
	}, nil
}

// TestFailbackDiff: which backups were compared, what differs, what was not read, and where a file is fetched.
func TestFailbackDiff(t *testing.T) {
	b := backHome(t, failover.KeepHome)
	at := func(stopped string) string {
		return listen(t, api.NewHandler(api.Options{Backend: b, Browser: twoFiles{stopped}, Log: slog.New(slog.DiscardHandler)}))
	}
	r := wwwctl(t.Context(), at(""), "failback diff nuage")
	for _, want := range []string{
		"sealed only", "/srv/devis.ods", "48 KiB", "both", "membres.ods", "not read: /drive-scsi1.img.fidx", "unknown filesystem",
		"2 differences in 12 folders compared. What could not be read was not compared.", "File Restore", "pbs-sealed-moulin",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the screen lacks %q:\n%s%s", want, r.out, r.errOut)
		}
	}
	narrow := wwwctl(t.Context(), at(""), "failback diff nuage", screen(48, 24)).out
	whole(t, "narrow", narrow, "  /drive-scsi0.img.fidx/part/1/srv/devis.ods", "  /drive-scsi0.img.fidx/part/1/srv/membres.ods")
	if !strings.Contains(narrow, "    sealed only, sealed 48 KiB of 2026-11-22") {
		t.Errorf("48 columns:\n%s", narrow)
	}
	if r = wwwctl(t.Context(), at("40s are over"), "failback diff nuage --path /x"); !strings.Contains(r.out, "Not all: 40s are over") || !strings.Contains(r.out, "--path") {
		t.Errorf("cut off:\n%s%s", r.out, r.errOut)
	}
	for line, code := range map[string]int{"failback diff nuage --copy x": exitUsage, "failback diff nobody": exitRefused, "failback diff nuage --copy x/1": exitRefused} {
		if r := wwwctl(t.Context(), at(""), line); r.code != code {
			t.Errorf("%s: code %d, want %d\n%s", line, r.code, code, r.errOut)
		}
	}
}
