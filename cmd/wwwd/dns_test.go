package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/internal/config"
)

func TestKeysAreReadFromTheirFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "updates.tsig")
	const secret = "c2VjcmV0LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := &config.Config{TSIG: map[string]config.TSIGKey{"www-updates": {Algorithm: "hmac-sha512", SecretFile: file}}}
	keys, err := readKeys(conf)
	want := dnsctl.Key{Name: "www-updates.", Algorithm: "hmac-sha512", Secret: secret}
	if err != nil || keys["www-updates"] != want {
		t.Errorf("got %v, %v", keys, err)
	}
	d := &daemon{conf: &config.Config{Site: "quai"}, sign: map[string]dnsctl.Exchanger{"www-updates": dnsctl.NetExchanger{}}}
	if _, err := d.signer("www-updates."); err != nil {
		t.Errorf("a key with its final dot: %v", err)
	}
	if _, err := d.signer("other"); err == nil || !strings.Contains(err.Error(), `"other" is not in the wwwd.yaml of quai`) {
		t.Errorf("a key that this site does not have: %v", err)
	}
	conf.TSIG["gone"] = config.TSIGKey{SecretFile: filepath.Join(dir, "gone")}
	if _, err := readKeys(conf); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a missing file: %v", err)
	}
}
