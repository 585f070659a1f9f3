// This file shows, for a topic without events, which plugins would publish it and why they have not yet; and for an event
// of a plugin what caused it.

import { useEffect, useState } from "preact/hooks";
import { api, words, type Cause, type Explanation } from "../state/api";
import { go, link } from "../state/route";
import { Command } from "../shell/dialog";
import { clockTime, exact, shownSource } from "../model/format";

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

// Causes shows, when asked, the chain of events that led to the newest one.
export function Causes(p: { seq: number }) {
  const [steps, set] = useState<Cause[]>([]);
  const [trouble, fail] = useState("");
  const ask = () => {
    fail("");
    api.why(p.seq).then((x) => set(x.steps), (e: unknown) => fail(words(e)));
  };
  const last = steps[steps.length - 1];
  return (
    <>
      <p class="who">
        <button type="button" class="quiet" onClick={ask}>what caused it?</button>
        {trouble && <span class="bad" role="alert"> {trouble}</span>}
      </p>
      {last && (
        <ol class="causes" aria-label="What caused it">
          {steps.map((s, i) => <Step key={s.seq} of={s} first={i === 0} />)}
          {last.cause !== undefined && <li class="soft">because of event {last.cause}, which the journal does not hold any more</li>}
          {last.cause === undefined && last.by && !last.by.raw && (
            <li class="soft">because of an event of its source {last.by.sources?.join(" or ")}, which is not in the journal</li>
          )}
        </ol>
      )}
    </>
  );
}

function Step(p: { of: Cause; first: boolean }) {
  const s = p.of;
  const at = Date.parse(s.time);
  return (
    <li>
      <span class="soft" title={exact(at)}>{clockTime(at)}</span>{p.first ? " " : " because of "}
      {s.by?.action ? (
        <>the action <b>{s.by.action}</b></>
      ) : (
        <>
          <Where topic={s.topic} />
          {s.payload !== undefined && <code> {s.payload}</code>}
        </>
      )}
      <span class="soft">{maker(s)}</span>
    </li>
  );
}

function Where(p: { topic: string | undefined }) {
  const topic = p.topic;
  if (topic === undefined) return <>a topic that you may not read</>;
  return <a href={link({ topic })} onClick={(e) => { e.preventDefault(); go({ topic }); }}>{topic}</a>;
}

// maker says who made an event.
function maker(s: Cause): string {
  if (!s.by) return `, published by ${shownSource(s.source)}`;
  if (s.by.raw) return `, from its source ${s.by.sources?.join(" or ") ?? ""}`;
  const entries = s.by.entries?.map((e) => `${e.rule} (line ${e.line})`).join(" or ");
  return `, by plugin ${s.by.plugin}${entries ? `, ${entries}` : ""}`;
}
