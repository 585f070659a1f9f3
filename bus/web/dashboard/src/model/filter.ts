// This file checks and completes topic filters for the filter input.

import { faultOf } from "../../../sdk/src/topic";

// problem returns the error of a filter in words, "" for a valid one.
export function problem(filter: string): string {
  if (filter === "") return "";
  if (filter.startsWith("$share/")) return "a shared subscription would take events from its other members";
  if (filter.startsWith("$replay/")) return "choose a topic instead, which shows its history";
  const fault = faultOf(filter);
  switch (fault?.kind) {
    case "long":
      return "a filter has at most 65,535 bytes";
    case "nul":
      return "a filter has no null character";
    case "hash":
      return `# stands for whole levels: not "${fault.level}"`;
    case "last":
      return "# is the last level of a filter";
    case "plus":
      return `+ stands for a whole level: not "${fault.level}"`;
  }
  return "";
}

// complete lists completions of a filter: names of levels below the input so far, then wildcards.
// below returns the names below a path; a + matches any level.
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
