package doctor

// Codes of the findings. A code never changes its meaning.
const (
	CodeFine        = "WWW-2100"
	CodeUnread      = "WWW-2101" // a call failed
	CodeNoAccess    = "WWW-2102" // this site's Proxmox cannot be used at all
	CodeNotYet      = "WWW-2103" // no round has ended yet
	CodeOld         = "WWW-2104" // the newest off-site copy is older than max_loss
	CodeNotHere     = "WWW-2105" // this site restores nothing
	CodeOldFacts    = "WWW-2106" // a site's readiness is old, or was never told
	CodeNotDeclared = "WWW-2107" // no network is declared

	CodeMissingPrivilege    = "WWW-2110"
	CodeBadRelease          = "WWW-2111"
	CodeBadReleasePBS       = "WWW-2112"
	CodeMissingPrivilegePBS = "WWW-2113"
	CodeForeignOwner        = "WWW-2114" // the agent can protect its own groups only
	CodeNoPull              = "WWW-2115" // no pull job of a source is to be seen
	CodeNoHelper            = "WWW-2116" // the root helper would not help
	CodeMachineOut          = "WWW-2117" // a machine does not even tell its version

	CodeNoEntry       = "WWW-2120"
	CodeNotPBS        = "WWW-2121"
	CodeEntryDisabled = "WWW-2122"
	CodeEntryNotHere  = "WWW-2123" // restricted to other nodes
	CodeEntryNoKey    = "WWW-2124"
	CodeWrongKey      = "WWW-2125"
	CodeArchiveShut   = "WWW-2126" // extractconfig failed
	CodeNoTarget      = "WWW-2127" // the target storage is not there
	CodeTargetContent = "WWW-2128" // the target storage takes no disks of a kind of guest
	CodeOtherStore    = "WWW-2129" // an entry of another datastore, which this agent does not list

	CodeNoCopy         = "WWW-2130"
	CodeOneCopy        = "WWW-2131"
	CodePlain          = "WWW-2132"
	CodeUnverified     = "WWW-2133"
	CodeUnusable       = "WWW-2134"
	CodeSyncFailed     = "WWW-2135"
	CodeSyncNever      = "WWW-2136"
	CodeRemoveVanished = "WWW-2137"
	CodeFuture         = "WWW-2138"
	CodeCopies         = "WWW-2139" // how many and how old (R35)

	CodeBindMount    = "WWW-2140"
	CodePrivileged   = "WWW-2141" // refused: PVE 9
	CodePrivileged8  = "WWW-2142" // will be refused after the upgrade
	CodeNotSaved     = "WWW-2143"
	CodeRootOnly     = "WWW-2144"
	CodeHostDevice   = "WWW-2145"
	CodeHostModel    = "WWW-2146" // processor or machine of the source
	CodeTemplate     = "WWW-2147"
	CodeUnreadConfig = "WWW-2148"
	CodeHA           = "WWW-2149"
	CodeFirewall     = "WWW-2186"

	CodeNoLineage       = "WWW-2187" // no entries for the backups of a home's guests that run here
	CodeLineageNS       = "WWW-2188" // an entry of another namespace
	CodeLineageMixed    = "WWW-2189" // a job brings one line of backups into another
	CodeLineageDropped  = "WWW-2196" // a job deletes sealed branches
	CodeLineageFilter   = "WWW-2620" // a job leaves groups of later lineages out
	CodeLineageKey      = "WWW-2621" // an entry has another key than the home's backups
	CodeLineagePruned   = "WWW-2622" // a prune job leaves too little of them
	CodeLineageGrows    = "WWW-2623" // nothing prunes a namespace of them
	CodeLineageAlone    = "WWW-2624" // no job brings a namespace to another site
	CodeLineageDepth    = "WWW-2625" // a job stops above a namespace
	CodeLineageHoles    = "WWW-2626" // a job leaves snapshots out
	CodeLineageNoPull   = "WWW-2627" // no job of just a namespace here
	CodeEntryPrunes     = "WWW-2628" // backups through an entry prune
	CodeLineageWriter   = "WWW-2629" // a backup job writes into an entry
	CodeSyncUnscheduled = "WWW-2630" // a sync job never runs by itself
	CodeSealUnsafe      = "WWW-2631" // a sealed branch is gone, cannot be read, or may be pruned
	CodeLineageIDs      = "WWW-2197" // the same id may be used twice in a namespace

	CodeUndeclared       = "WWW-2150"
	CodeAbsent           = "WWW-2151"
	CodeForeignInRange   = "WWW-2152"
	CodeUndeclaredBackup = "WWW-2153"
	CodeListIncomplete   = "WWW-2154"
	CodePVENotAsked      = "WWW-2155"
	CodePVEUnread        = "WWW-2156"

	CodeFewVoters  = "WWW-2160"
	CodeEvenVoters = "WWW-2161"

	CodeNoBridge     = "WWW-2180"
	CodeBridgeDown   = "WWW-2181"
	CodeNoPort       = "WWW-2182" // not VLAN-aware, and without a physical port
	CodeNotAware     = "WWW-2183"
	CodeNotAwareIP   = "WWW-2184" // and the host has an address on it
	CodeOutsideVIDs  = "WWW-2185"
	CodeMachineNew   = "WWW-2190"
	CodeMachineOld   = "WWW-2191"
	CodeModelUnknown = "WWW-2192"
	CodeFlagsLacking = "WWW-2193"
	CodeOtherVendor  = "WWW-2194"
	CodeModelHidden  = "WWW-2195"

	CodeLongTTL   = "WWW-2170"
	CodeServerOut = "WWW-2171"
	CodeZoneNever = "WWW-2172"

	CodeRouterMisleads = "WWW-2173" // a static entry of the router leads to where the guest is not
	CodeRouterLacks    = "WWW-2174" // names without one, beside others that have one
	CodeRouterForwards = "WWW-2175" // it asks another site's agent for a zone
	CodeRouterNoAAAA   = "WWW-2176" // an AAAA question goes to the internet
	CodeRouterUnread   = "WWW-2177"

	CodeDiskPlain   = "WWW-2401"
	CodeDiskUnknown = "WWW-2403"
	CodeClockOff    = "WWW-2404"
	CodeUnwell      = "WWW-2406"
	CodeChannelOut  = "WWW-2407" // a way of telling people does not deliver
	CodeNoChannel   = "WWW-2408" // there is none

	CodeFileUntold      = "WWW-2600"
	CodeFileVersions    = "WWW-2601"
	CodeFileMesh        = "WWW-2602"
	CodeFileNoDNS       = "WWW-2603"
	CodeFileNoToken     = "WWW-2604"
	CodeFileStranger    = "WWW-2605"
	CodeFileNoTSIG      = "WWW-2606"
	CodeFileNoFence     = "WWW-2607"
	CodeFilePins        = "WWW-2608"
	CodeFileAuthorities = "WWW-2609"
	CodeFileNoProgram   = "WWW-2610"
	CodeFileNoHands     = "WWW-2611"
)
