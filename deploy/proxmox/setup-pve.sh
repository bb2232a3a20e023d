#!/bin/sh
# Gives the agent of this site a user, a token and the least rights that it
# needs on Proxmox VE 8.4 or 9.x. Run it as root on the host (in a cluster: on
# any node); run it again after a change, and after an upgrade from 8 to 9.
#
#   NODE=pve1 STORAGES=local-zfs BACKUPS="pbs-quai pbs-halle" \
#   BRIDGES=vmbr9 TAGS="120 130" sh setup-pve.sh
#
# DRY_RUN=1 prints the commands that change something instead of running them.
set -eu

NODE=${NODE:-$(uname -n | cut -d. -f1)}            # name of this node
STORAGES=${STORAGES:?storages that guests are restored to, such as local-zfs}
BACKUPS=${BACKUPS:?PBS storage entries, one per lost site and key}
BRIDGES=${BRIDGES:?bridges or vnets that restored guests are connected to}
TAGS=${TAGS:-}                                     # VLAN tags on them; empty: all, and untagged
ZONE=${ZONE:-localnetwork}                         # SDN zone of the bridges; plain bridges are in localnetwork
USER_ID=${USER_ID:-wwwd@pve}
TOKEN=${TOKEN:-agent}
TOKEN_FILE=${TOKEN_FILE:-/etc/www/secrets/pve.token}
TOKEN_OWNER=${TOKEN_OWNER:-wwwd}                   # the system user that reads the file
DRY_RUN=${DRY_RUN:-}

run() {
	echo "+ $*"
	[ -n "$DRY_RUN" ] || "$@"
}

# role NAME PRIVILEGES: a role with exactly these.
role() {
	if pvesh get "/access/roles/$1" >/dev/null 2>&1; then
		run pveum role modify "$1" --privs "$2"
	else
		run pveum role add "$1" --privs "$2"
	fi
}

# grant PATH ROLE PROPAGATE: to the user and to the token. A token has what
# both have (privilege separation). One role per path: roles on a deeper path
# replace what is inherited.
grant() {
	run pveum acl modify "$1" --users "$USER_ID" --roles "$2" --propagate "$3"
	run pveum acl modify "$1" --tokens "$USER_ID!$TOKEN" --roles "$2" --propagate "$3"
}

release=$(pveversion | sed -n 's#^pve-manager/\([0-9]*\)\..*#\1#p')
case $release in
8) agent=VM.Monitor ;;
9 | [1-9][0-9]) agent=VM.GuestAgent.Audit ;; # PVE 9 refuses a role with VM.Monitor
*)
	echo "setup-pve: pveversion tells no release 8 or later" >&2
	exit 1
	;;
esac

role WWWHealth "Sys.Audit"
role WWWGuests "VM.Allocate VM.Audit VM.Backup VM.Config.Network VM.Config.Options VM.PowerMgmt $agent"
role WWWStorage "Datastore.AllocateSpace Datastore.Audit"
role WWWNetwork "SDN.Use"

if ! pvesh get "/access/users/$USER_ID" >/dev/null 2>&1; then
	run pveum user add "$USER_ID" --comment "World Wide Welsh agent" # no password: it cannot log in
fi

# The secret is shown once: the file has to be there before the token.
if pvesh get "/access/users/$USER_ID/token/$TOKEN" >/dev/null 2>&1; then
	if [ ! -s "$TOKEN_FILE" ]; then
		echo "setup-pve: token $USER_ID!$TOKEN exists, but $TOKEN_FILE does not. If its secret is lost:" >&2
		echo "  pveum user token delete '$USER_ID' '$TOKEN'    and run this again" >&2
		exit 1
	fi
elif [ -n "$DRY_RUN" ]; then
	echo "+ pveum user token add $USER_ID $TOKEN --privsep 1 --output-format json  (secret into $TOKEN_FILE)"
else
	umask 077
	new=$(mktemp "$TOKEN_FILE.XXXXXX")
	trap 'rm -f "$new"' EXIT
	chown "$TOKEN_OWNER" "$new"
	answer=$(pveum user token add "$USER_ID" "$TOKEN" --privsep 1 --output-format json)
	secret=$(printf '%s\n' "$answer" | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
	printf '%s!%s=%s\n' "$USER_ID" "$TOKEN" "$secret" >"$new"
	mv "$new" "$TOKEN_FILE"
	echo "token $USER_ID!$TOKEN: secret in $TOKEN_FILE"
fi

grant / WWWHealth 0
grant "/nodes/$NODE" WWWHealth 0
grant /vms WWWGuests 1
for storage in $STORAGES $BACKUPS; do
	grant "/storage/$storage" WWWStorage 0
done
for bridge in $BRIDGES; do
	if [ -z "$TAGS" ]; then
		grant "/sdn/zones/$ZONE/$bridge" WWWNetwork 1
	fi
	for tag in $TAGS; do
		grant "/sdn/zones/$ZONE/$bridge/$tag" WWWNetwork 0
	done
done
