// Package notify tells people of the few changes of state that must not be missed, by ways
// that need neither a majority nor the site that is lost: mail, ntfy, Matrix, a web hook,
// Free Mobile's SMS, a program.
//
// What is worth telling is a pure function of State (Conditions), and so are who of the
// agents tells it and when (planner) and in which words (Compose). A message that is due is
// put into a queue on disk (Outbox), and one worker per channel sends it, again and again if
// it must be. Once it has left it is recorded in the log (failover.Told), so that it is told
// once: an agent that dies between the two causes a repetition and never a silence. An agent
// without a leader tells that, marked as a partial view, and keeps its own book.
package notify
