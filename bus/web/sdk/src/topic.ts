// This file is topic names and topic filters: which are well formed, and which match [MQTT-4.7].

/** What a filter matches: without $share/group/ and $replay/age/. */
export function inner(filter: string): string {
  const m = /^\$(?:share|replay)\/[^/]*\/(.*)$/s.exec(filter);
  return m ? m[1]! : filter;
}

/** Throws a TypeError that says what is wrong with the filter. */
export function checkFilter(filter: string): void {
  const f = typeof filter === "string" ? inner(filter) : "";
  if (f === "") throw new TypeError(`topic filter ${JSON.stringify(filter)} is empty`);
  checkText(filter, "topic filter");
  const levels = f.split("/");
  levels.forEach((level, i) => {
    if (level.includes("#") && (level !== "#" || i !== levels.length - 1)) {
      throw new TypeError(`topic filter ${JSON.stringify(filter)}: # stands alone in the last level`);
    }
    if (level.includes("+") && level !== "+") {
      throw new TypeError(`topic filter ${JSON.stringify(filter)}: + stands alone in its level`);
    }
  });
}

/** Throws a TypeError that says what is wrong with the name. */
export function checkTopic(topic: string): void {
  if (typeof topic !== "string" || topic === "") throw new TypeError("a topic name is a string and not empty");
  checkText(topic, "topic name");
  if (/[+#]/.test(topic)) throw new TypeError(`topic name ${JSON.stringify(topic)} has a wildcard`);
}

function checkText(s: string, what: string): void {
  if (s.includes("\0")) throw new TypeError(`${what} has a NUL`);
  if (s.length > 21845 && new TextEncoder().encode(s).length > 65535) throw new TypeError(`${what} is longer than 65535 bytes`);
}

/** A test for topic names, made once for a filter. */
export function matcher(filter: string): (topic: string) => boolean {
  const f = inner(filter);
  if (!/[+#]/.test(f)) return (topic) => topic === f;
  const levels = f.split("/");
  const rest = levels[levels.length - 1] === "#";
  if (rest) levels.pop();
  return (topic) => {
    // A wildcard in the first level does not match topics that begin with $ [MQTT-4.7.2-1].
    if (topic[0] === "$" && levels[0] !== undefined && levels[0][0] === "+") return false;
    if (topic[0] === "$" && levels.length === 0) return false;
    const t = topic.split("/");
    if (rest ? t.length < levels.length : t.length !== levels.length) return false;
    return levels.every((level, i) => level === "+" || level === t[i]);
  };
}
