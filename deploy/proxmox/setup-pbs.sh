#!/bin/sh
# Gives this site its user and tokens on Proxmox Backup Server 3.4 or 4.x, with
# the least rights that they need. Run it as root on the backup server; run it
# again after a change.
#
#   DATASTORE=backups NAMESPACES="quai halle" REMOTES="quai:backups halle:backups" \
#   SHARED=moulin sh setup-pbs.sh
#
# It makes three tokens of one user:
#   agent  the agent: sees, verifies and protects restore points, runs pull jobs
#   pve    for the storage entries of this site's PVE: reads them to restore
#   pull   for the other sites' remotes: reads the namespaces of SHARED
# and prints the secret of each new one once, into TOKEN_DIR. DRY_RUN=1 prints
# the commands that change something instead of running them.
set -eu

DATASTORE=${DATASTORE:?datastore of the backups}
NAMESPACES=${NAMESPACES:-}          # of the other sites' backups here; empty: the root namespace
REMOTES=${REMOTES:-}                # REMOTE:DATASTORE that pull jobs fetch from
SHARED=${SHARED:-}                  # namespaces that other sites pull; empty: no token pull
USER_ID=${USER_ID:-wwwd@pbs}
TOKEN_DIR=${TOKEN_DIR:-/etc/www/secrets} # the agent's lies in pbs.token, the others in pbs-NAME.token
TOKEN_OWNER=${TOKEN_OWNER:-root}    # wwwd, if the agent runs on this machine
DRY_RUN=${DRY_RUN:-}
manager=proxmox-backup-manager

run() {
	echo "+ $*"
	[ -n "$DRY_RUN" ] || "$@"
}

# token NAME FILE: makes the token and keeps its secret, if it is not there yet.
# The secret is shown once: the file has to be there before the token.
token() {
	if $manager user list-tokens "$USER_ID" --output-format json 2>/dev/null | grep -q "\"tokenid\" *: *\"$USER_ID!$1\""; then
		if [ ! -s "$2" ]; then
			echo "setup-pbs: token $USER_ID!$1 exists; its secret is not in $2. If it is lost:" >&2
			echo "  $manager user delete-token '$USER_ID' '$1'    and run this again" >&2
		fi
		return
	fi
	if [ -n "$DRY_RUN" ]; then
		echo "+ $manager user generate-token $USER_ID $1  (secret into $2)"
		return
	fi
	new=$(mktemp "$2.XXXXXX")
	trap 'rm -f "$new"' EXIT
	chown "$TOKEN_OWNER" "$new"
	answer=$($manager user generate-token "$USER_ID" "$1")
	secret=$(printf '%s\n' "$answer" | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
	printf '%s!%s:%s\n' "$USER_ID" "$1" "$secret" >"$new"
	mv "$new" "$2"
	echo "token $USER_ID!$1: secret in $2"
}

# grant TOKEN PATH ROLE...: to the user and to the token. A token has what both
# have.
grant() {
	name=$1 path=$2
	shift 2
	for role in "$@"; do
		run $manager acl update "$path" "$role" --auth-id "$USER_ID"
		run $manager acl update "$path" "$role" --auth-id "$USER_ID!$name"
	done
}

umask 077
if ! $manager user list --output-format json | grep -q "\"userid\" *: *\"$USER_ID\""; then
	run $manager user create "$USER_ID" --comment "World Wide Welsh" # no password: it cannot log in
fi
token agent "$TOKEN_DIR/pbs.token"
token pve "$TOKEN_DIR/pbs-pve.token"
[ -z "$SHARED" ] || token pull "$TOKEN_DIR/pbs-pull.token"

# Roles on a deeper path replace what is inherited, so each path gets all of
# its own.
store=/datastore/$DATASTORE
if [ -n "$NAMESPACES" ]; then
	grant agent "$store" DatastoreAudit
	for ns in $NAMESPACES; do
		grant agent "$store/$ns" DatastoreReader DatastoreBackup
		grant pve "$store/$ns" DatastoreReader
	done
else
	grant agent "$store" DatastoreReader DatastoreBackup
	grant pve "$store" DatastoreReader
fi
for remote in $REMOTES; do
	grant agent "/remote/${remote%%:*}" RemoteSyncOperator
done
for ns in $SHARED; do
	grant pull "$store/$ns" DatastoreReader
done
