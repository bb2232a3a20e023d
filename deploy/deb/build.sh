#!/bin/sh
# Builds dist/www-agent_VERSION_ARCH.deb from bin/ (or BIN) with dpkg-deb alone.
# Usage: deploy/deb/build.sh VERSION
set -eu
cd "$(dirname "$0")/../.."
version=${1#v}
bin=${BIN:-bin}
case $version in
  [0-9]*) ;;
  *) version=0.1.0~$(printf %s "$version" | tr -c 'A-Za-z0-9.+~\n' '.') ;;
esac
version=$(printf %s "$version" | tr - '~')
arch=$(dpkg --print-architecture)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
umask 022
chmod 755 "$root"
doc=$root/usr/share/doc/www-agent
man=$root/usr/share/man

install -d "$root/DEBIAN" "$root/usr/bin" "$root/lib/systemd/system" "$doc/examples/prometheus" "$doc/examples/grafana" "$doc/examples/proxmox" "$man/man1" "$man/man5" "$man/man8" \
  "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
install -m 755 "$bin/wwwd" "$bin/wwwctl" "$root/usr/bin/"
strip --strip-unneeded "$root/usr/bin/wwwd" "$root/usr/bin/wwwctl" 2>/dev/null || true
install -m 644 deploy/systemd/*.service deploy/systemd/*.socket "$root/lib/systemd/system/"
install -m 644 deploy/examples/* "$doc/examples/"
install -m 644 deploy/prometheus/*.yaml "$doc/examples/prometheus/"
install -m 644 deploy/grafana/*.json "$doc/examples/grafana/"
install -m 755 deploy/proxmox/*.sh "$doc/examples/proxmox/"
install -m 644 README.md docs/*.md "$doc/"

# Pages and completions say what --help says.
page() { gzip -9n >"$man/man$2/$1.$2.gz"; }
"$bin/wwwctl" __man | page wwwctl 1
for command in $("$bin/wwwctl" __complete ''); do
  "$bin/wwwctl" __man "$command" | page "wwwctl-$command" 1
done
# wrap NAME SECTION SUMMARY: a page around text that is shown as it stands
wrap() {
  printf '.TH %s %s "" "World Wide Welsh" "System Administration"\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n' \
    "$(printf %s "$1" | tr a-z A-Z)" "$2" "$1" "$3"
  sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\\&\\1/"
  printf '.fi\n.SH SEE ALSO\n.BR wwwctl (1)\n'
}
"$bin/wwwd" --help 2>&1 | wrap wwwd 8 'the World Wide Welsh agent of one site' | page wwwd 8
wrap network.yaml 5 'the declared network, by example' <deploy/examples/network.yaml | page network.yaml 5
wrap wwwd.yaml 5 'the local file of one agent, by example' <deploy/examples/wwwd.yaml | page wwwd.yaml 5
"$bin/wwwctl" completion bash >"$root/usr/share/bash-completion/completions/wwwctl"
"$bin/wwwctl" completion zsh >"$root/usr/share/zsh/vendor-completions/_wwwctl"
"$bin/wwwctl" completion fish >"$root/usr/share/fish/vendor_completions.d/wwwctl.fish"

cp LICENSE "$doc/copyright"
install -d "$root/usr/share/lintian/overrides"
printf '# Go programs carry their libraries.\nwww-agent: statically-linked-binary\n' >"$root/usr/share/lintian/overrides/www-agent"
printf 'www-agent (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- Raoull <admin@raoull.example>  %s\n' \
  "$version" "$(date -u -R -d "@$epoch")" | gzip -9n >"$doc/changelog.gz"
gzip -9nc CHANGELOG.md >"$doc/CHANGELOG.md.gz"

for script in postinst prerm postrm; do
  install -m 755 "deploy/deb/$script" "$root/DEBIAN/"
done
cat >"$root/DEBIAN/control" <<CONTROL
Package: www-agent
Version: $version
Architecture: $arch
Maintainer: Raoull <admin@raoull.example>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: adduser, init-system-helpers (>= 1.52)
Recommends: chrony | time-daemon, wireguard-tools
Section: admin
Priority: optional
Homepage: https://github.com/raoull/worldwidewelsh
Description: failover of Proxmox sites, by agreement of the survivors
 One agent per site watches the others, agrees with them on what is lost, and
 brings the guests of a lost site back from their backups elsewhere. It holds
 the agent wwwd, the tool wwwctl, their units, pages and completions.
 .
 Nothing runs until wwwctl init or wwwctl join has written /etc/www/wwwd.yaml.
CONTROL
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -print | LC_ALL=C sort | sed 's,^\./,,' | xargs md5sum) >"$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$epoch" {} +
mkdir -p dist
file=dist/www-agent_${version}_$arch.deb
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group -Zxz --build "$root" "$file" >/dev/null
echo "$file"
