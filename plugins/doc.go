// Package plugins turns config files into running plugins, while the bus runs.
//
//	x.yaml ─▶ check (every mistake at once, inline tests) ─▶ generation ─▶ supervisor
//
//	Source ─▶ mapping ─┬▶ bus.Send ─▶ journal ─▶ subscribers
//	                   └▶ bus.Send to the action's queue ─▶ journal ─▶ durable cursor ─▶ Action
//
// The contract:
//
//   - A file is checked as a whole. A mistake in it leaves the running version untouched. All
//     mistakes are reported with line, column and hint, in the log, in `postbus plugin check` and
//     on the topic $bus/plugins/<id>/state, in the same words.
//   - Exactly one generation of its file maps every event of a source. The event is acknowledged to
//     the source when the results are durable. A changed mapping is swapped between two events; the
//     source stays open. A changed source is opened before the old one is closed, unless both need
//     a resource that allows one owner. If it does not start, the old one keeps running.
//   - An action gets its events from a durable cursor: in order, at least once, including those
//     that arrived while it failed or the bus was down, until they are too old (expires). A job
//     that fails for good is published to $bus/dead/<id> with its error.
//   - A plugin that panics, hangs, floods or fails harms no other one. An event passes through 16
//     plugins at most.
//   - A retained event belongs to the plugin that published it. It is cleared, after a grace
//     period, when no file publishes its topic any more.
//   - A file has the rights that are derived from it and no others. Commands wait for an approval
//     of the file's exact content.
//
// The package knows kinds by their contract only (package kind) and owns neither the HTTP
// listener nor the config.
package plugins
