#!/bin/sh
# Installs, upgrades, removes and purges the newest dist/*.deb in a fresh Debian
# chroot, and has lintian look at it. Needs root, debootstrap and lintian.
# Usage: deploy/deb/test.sh [SUITE [MIRROR]]
set -eu
cd "$(dirname "$0")/../.."
suite=${1:-bookworm}
mirror=${2:-}
deb=$(ls -t dist/www-agent_*.deb | head -1)
lintian --fail-on error --suppress-tags-from-file deploy/deb/lintian-tags "$deb"
for page in $(dpkg-deb --fsys-tarfile "$deb" | tar -t | grep '/man/.*gz$'); do
  dpkg-deb --fsys-tarfile "$deb" | tar -xO "$page" | gzip -dc | grep -q '^.SH NAME' || { echo "$page: no page" >&2; exit 1; }
done

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT INT TERM
chmod 755 "$root"
# shellcheck disable=SC2086 # an empty mirror is no argument
debootstrap --variant=minbase --include=adduser "$suite" "$root" $mirror >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
rm -f "$root.log"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cp "$deb" "$root/new.deb"
inside() { chroot "$root" "$@"; }
want() { # want WHAT COMMAND...
  what=$1; shift
  "$@" || { echo "deb-test: $what" >&2; exit 1; }
}
refuse() { what=$1; shift; if "$@"; then echo "deb-test: $what" >&2; exit 1; fi; }

# The same content as an older version, to upgrade from.
dpkg-deb -R "$deb" "$root/old" && sed -i 's/^Version: .*/Version: 0.0.1/' "$root/old/DEBIAN/control"
dpkg-deb --root-owner-group -Znone -b "$root/old" "$root/old.deb" >/dev/null && rm -rf "$root/old"

inside dpkg -i /old.deb >/dev/null
want 'user wwwd' inside getent passwd wwwd
want 'group www-admin' inside getent group www-admin
want 'modes' test "$(inside stat -c '%U:%G:%a' /etc/www /etc/www/secrets /var/lib/www | tr '\n' ' ')" = 'root:www-admin:750 wwwd:www-admin:700 wwwd:www-admin:700 '
want 'programs run' inside wwwctl version
refuse 'it listens before anybody said so' test -e "$root/etc/systemd/system/multi-user.target.wants/wwwd.service"
refuse 'init without a mesh address' inside wwwctl init --site moulin
inside wwwctl init --network assos --site moulin --mesh 127.0.0.1 --dry-run
printf 'network: assos\nsite: moulin\nlisten: {mesh: 127.0.0.1}\n' >"$root/etc/www/wwwd.yaml"
echo secret >"$root/etc/www/secrets/pve.token"
inside dpkg -i /new.deb >/dev/null
want 'the configuration was changed by an upgrade' grep -q 'site: moulin' "$root/etc/www/wwwd.yaml"
want 'a secret is gone after an upgrade' test -s "$root/etc/www/secrets/pve.token"
echo log >"$root/var/lib/www/raft.db"
inside dpkg -r www-agent >/dev/null
want 'the configuration is gone after remove' test -e "$root/etc/www/wwwd.yaml"
refuse 'the program stays after remove' test -e "$root/usr/bin/wwwd"
inside dpkg -i /new.deb >/dev/null
inside dpkg -P www-agent >/dev/null 2>&1
refuse 'the configuration stays after purge' test -e "$root/etc/www"
want "the network's log is gone after purge" test -e "$root/var/lib/www/raft.db"
echo "deb-test: ok ($suite)"
