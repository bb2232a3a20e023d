// Package detectbench measures the quality of detection: how often the real
// window, reporter, judge and decide code (packages probes and failover) moves
// a site's guests by mistake, how often it regrets a move, and how long a true
// loss takes to be seen, over thousands of simulated site-years.
//
// It is a Monte-Carlo of home and office lines (the link model of
// docs/detection.md) on virtual time. One run is many independent networks of
// five sites that each live for a year. A network's life is a Trace: a list of
// Effects that is drawn once, from its own random stream. The World feeds the
// agents' windows with what their probes would have met, lets each agent's
// Reporter report, applies the reports to a State and calls Decide as a leader
// does. The Truth, which only the Ledger knows, says afterwards which decision
// was right. The detectors of other programs (rivals) fold the same Trace.
//
// Nothing here reads a clock or starts a goroutine below Run.
package detectbench
