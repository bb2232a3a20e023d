package message

// onboarding is area 25nn: what wwwctl init and join look at before they change
// anything.
var onboarding = map[string]Message{
	"WWW-2501": finding(Error, "not root", "the configuration in /etc/www can be written by root only",
		"init and join write wwwd.yaml and start the service.", "Nothing was changed.", "id", "sudo, then the same command"),
	"WWW-2502": finding(Error, "no user wwwd", "the service's user wwwd does not exist",
		"The package makes it.", "The agent could not start.", "getent passwd wwwd", "apt install ./www-agent_VERSION_amd64.deb"),
	"WWW-2503": finding(Error, "mesh address not here", "no interface of this machine has the address {address}",
		"The agent listens on its address in the WireGuard mesh.", "The other agents could not reach it.", "ip -br address",
		"Bring the tunnel up (wg-quick up wg0), or give this machine's own address with --mesh."),
	"WWW-2504": finding(Error, "mesh port taken", "{address} cannot be listened on: {why}",
		"Another program has the port, or another agent runs.", "The agent could not start.", "ss -tlnp", "Stop what listens there, or choose another port with --mesh ADDRESS:PORT."),
	"WWW-2505": finding(Warning, "clock not synchronised", "the kernel does not hold this machine's clock for synchronised",
		"No time service keeps it right.", "Certificates and the age of backups depend on it.", "timedatectl", "apt install chrony, and allow it some minutes"),
	"WWW-2506": finding(Error, "disk nearly full", "{dir} has {free:bytes} free, want 1 GiB",
		"Log and snapshots stand there.", "An agent that cannot write stops.", "df -h {dir}", "Make room, or move {dir} to a larger volume."),
	"WWW-2507": finding(Warning, "data on an unencrypted device", "{dir} would lie on {device}, which is not encrypted",
		"It will hold the keys with which the agent proves who it is.", "Whoever takes the disk can act as this site.",
		"lsblk -o NAME,TYPE,MOUNTPOINTS", "Mount an encrypted volume at {dir} first."),
	"WWW-2508": finding(Warning, "no ping", "group {group} may not ping: net.ipv4.ping_group_range leaves it out",
		"The agent pings routers without any privilege.", "Routers count as unknown, never as silent.", "sysctl net.ipv4.ping_group_range",
		"echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/60-www.conf; sysctl --system"),
	"WWW-2509": finding(Error, "no way to the other agent", "{address} does not answer: {why}",
		"Joining goes over the mesh.", "Nothing was changed.", "ip route get ADDRESS; wg show", "Bring the tunnel up on both sides; is wwwd running there?"),
}
