// Package kind is the contract between the plugin engine and a kind of source or action: who calls
// whom, how often, and what each error means. It is a leaf, which imports the standard library
// only: a driver can be tested alone, without a bus (see package kindtest).
//
// A kind is a package with a function
//
//	func Kinds() []*kind.Kind
//
// that declares its source and its action with [SourceOf], [StreamOf], [ActionOf] and
// [BatchActionOf]. A declaration is a constructor, and structs whose tags describe every option,
// argument and field of an event. From the tags the engine derives how a plugin file is read, all
// messages with their positions, the JSON Schema and the reference page:
//
//	key       name in the file            doc      one sentence for people
//	need      "yes": required             min, max bounds, in the text form of the type
//	oneof     "a|b": the allowed words    unit     "size": bytes, as 64MiB
//	secret    "yes": may be secret:name,  path     "yes": relative to the plugins folder
//	          or contain ${secret.name}            or "apart": and not that folder itself
//	          "within": may contain it    url      its schemes, as "http|https": the engine checks
//	                                              it, and that no event chooses its host
//	levels    "yes": a topic, of an event    default   "location": that of postbus.yaml
//
// A key of an action that is an option and an argument, of one type, is an option where its texts are
// the same for every event, and otherwise an argument; the other one is the zero value.
//
// The life of a source is: constructor, Open ([Opener]), Run or Stream, Close ([io.Closer]). The
// life of an action is: constructor, Do for one event after another (or Batch, and DoAll for one
// batch after another), Close. Open and Close are optional. An instance is used once: after an error
// or a reload the engine constructs another. A constructor does no I/O and cannot fail. The engine
// calls these methods one after another, never two at once; it recovers from a panic in any of them,
// and treats it as an error.
package kind
