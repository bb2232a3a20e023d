#!/bin/sh
# Plays docs/install.md: packages of two neighbouring releases, three machines with systemd, a
# Prometheus. The release that is installed is the newest tag's, or this checkout's while there
# is none; the next one is this checkout, told that the log has got a newer version.
# Needs root, debootstrap, systemd-nspawn, prometheus. WWW_DEBIAN=DIR: a bookworm made before.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
make -s deb >/dev/null
# shellcheck disable=SC2012 # names are ours
deb=$(ls -t "$PWD"/dist/www-agent_*.deb | head -1)
if tag=$(git describe --tags --abbrev=0 2>/dev/null); then
  git archive "$tag" | (mkdir "$work/old" && tar -x -C "$work/old")
  make -s -C "$work/old" deb VERSION="$tag" >/dev/null
  deb=$(ls "$work"/old/dist/www-agent_*.deb)
fi
CGO_ENABLED=0 go build -trimpath -tags wwwnext -ldflags '-X main.version=99.0.0' -o "$work/bin/" ./cmd/wwwd ./cmd/wwwctl
next=$PWD/$(BIN=$work/bin deploy/deb/build.sh 99.0.0)
mv "$next" "$work/" && next=$work/$(basename "$next")
WWW_DEB=$deb WWW_DEB_NEXT=$next go test ./internal/lab/packaged -run TestInstallGuide -count=1 -v -timeout 900s
echo "install-test: ok"
