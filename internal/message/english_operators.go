package message

// operators is area 14nn: what people did.
var operators = map[string]Message{
	"WWW-1401": {
		Severity: Info, Title: "network applied", Text: "declared network applied[ (version {version})]",
		Meaning: "A new network.yaml is in force everywhere.", Impact: "As shown by its difference.",
		Look: "wwwctl config show", Do: "Nothing.",
	},
	"WWW-1402": {
		Severity: Warning, Title: "paused", Text: "automatic failover paused[ for {site}][, {for}][: {reason}]",
		Meaning: "A person disarmed automatic failover.", Impact: "Losses are told, nothing moves by itself.",
		Look: "wwwctl status", Do: "wwwctl resume when the work is over.",
	},
	"WWW-1403": {
		Severity: Info, Title: "armed again", Text: "automatic failover armed again[ for {site}]",
		Meaning: "The pause is over.", Impact: "None.", Look: "wwwctl status", Do: "Nothing.",
	},
	"WWW-1404": {
		Severity: Info, Title: "approved", Text: "{op}: approved[, {guests} guests][ by {by}]",
		Meaning: "A person admitted the guests that waited.", Impact: "They are taken over as soon as they are restored.",
		Look: "wwwctl op follow OP", Do: "Nothing.",
	},
	"WWW-1405": {
		Severity: Info, Title: "acknowledged", Text: "{domain}: acknowledged, automation may try again",
		Meaning: "A person looked at the last operation; its block period is over.", Impact: "None.",
		Look: "wwwctl op list", Do: "Nothing.",
	},
	"WWW-1406": {
		Severity: Info, Title: "member joined", Text: "agent of {site} is a member[ ({server})]",
		Meaning: "The agent is in the Raft configuration.", Impact: "None.", Look: "wwwctl cluster peers", Do: "Nothing.",
	},
	"WWW-1407": {
		Severity: Warning, Title: "member left", Text: "agent of {site} is no longer a member",
		Meaning: "The agent was taken out of the Raft configuration.", Impact: "The majority may have changed.",
		Look: "wwwctl cluster peers", Do: "Nothing, if that was meant.",
	},
	"WWW-1408": {
		Severity: Info, Title: "network began", Text: "log of network {network} began[ (generation {generation})]",
		Meaning: "The first agent was bootstrapped.", Impact: "None.", Look: "wwwctl cluster peers", Do: "Join the other sites.",
	},
	"WWW-1410": {
		Severity: Info, Title: "maintenance begun", Text: "{domain}: in maintenance until {until}[: {reason}]",
		Meaning: "Its silence is no loss until then.", Impact: "No failover of it begins by itself.",
		Look: "wwwctl status", Do: "wwwctl maintenance off NAME when the work is over.",
	},
	"WWW-1411": {
		Severity: Info, Title: "maintenance ended", Text: "{domain}: maintenance ended",
		Meaning: "Somebody ended it, its time was over, or the agent that announced it is back.",
		Impact:  "From now on its silence counts again.",
		Look:    "wwwctl status", Do: "Nothing.",
	},
	"WWW-1412": {
		Severity: Warning, Title: "observer excluded", Text: "{observer}: not believed until {until}[: {reason}]",
		Meaning: "An operator said that what this agent reports of others is wrong. The majority is still one of all voters.",
		Impact:  "One vote less to prove a loss; its sightings are no veto.",
		Look:    "wwwctl sites SITE marks its reports", Do: "Repair the agent, then wwwctl observer include OBSERVER.",
	},
	"WWW-1413": {
		Severity: Info, Title: "observer included", Text: "{observer}: believed again",
		Meaning: "Somebody ended the exclusion, or its time was over.", Impact: "Its votes and sightings count.",
		Look: "wwwctl sites", Do: "Nothing.",
	},
	"WWW-1430": {
		Severity: Warning, Title: "join token made", Text: "token {token} lets one agent join[ as {site}] until {until}",
		Meaning: "Whoever holds the token may have the certificate of one agent.", Impact: "None until it is used.",
		Look: "wwwctl token list", Do: "If nobody of you made it: wwwctl token revoke TOKEN, and find out who did (wwwctl events -o wide).",
	},
	"WWW-1431": {
		Severity: Info, Title: "join token used", Text: "{site} has a certificate by token {token}[ ({server})]",
		Meaning: "An agent showed the token and got its certificate.", Impact: "It may join the group.",
		Look: "wwwctl cluster peers", Do: "If that was none of you: wwwctl cluster remove SITE, which also revokes its certificate.",
	},
	"WWW-1432": {
		Severity: Info, Title: "join token revoked", Text: "token {token} was taken back",
		Meaning: "It lets nobody join any more.", Impact: "None.", Look: "wwwctl token list", Do: "Nothing.",
	},
	"WWW-1433": {
		Severity: Warning, Title: "operator admitted", Text: "{name} has a certificate as {role} until {until}",
		Meaning: "Whoever holds that login file may act in this role from anywhere on the VPN.", Impact: "None by itself.",
		Look: "wwwctl operator list", Do: "If nobody of you made it: wwwctl operator revoke NAME.",
	},
	"WWW-1434": {
		Severity: Warning, Title: "certificate revoked", Text: "certificates of {name}[ ({site})] are refused from now on[: {reason}]",
		Meaning: "No agent accepts them any more.", Impact: "An expelled agent comes back with an empty data directory and a token only.",
		Look: "wwwctl operator list · wwwctl cluster peers", Do: "Nothing.",
	},
	"WWW-1435": {
		Severity: Critical, Title: "group rebuilt", Text: "group rebuilt from {from} as generation {generation}; {ops} open operations wait for confirmation",
		Meaning: "A person gave up the old members and began a new log with what this agent knew.",
		Impact:  "Automatic failover is paused. The old members are refused; what they decided last may be missing here.",
		Look:    "wwwctl op list", Do: "Look at each open operation, then wwwctl op confirm OP or wwwctl op cancel OP; then wwwctl resume. Have the other sites join anew.",
	},
	"WWW-1436": {
		Severity: Info, Title: "operation confirmed", Text: "{op}: a person looked and lets it go on",
		Meaning: "After a rebuild each open operation waits for that.", Impact: "It goes on where the world says it stands.",
		Look: "wwwctl op follow OP", Do: "Nothing.",
	},
	"WWW-1409": {
		Severity: Info, Title: "cancelled by a person", Text: "by {actor}[: {reason}]",
		Meaning: "A person gave the operation up before anything was taken over.", Impact: "None for the users.",
		Look: "wwwctl op show OP", Do: "Nothing.",
	},
}

