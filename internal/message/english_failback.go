package message

// homeward are what is said of the way home.
var homeward = map[string]Message{
	"WWW-1800": {
		Severity: Info, Word: "sealed", Title: "the branch that does not go on is sealed",
		Text:    "{guest}: the copy on {host} at {site} ({id}) is sealed at {site} and {second}[ (backup of {point})]",
		Meaning: "Its last backup was read back at both sites and is protected there. It stays until a person says that nothing of it is missed, and 30 days more.",
		Impact:  "None.", Look: "wwwctl guests GUEST", Do: "Nothing.",
	},
	"WWW-1801": {
		Severity: Info, Title: "the copy that was left is parked", Text: "{guest}: guest {id} on {host} at {site} is parked: off, its network cables out, protected",
		Meaning: "It keeps its id and its disks. Nothing starts it, and Proxmox refuses to remove it.", Impact: "None.", Look: "wwwctl guests GUEST",
		Do: "Nothing. Its structure may remove it when everybody agrees: take the protection off in Proxmox first.",
	},
	"WWW-1802": {
		Severity: Warning, Title: "the copy at home is shut down for good", Text: "{guest}: its copy on {host} at {site} ({id}) ran and is shut down, to be sealed",
		Meaning: "A person has said that the copy that serves elsewhere goes on.", Impact: "Who used it on the site's own network is served by the other copy.",
		Look: "wwwctl op show OP", Do: "Tell the people at the site.",
	},
	"WWW-1803": {
		Severity: Info, Title: "the copy at home runs again", Text: "{guest}: its copy on {host} at {site} ({id}) runs again, as before the failback",
		Meaning: "The failback was given up before the guest came home. If the copy was sealed, it is no more: people may write to it.", Impact: "Two copies run, as before.",
		Look: "wwwctl guests GUEST", Do: "Remove the cause, then begin the failback anew.",
	},
	"WWW-1804": {
		Severity: Info, Title: "a guest has another id at home", Text: "{guest} is guest {id} on {host} now; {was} is the copy that was left",
		Meaning: "The copy that was left keeps its id, so the one that came home has one of the range that is declared for that.",
		Impact:  "Backup jobs that name ids do not know the new one.", Look: "wwwctl config show",
		Do: "Put the new id into the backup job of the host, and take the network from wwwctl config show before you change it.",
	},
	"WWW-1805": {
		Severity: Info, Title: "sealed branches are acknowledged", Text: "{guest}: nothing is missed of {n} sealed branch(es)[, by {by}]; they are kept until {until} at least",
		Meaning: "The clock of their retention has begun.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Nothing.",
	},
	"WWW-1806": {
		Severity: Info, Title: "the guest is at home", Text: "{guest} is at home at {site}", Meaning: "There is nothing to bring home.", Impact: "None.",
		Look: "wwwctl guests GUEST", Do: "Nothing.",
	},
	"WWW-1807": {
		Severity: Info, Title: "home is not well enough yet", Text: "{guest}: its home {site}, or its host there, is not well",
		Meaning: "A guest comes home only to a site and a host that nobody suspects.", Impact: "It goes on serving where it is.", Look: "wwwctl sites SITE",
		Do: "See to the site, then plan anew.",
	},
	"WWW-1808": {
		Severity: Info, Title: "no place is declared for later backups", Text: "{guest}: {host} at {site} has no storage entries for backups of the guests of {home}",
		Meaning: "What comes home or is sealed is written to namespaces of their own, never beside the backups from home.", Impact: "The guest stays where it is.",
		Look: "wwwctl gen lineages SITE", Do: "Type what wwwctl gen lineages {site} prints, then declare lineages: at {host}.",
	},
	"WWW-1809": {
		Severity: Info, Title: "its host takes no guest back", Text: "{guest}: {host} takes no guest back: restore: is not declared there",
		Meaning: "The copy that comes home gets an id and a storage of its own on that host, and the agent needs a token for it.",
		Impact:  "The guest stays where it is.", Look: "wwwctl config show",
		Do: "Declare restore: and lineages: at {host}, with the token in hands: of its wwwd.yaml; or keep the copy at home (--keep home).",
	},
	"WWW-1810": {
		Severity: Info, Title: "no second site for a sealed branch", Text: "{guest}: no other site that is well can keep a sealed branch of {home}",
		Meaning: "A branch that does not go on is kept at two sites.", Impact: "The guest stays where it is.", Look: "wwwctl gen lineages SITE",
		Do: "Declare lineages: {home} at Raoull's host of another site, with the pull jobs that wwwctl gen lineages prints.",
	},
	"WWW-1811": {
		Severity: Info, Title: "no copy at home", Text: "{guest}: there is no copy of it on {host} any more", Meaning: "It was removed there, or its host is new.",
		Impact: "Only the copy that serves is left.", Look: "wwwctl guests GUEST", Do: "Keep the other one: --keep away.",
	},
	"WWW-1812": {
		Severity: Info, Title: "the guest is not home yet", Text: "{guest} serves at {site}: the copies and sealed branches that it has left are seen to when it is home",
		Meaning: "Until it is home the other branch may still be wanted.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Bring it home first.",
	},
	"WWW-1814": {
		Severity: Error, Title: "the declaration names a copy that was left", Text: "{guest}: {id} is a copy that it has left; it came home as {now}",
		Meaning: "The file is from before a failback, which gave the guest another id.", Impact: "Nothing was changed.", Look: "wwwctl config show",
		Do: "Write id: {now} for {guest}, as wwwctl config show has it.",
	},
	"WWW-1815": {
		Severity: Info, Title: "the copy is its structure's to remove", Text: "{guest}: copy {id} stands on {host} at {site}, which is its structure's",
		Meaning: "On a structure's host this program removes nothing: the last deletion is an act of its people.", Impact: "Its disks go on using room there.",
		Look: "wwwctl failback remove GUEST", Do: "Have its people type what wwwctl failback remove {guest} prints, on {host}, when nothing of it is missed.",
	},
	"WWW-1816": {
		Severity: Info, Title: "nobody has said that nothing is missed", Text: "{guest}: copy {id} on {host} at {site} holds what no other copy has, and nobody has acknowledged it",
		Meaning: "A sealed branch, and the copy that it was made of, go only after a person's word.", Impact: "None.", Look: "wwwctl guests GUEST",
		Do: "Ask who used it. Then: wwwctl failback ack {guest}",
	},
	"WWW-1817": {
		Severity: Info, Title: "a sealed branch is still kept", Text: "{guest}: the sealed branch of copy {id} on {host} is kept until {until}",
		Meaning: "It is kept for 30 days from when a person said that nothing of it is missed.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Wait.",
	},
	"WWW-1818": {
		Severity: Info, Title: "the copy is still there", Text: "{guest}: copy {id} on {host} at {site} is still there; its sealed branch goes last",
		Meaning: "What is sealed is given up only when the copy that it was made of is gone.", Impact: "None.", Look: "wwwctl failback remove GUEST",
		Do: "Remove the copy first: wwwctl failback remove {guest}",
	},
	"WWW-1819": {
		Severity: Warning, Word: "removal", Title: "what a guest has left is being removed", Text: "{guest}: copy {id} on {host} at {site}, which it has left, is being cleared away[, by {by}] ({op})",
		Meaning: "A person asked for it. Its sealed backups are read once more at both sites before anything is deleted.", Impact: "None for users.",
		Look: "wwwctl op show OP", Do: "Nothing; if it is a mistake: wwwctl op cancel {op}",
	},
	"WWW-1820": {
		Severity: Warning, Word: "removed", Title: "a copy that was left is removed", Text: "{guest}: copy {id} on {host} at {site} is removed; what it held is sealed at {sealed}",
		Meaning: "Its disks are deleted. The sealed backup stays for its retention.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Nothing.",
	},
	"WWW-1821": {
		Severity: Warning, Word: "given up", Title: "a sealed branch is given up", Text: "{guest}: the sealed branch of copy {id} on {host} is protected at {sealed} no more",
		Meaning: "Its retention is over and its copy is gone. The prune jobs of those sites take its backups away.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Nothing.",
	},
	"WWW-1840": {
		Severity: Warning, Title: "a third copy runs there", Text: "{guest}: a copy that it has left runs as {id} on {host} at {site}, with the same address",
		Meaning: "It was made there by a rescue, ran on through an isolation, or somebody started it. The guest would have its address there, and it may have users of its own.",
		Impact:  "The guest does not move there before that copy is off. Its disk stays as it is.", Look: "wwwctl guests {guest}",
		Do: "See whether anybody uses it, then shut it down on {host} (qm shutdown {id}, pct shutdown {id} for a container), and plan again.",
	},
	"WWW-1846": {
		Severity: Warning, Title: "nobody has looked yet whether a third copy runs", Text: "{guest}: it is not known yet whether {id} on {host} at {site}, which it has left, runs",
		Meaning: "A rescue made that copy there, or the guest served from it once. The agent of {site} has not told of it since the guest moved last: it has just come back, or {host} does not answer it.",
		Impact:  "The guest does not move there before that is known: two copies would have one address.", Look: "wwwctl guests {guest}",
		Do: "Plan again in a minute. Does {host} not answer? wwwctl sites {site} says why.",
	},
	"WWW-1847": {
		Severity: Info, Title: "the copy away is not there any more", Text: "{guest}: copy {id} on {host} at {site}, which a failback has left, is gone",
		Meaning: "A person has removed it. What it held is in the backups of its sealed branch.", Impact: "It goes on serving at home.", Look: "wwwctl guests {guest}",
		Do: "Fetch what is missed from the sealed branch: wwwctl failback diff {guest} lists it.",
	},
	"WWW-1848": {
		Severity: Info, Title: "the site is not well enough", Text: "{guest}: {site}, or its host there, is not well",
		Meaning: "The copy there serves again only at a site and on a host that nobody suspects.", Impact: "It goes on serving at home.", Look: "wwwctl sites {site}",
		Do: "See to the site, then type the undo again.",
	},
	"WWW-1841": {
		Severity: Error, Title: "no site can read both backups", Text: "{guest}: its sealed branch lies at {sites}, and none of these sites has a backup of the copy that goes on",
		Meaning: "Files are compared where both backups can be read.", Impact: "Nothing was compared.", Look: "wwwctl guests {guest}",
		Do: "Wait for the next backup, or its replica, at one of these sites, and ask again. Single files can be fetched from the sealed backup meanwhile: docs/return-details.md.",
	},
	"WWW-1842": {
		Severity: Warning, Word: "replaced", Title: "a copy was given up for room", Text: "{guest}: copy {id} on {host} at {site} is gone, to make room for the one that comes home; what it held is sealed at {sealed}",
		Meaning: "A person has named it with --replace. The sealed backups are kept until somebody says wwwctl failback ack, and 30 days longer.", Impact: "None.",
		Look: "wwwctl guests GUEST", Do: "Nothing. Is a file missed? wwwctl failback diff {guest}",
	},
	"WWW-1843": {
		Severity: Error, Title: "the copy is not sealed", Text: "{guest}: copy {id} on {host} at {site} is not sealed at two sites by this operation",
		Meaning: "A copy is given up for another only when both sites have just read its sealed backup.", Impact: "Nothing was removed.",
		Look: "wwwctl guests GUEST", Do: "Take the operation back (wwwctl op cancel OP) and plan again.",
	},
	"WWW-1844": {
		Severity: Warning, Title: "stuck away from home", Text: "{guest} is stuck at {site}: its copy there[ ({id})] was never served, and does not move home",
		Meaning: "It was given to that site, and its copy there could not be started.", Impact: "The guest is down, or its copy at home runs and does not count.",
		Look: "wwwctl guests {guest}", Do: "Keep the copy at home: wwwctl failback run {guest} --keep home. Or have that site try again: wwwctl op retry OP.",
	},
	"WWW-1845": {
		Severity: Info, Title: "it came home instead", Text: "{guest} is at home again[ at {site}]: what it was stuck in is closed",
		Meaning: "A failback kept the copy at home. The copy that was never served is removed if its host proves that it never ran; else it is sealed, and kept.",
		Impact:  "None.", Look: "wwwctl guests {guest}", Do: "Nothing.",
	},
	"WWW-1822": {
		Severity: Warning, Word: "forked", Title: "a copy is a guest of its own", Text: "{guest}: copy {id} on {host} at {site} is a copy of it no more, but a guest of its own",
		Meaning: "Both lines of data live on. The forked guest has new network cards with their cables out, and nothing of this program looks after it until it is declared.",
		Impact:  "It serves nobody yet.", Look: "wwwctl guests GUEST",
		Do: "Start it at the console of {host}, give it another address, plug its cables in, and declare it under a new name in network.yaml.",
	},
	"WWW-1823": {
		Severity: Error, Title: "the declared guest is a copy of another", Text: "{guest}: {id} on {host} is a copy that {of} has left",
		Meaning: "Both have the same addresses: one of them must get others before it is a guest of its own.", Impact: "Nothing was changed.", Look: "wwwctl guests {of}",
		Do: "Type: wwwctl failback fork {of} --copy {host}/{id}",
	},
	"WWW-1824": {
		Severity: Info, Title: "the copy runs", Text: "{guest}: copy {id} on {host} at {site} runs; a fork changes its network cards",
		Meaning: "That is done only while it is off, so that nobody is cut off by surprise.", Impact: "Nothing was changed.", Look: "wwwctl guests GUEST",
		Do: "Tell its users, shut it down in Proxmox, then try again.",
	},
	"WWW-1825": {
		Severity: Error, Title: "the site is not lost", Text: "{site} is not lost[ (seen as {cause})]: it is not retired",
		Meaning: "What a site that lives holds may still be brought home or sealed.", Impact: "Nothing was changed.", Look: "wwwctl sites {site}",
		Do: "Bring its guests home, or move them: wwwctl switchover {site} --to auto. A site that is torn down on purpose is retired when it is off.",
	},
	"WWW-1826": {
		Severity: Error, Title: "guests of the site live nowhere else", Text: "{site}: of these guests there is no other copy that serves: {guests}",
		Meaning: "A site is retired when all that is wanted of it lives elsewhere.", Impact: "Nothing was changed.", Look: "wwwctl plan {site}",
		Do: "Bring them back elsewhere: wwwctl failover {site}. What is lost for good, take out of network.yaml.",
	},
	"WWW-1827": {
		Severity: Error, Title: "a structure's guests live at two sites", Text: "{structure}: its guests live at {one} and at {other}",
		Meaning: "The home of a structure is one site.", Impact: "Nothing was changed.", Look: "wwwctl guests",
		Do: "Bring them together first: wwwctl failover --guest GUEST --to {one}",
	},
	"WWW-1828": {
		Severity: Info, Title: "a guest has a new home", Text: "{guest} is at home on {host} at {site} as {id} now; {was} is gone",
		Meaning: "Its old home was retired.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "Put it into the backup job of its host.",
	},
	"WWW-1829": {
		Severity: Warning, Word: "retired", Title: "a site is retired", Text: "{site} is nobody's home any more: {guests} guest(s) have another[, by {by}]",
		Meaning: "A person has said that it is gone for good.", Impact: "Nothing is brought home there.", Look: "wwwctl config show",
		Do: "Take the network from wwwctl config show; take the site out of it when newer backups of its guests lie at other sites.",
	},
	"WWW-1830": {
		Severity: Info, Title: "a structure comes home at its time", Text: "{structure}: {guest} comes home to {site} by itself within {window} UTC",
		Meaning: "Its structure has declared return: with a window.", Impact: "It serves where it is until then.", Look: "wwwctl failback plan {structure}",
		Do: "Nothing; sooner by hand: wwwctl failback run {structure} --keep away",
	},
	"WWW-1831": {
		Severity: Info, Title: "a person chooses between two copies", Text: "{guest} does not come home to {site} by itself: its copy there ran since, or nobody could look at it",
		Meaning: "People may have written to the copy at home; which of the two goes on only they can say.", Impact: "The structure stays where it is, whole.",
		Look: "wwwctl failback plan {structure}", Do: "Ask the structure, then: wwwctl failback run {structure} --keep away or --keep home",
	},
	"WWW-1832": {
		Severity: Info, Title: "a person has moved the guest", Text: "{guest} was moved away from {site} by plan, and comes home by a person's word",
		Meaning: "Only what was failed over for a loss comes home by itself.", Impact: "It stays where it is.", Look: "wwwctl guests {guest}",
		Do: "When it is to come home: wwwctl failback run {structure} --keep away",
	},
	"WWW-1833": {
		Severity: Info, Title: "a failback was tried today", Text: "{guest} does not come home by itself again before a day has passed since {op}",
		Meaning: "That failback was taken back, or undone.", Impact: "It stays where it is.", Look: "wwwctl op show {op}",
		Do: "See why it was given up; by hand: wwwctl failback run {structure} --keep away",
	},
	"WWW-1834": {
		Severity: Info, Title: "a guest starts again after an isolation", Text: "{guest}: {site} has shut it down while it was cut off, and starts it again ({op})",
		Meaning: "Its structure wants its guests stopped when their site is without a majority (on_isolation: stop). It is still this site's.",
		Impact:  "It was off from isolation_after on.", Look: "wwwctl op show {op}", Do: "Nothing.",
	},
	"WWW-1813": {
		Severity: Info, Title: "too late to undo", Text: "{guest} came home {at}: a failback that brought all its data home is undone within 24 hours",
		Meaning: "Later the same is a planned move, which loses nothing either.", Impact: "None.", Look: "wwwctl guests GUEST", Do: "wwwctl switchover {guest} --to {site}",
	},
}
