// This file shows, for a topic without events, which plugins would publish it and why they have not yet.

import { useEffect, useState } from "preact/hooks";
import { api, type Explanation } from "../state/api";
import { go, link } from "../state/route";
import { Command } from "../shell/dialog";

export function Why(p: { topic: string }) {
  const [e, set] = useState<Explanation | null>(null);
  useEffect(() => {
    let on = true;
    set(null);
    api.explain(p.topic).then((x) => on && set(x), () => undefined);
    return () => {
      on = false;
    };
  }, [p.topic]);
  if (!e) return null;
  if (e.by.length === 0) return <p class="soft">No plugin publishes it. From a shell: <Command text={`postbus pub -t ${p.topic} -m test`} /></p>;
  return (
    <ul>
      {e.by.map((b) => {
        const to = { view: "plugins" as const, plugin: b.plugin, trace: "1" };
        return (
          <li key={`${b.plugin}${b.line}`}>
            Plugin <b>{b.plugin}</b>, line {b.line}, would publish it: {b.verdict}{b.state === "running" ? "" : `. It is ${b.state}${b.reason ? `: ${b.reason}` : ""}`}{" "}
            <a href={link(to)} onClick={(x) => { x.preventDefault(); go(to); }}>→ trace</a>
          </li>
        );
      })}
    </ul>
  );
}