// publication is area 15nn: DNS.
var publication = map[string]Message{
	"WWW-1501": {
		Severity: Info, Title: "zone verified", Text: "{zone}: every reachable server answers as decided[ ({servers} servers)]",
		Meaning: "The authoritative servers were asked and serve what State says.", Impact: "None.",
		Look: "wwwctl dns show", Do: "Nothing.",
	},
	"WWW-1502": {
		Severity: Warning, Word: "dns-out-of-sync", Title: "a server is out of sync", Text: "{zone}: {server} does not serve what was decided[ ({why})]",
		Meaning: "The server answers with other or older records.", Impact: "Part of the users is sent to the wrong site.",
		Look: "wwwctl dns show · the server's log", Do: "Nothing at first: publication is repeated. After 10 minutes look at that server.",
	},
	"WWW-1503": {
		Severity: Warning, Title: "name held", Text: "{name} is held as it is[ (it points to {site})][: {reason}]",
		Meaning: "A person keeps this name in their own hands.", Impact: "A failover does not move it.",
		Look: "wwwctl dns show", Do: "wwwctl dns release NAME when the work is over.",
	},
	"WWW-1504": {
		Severity: Info, Title: "name released", Text: "{name} follows its guest again",
		Meaning: "The hold was ended or ran out.", Impact: "The name goes where its guest is served.",
		Look: "wwwctl dns show", Do: "Nothing.",
	},
}
