package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestPublicRootsThatCannotBeRead: without the authorities that the file should name nothing is judged,
// or every name would seem refused.
func TestPublicRootsThatCannotBeRead(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if roots := publicRoots(file, slog.New(slog.DiscardHandler)); roots != nil {
			t.Errorf("%s: certificates would be judged without the authorities that it was to hold", file)
		}
	}
}
