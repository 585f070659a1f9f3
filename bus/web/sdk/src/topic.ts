// This file is topic names and topic filters: which are well formed, and which match [MQTT-4.7].

/** The filter without $share/group/ and $replay/age/. */
export function inner(filter: string): string {
  const m = /^\$(?:share|replay)\/[^/]*\/(.*)$/s.exec(filter);
  return m ? m[1]! : filter;
}

/** The error of a filter, and its level if it has one: # is part of the level, # is not the last level, + is part of the level. */
export interface Fault {
  kind: "empty" | "nul" | "long" | "hash" | "last" | "plus";
  level: string;
}

/** The first error of a filter without $share and $replay; undefined if it is valid. */
export function faultOf(filter: string): Fault | undefined {
  if (filter === "") return { kind: "empty", level: "" };
  const text = textFault(filter);
  if (text) return { kind: text, level: "" };
  const levels = filter.split("/");
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]!;
    if (level.includes("#") && level !== "#") return { kind: "hash", level };
    if (level === "#" && i < levels.length - 1) return { kind: "last", level };
    if (level.includes("+") && level !== "+") return { kind: "plus", level };
  }
  return undefined;
}

/** Throws a TypeError that states the error of the filter, which may follow $share or $replay. */
export function checkFilter(filter: string): void {
  const fault = faultOf(typeof filter === "string" ? inner(filter) : "");
  if (fault?.kind === "empty") throw new TypeError(`topic filter ${JSON.stringify(filter)} is empty`);
  checkText(filter, "topic filter");
  if (fault) {
    const rule = fault.kind === "plus" ? "+ must be a whole level" : "# must be the last level";
    throw new TypeError(`topic filter ${JSON.stringify(filter)}: ${rule}`);
  }
}

/** Throws a TypeError that states the error of the name. */
export function checkTopic(topic: string): void {
  if (typeof topic !== "string" || topic === "") throw new TypeError("a topic name must be a string and not empty");
  checkText(topic, "topic name");
  if (/[+#]/.test(topic)) throw new TypeError(`topic name ${JSON.stringify(topic)} contains a wildcard`);
}

function checkText(s: string, what: string): void {
  const fault = textFault(s);
  if (fault === "nul") throw new TypeError(`${what} contains U+0000`);
  if (fault === "long") throw new TypeError(`${what} is longer than 65535 bytes`);
}

function textFault(s: string): "nul" | "long" | undefined {
  if (s.includes("\0")) return "nul";
  return s.length > 21845 && new TextEncoder().encode(s).length > 65535 ? "long" : undefined;
}

/** A compiled filter. Matching a name allocates nothing. */
export function matcher(filter: string): (topic: string) => boolean {
  const f = inner(filter);
  if (!/[+#]/.test(f)) return (topic) => topic === f;
  const levels = f.split("/");
  const open = levels[levels.length - 1] === "#";
  if (open) levels.pop();
  const wild = levels.length === 0 || levels[0] === "+";
  return (topic) => {
    // A wildcard in the first level does not match topics that begin with $ [MQTT-4.7.2-1].
    if (wild && topic.charCodeAt(0) === 36) return false;
    let at = 0; // where the level begins; beyond the end when there is none
    for (const l of levels) {
      if (at > topic.length) return false;
      let end = topic.indexOf("/", at);
      if (end < 0) end = topic.length;
      if (l !== "+" && (end - at !== l.length || !topic.startsWith(l, at))) return false;
      at = end + 1;
    }
    return open || at > topic.length; // a/# matches a too
  };
}
