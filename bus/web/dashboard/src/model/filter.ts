// This file is MQTT's topic filters: is one valid and why not, does it match, and how could what was
// typed go on.

// problem says in words what is wrong with a filter, "" when it is fine.
export function problem(filter: string): string {
  if (filter === "") return "";
  if (filter.length > 65535) return "a filter has at most 65,535 bytes";
  if (filter.includes("\0")) return "a filter has no null character";
  let rest = filter;
  if (rest.startsWith("$share/")) return "a shared subscription would take events away from others";
  if (rest.startsWith("$replay/")) return "choose a topic instead: its history is shown beside it";
  const levels = rest.split("/");
  for (let i = 0; i < levels.length; i++) {
    const l = levels[i]!;
    if (l.includes("#") && l !== "#") return `# stands for whole levels: not "${l}"`;
    if (l === "#" && i < levels.length - 1) return "# is the last level of a filter";
    if (l.includes("+") && l !== "+") return `+ stands for a whole level: not "${l}"`;
  }
  return "";
}

// matcher compiles a valid filter. Wildcards at the beginning do not match topics that begin with $.
export function matcher(filter: string): (topic: string) => boolean {
  if (filter === "#") return (t) => t.charCodeAt(0) !== 36;
  if (!filter.includes("+") && !filter.includes("#")) return (t) => t === filter;
  const levels = filter.split("/");
  const open = levels[levels.length - 1] === "#";
  if (open) levels.pop();
  const wild = open && levels.length === 0 ? true : levels[0] === "+";
  return (topic) => {
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

// complete lists how a filter could go on: names of levels below what is typed so far, then wildcards.
// below gives the names below a path without wildcards, or below what a + matches.
export function complete(filter: string, below: (levels: string[]) => Iterable<string>, limit = 8): string[] {
  const cut = filter.lastIndexOf("/");
  const head = filter.slice(0, cut + 1);
  const last = filter.slice(cut + 1);
  const levels = cut < 0 ? [] : head.slice(0, -1).split("/");
  if (levels.includes("#")) return [];
  const wanted = last.toLowerCase();
  const names = new Set<string>();
  for (const n of below(levels)) if (n !== last && n.toLowerCase().startsWith(wanted)) names.add(n);
  const sorted = [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).slice(0, limit);
  const out = sorted.map((n) => head + n);
  if (last === "" && (cut >= 0 || out.length > 0)) {
    out.push(head + "+");
    out.push(head + "#");
  }
  return out.slice(0, limit + 2).filter((f) => f !== filter);
}
