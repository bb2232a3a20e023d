#!/bin/sh
# Plays docs/install.md: packages of two neighbouring releases, three machines with systemd, a
# Prometheus. The release that is installed is the newest tag's, or while there is none that of
# the commit in deploy/deb/base: another program, built from what its source was then. The next
# one is this checkout, told that the log has got a newer version.
# Needs root, debootstrap, systemd-nspawn, prometheus. WWW_DEBIAN=DIR: a bookworm made before.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
old=$(git describe --tags --abbrev=0 2>/dev/null) || old=$(grep -v '^#' deploy/deb/base)
git merge-base --is-ancestor "$old" HEAD || {
  echo "install-test: $old, to upgrade from, is not in the history here: git fetch --tags --unshallow" >&2
  exit 1
}
mkdir "$work/old"
git archive "$old" | tar -x -C "$work/old"
make -s -C "$work/old" deb VERSION="$(git describe --tags --exact-match "$old" 2>/dev/null || echo "at-$(git rev-parse --short "$old")")" >/dev/null
deb=$(ls "$work"/old/dist/www-agent_*.deb)
echo "install-test: from $old to this checkout"
CGO_ENABLED=0 go build -trimpath -tags wwwnext -ldflags '-X main.version=99.0.0' -o "$work/bin/" ./cmd/wwwd ./cmd/wwwctl
next=$PWD/$(BIN=$work/bin deploy/deb/build.sh 99.0.0)
mv "$next" "$work/" && next=$work/$(basename "$next")
WWW_DEB=$deb WWW_DEB_NEXT=$next go test ./internal/lab/packaged -run TestInstallGuide -count=1 -v -timeout 900s
echo "install-test: ok"
