// Package plugins turns config files into running plugins, while the bus runs.
//
//	x.yaml ─▶ check (every mistake at once, inline tests) ─▶ generation ─▶ supervisor
//
//	Source ─▶ mapping ─┬▶ bus.Send ─▶ journal ─▶ whoever subscribed
//	                   └▶ bus.Send to the action's queue ─▶ journal ─▶ durable cursor ─▶ Action
//
// The contract:
//
//   - A file is checked as a whole. A mistake in it leaves the version that runs untouched; all mistakes
//     are told with line, column and hint, in the log, in `postbus plugin check` and on the topic
//     $bus/plugins/<id>/state, in the same words.
//   - Every event of a source is mapped by exactly one generation of its file, and acknowledged to the
//     source when what came of it is durable. A changed mapping is swapped between two events; the
//     source stays open. A changed source is opened before the old one is closed, unless both need a
//     thing that can be held once; if it does not start, the old one goes on.
//   - An action gets its events from a durable cursor: in order, at least once, also those that came while
//     it failed or the bus was down, until they are too old (expires). What fails for good goes to
//     $bus/dead/<id> with its error.
//   - A plugin that panics, hangs, floods or fails harms no other one. An event goes through 16 plugins at most.
//   - A retained event belongs to the plugin that published it: when no file publishes its topic any
//     more it is cleared, after a grace.
//   - A file may do what is derived from it and nothing else; commands wait for an approval of that very
//     content.
//
// The package knows kinds by their shape only (see Source, Action) and owns neither the HTTP listener
// nor the config.
package plugins
