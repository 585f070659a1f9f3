// This file is the view Plugins: each with its state by shape and word, and its errors in
// the words of the command line.

import { formatJSON } from "../../../sdk/src/json";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { clockTime, count, duration, exact, rate } from "../model/format";
import { api, words } from "../state/api";
import { figures } from "../state/figures";
import { link as connection, trace as listen } from "../state/feed";
import { countersOf, grave, plugins, rateOf, type FileError, type Plugin, type Trace } from "../state/plugins";
import { go, link, wandered, type Route } from "../state/route";
import { useEscape, useNow, useStore } from "../state/store";
import { Ago, Command, Copy, Slow } from "../shell/dialog";

const silent = new Set(["rejected", "backoff", "awaiting-approval", "disabled", "starting"]);
const shapes = ["●", "▲", "■"];

export function shapeOf(state: string): string {
  return state === "disabled" || state === "starting" || state === "stopping" ? "○" : shapes[grave(state)]!;
}

// flow shows the sources and the destinations of events.
function flow(p: Plugin): string {
  if (!p.sources && !p.topics && !p.actions) return "";
  const from = p.sources?.map((s) => s.name).join(", ") || "–";
  const to = [...(p.topics?.slice(0, 1).map((t) => t.replace(/\$\{[^}]*\}/g, "…")) ?? []), ...(p.actions?.slice(0, 2).map((a) => a.name) ?? [])];
  const more = (p.topics?.length ?? 0) - 1 + Math.max(0, (p.actions?.length ?? 0) - 2);
  return `${from} → ${to.join(", ") || "–"}${more > 0 ? ` +${more}` : ""}`;
}

export function Plugins(p: { route: Route }) {
  const list = useStore(plugins);
  const now = useNow();
  const online = useStore(connection).state === "online";
  const links = useRef<HTMLUListElement>(null);
  const chosen = list.find((x) => x.id === p.route.plugin);
  const focus = (id: string) => links.current?.querySelector<HTMLElement>(`a[data-id="${CSS.escape(id)}"]`)?.focus();
  const close = () => {
    const id = p.route.plugin;
    if (!id) return;
    go({ plugin: "", trace: "" });
    focus(id);
  };
  useEscape(close);
  // After a jump no element has the focus.
  useEffect(() => {
    if (chosen && wandered && document.activeElement === document.body) focus(chosen.id);
  }, [chosen?.id]);
  const refused = useRefusal(online && list.length === 0);
  if (list.length === 0) {
    return (
      <div class="page">
        {refused ? <p class="bad" role="alert"><span aria-hidden="true">■ </span>{refused}</p> : online && refused !== null && <Slow><None /></Slow>}
      </div>
    );
  }

  const key = (e: KeyboardEvent) => {
    const all = [...links.current!.querySelectorAll<HTMLElement>("a")];
    const i = all.indexOf(document.activeElement as HTMLElement);
    const to = e.key === "ArrowDown" ? i + 1 : e.key === "ArrowUp" ? i - 1 : e.key === "Home" ? 0 : e.key === "End" ? all.length - 1 : NaN;
    if (Number.isNaN(to)) return;
    e.preventDefault();
    all[Math.max(0, Math.min(to, all.length - 1))]?.focus();
  };
  return (
    <div class="plugins" data-detail={p.route.plugin !== ""}>
      <nav class="list-pane" aria-label="Plugins">
        <ul class="list" ref={links} onKeyDown={key}>
          {list.map((x) => {
            const r = rateOf(x, now);
            const to = { view: "plugins" as const, plugin: x.id, trace: "" };
            return (
              <li key={x.id}>
                <a href={link(to)} data-id={x.id} aria-current={x === chosen} class={`plugin g${grave(x.state)}`}
                  onClick={(e) => { e.preventDefault(); go(to, p.route.plugin !== ""); }}>
                  <span class="shape" aria-hidden="true">{shapeOf(x.state)}</span>
                  <b class="id">{x.id}</b>
                  <span class="flow soft">{flow(x)}</span>
                  <span class="rate">{r === null || silent.has(x.state) ? "–" : r === 0 ? "idle" : `${rate(r)} ev/s`}</span>
                  <span class="state">{x.state.replace("-", " ")}</span>
                </a>
              </li>
            );
          })}
        </ul>
      </nav>
      <div class="detail-pane">
        {chosen ? <One key={chosen.id} plugin={chosen} trace={p.route.trace === "1"} close={close} /> : (
          <section class="detail"><p class="soft">{p.route.plugin ? `There is no plugin ${p.route.plugin} (any more).` : "Choose a plugin to see its events and errors."}</p></section>
        )}
      </div>
    </div>
  );
}

// useRefusal is why this user may not see plugins, "" if allowed, null while unknown.
function useRefusal(asks: boolean): string | null {
  const [why, set] = useState<string | null>(null);
  useEffect(() => {
    set(null);
    if (!asks) return;
    let on = true;
    const end = (text: string) => on && set(text);
    api.plugins().then(() => end(""), (e) => end(words(e)));
    return () => void (on = false);
  }, [asks]);
  return why;
}

const starter = `source: {timer: {every: 10s}}
publish:
  - topic: home/clock
    payload: "\${event.time}"
`;

function None() {
  const dir = useStore(figures).bus?.plugins_dir;
  return (
    <section class="empty">
      <p><b>No plugins yet.</b> A plugin is one YAML file; saved in {dir ? <code>{dir}</code> : "the plugins folder"}, it runs within a second.</p>
      {!dir && <p class="soft"><code>postbus run</code> prints where the folder is.</p>}
      <div class="title"><span>Save this as <code>{dir ? `${dir}/clock.yaml` : "clock.yaml"}</code>:</span><Copy text={starter} what="the file" /></div>
      <pre class="payload" tabIndex={0}>{starter}</pre>
      <p>More examples: <Command text="postbus plugin new --help" /></p>
    </section>
  );
}

// useErrors returns the errors of a plugin's file. What is published has no line of the file; the API shows them to
// administrators.
function useErrors(x: Plugin): FileError[] {
  const published = x.errors ?? [];
  const version = `${x.id} ${JSON.stringify(published)}`;
  const [asked, answered] = useState<{ version: string; errors: FileError[] }>();
  useEffect(() => {
    if (published.length === 0) return;
    let gone = false;
    api.plugin(x.id).then(
      (p) => gone || answered({ version, errors: p.errors ?? [] }),
      () => undefined, // the published ones stay
    );
    return () => {
      gone = true;
    };
  }, [version]);
  return asked?.version === version ? asked.errors : published;
}

function One(p: { plugin: Plugin; trace: boolean; close: () => void }) {
  const x = p.plugin;
  const now = useNow();
  const errors = useErrors(x);
  // The reason repeats the errors, which are shown below with their lines.
  const reason = errors.length > 0 ? (x.state === "stale" ? `generation ${x.generation} keeps running, the file was refused` : "the file was refused") : x.reason;
  return (
    <section class="detail" aria-label={`Plugin ${x.id}`}>
      <div class="detail-top">
        <button type="button" class="quiet back" onClick={p.close} aria-label="back to the plugins">‹</button>
        <h2>{x.id}</h2>
        <button type="button" class="quiet close" onClick={p.close} aria-label="close">×</button>
      </div>
      {x.description && <p>{x.description}</p>}
      <p class={`state-line g${grave(x.state)}`} role="status">
        <span class="shape" aria-hidden="true">{shapeOf(x.state)}</span> <b>{x.state.replace("-", " ")}</b>{reason ? `: ${reason}` : ""} <span class="soft" title={exact(Date.parse(x.since))}>for {duration((now - Date.parse(x.since)) / 1000)}</span>
      </p>
      {errors.map((e) => (
        <div class="error" role="alert" key={e.text}>
          <div class="title"><span>{e.line > 0 ? `line ${e.line}` : "error"}</span><Copy text={e.text} what="the error" /></div>
          <pre tabIndex={0} aria-label={`error in line ${e.line}`}><Mistake text={e.text.replace(/\n+$/, "")} /></pre>
        </div>
      ))}
      {x.approve && x.approve.length > 0 && (
        <div class="approve">
          <p>It asks for permission to:</p>
          <ul>{x.approve.map((a) => <li key={a}><code>{a}</code></li>)}</ul>
          <p>If you trust this file: <Command text={`postbus plugin approve ${x.id}`} /></p>
        </div>
      )}
      <Parts title="sources" parts={x.sources} />
      <Parts title="actions" parts={x.actions} />
      <CountersLine plugin={x} />
      {x.last_error && (
        <p class="last-error"><span class="soft">last error{x.last_error_at && <> <Ago at={Date.parse(x.last_error_at)} /></>}: </span>{x.last_error}</p>
      )}
      <p class="soft small">file <code>{x.file}</code> <Copy text={x.file} what="the file's path" /></p>
      <div class="buttons">
        <button type="button" aria-expanded={p.trace} onClick={() => go({ trace: p.trace ? "" : "1" }, true)}>trace {p.trace ? "▾" : "▸"}</button>
        {x.topics?.slice(0, 3).map((t) => {
          const filter = filterOf(t);
          const to = /[+#]/.test(filter) ? { view: "live" as const, filter, topic: "" } : { view: "live" as const, filter: "", topic: filter };
          return <a class="button" key={t} href={link(to)} onClick={(e) => { e.preventDefault(); go(to); }}>history of {filter} ▸</a>;
        })}
      </div>
      {p.trace && <TraceBox id={x.id} />}
    </section>
  );
}

// Mistake is the text of the command line. Sentences are wrapped, the line of the file and its caret are not.
function Mistake(p: { text: string }) {
  const lines = p.text.split("\n");
  const kind = (l: string, i: number) => (/^ *hint: /.test(l) ? "wrap hint" : i === 0 ? "wrap" : "");
  return <>{lines.map((l, i) => <span key={i} class={kind(l, i)}>{i < lines.length - 1 ? l + "\n" : l}</span>)}</>;
}

// filterOf makes a filter of a topic with expressions: a filled-in value stays within its level.
export function filterOf(topic: string): string {
  return topic.replace(/\$\{[^}]*\}/g, "\0").split("/").map((l) => (l.includes("\0") ? "+" : l)).join("/");
}

function Parts(p: { title: string; parts: Plugin["sources"] }) {
  const troubled = p.parts?.filter((s) => s.error) ?? [];
  if (troubled.length === 0) return null;
  return (
    <>
      <h3>{p.title}</h3>
      {troubled.map((s) => (
        <p key={s.name} class={`state-line g${grave(s.state)}`}>
          <span class="shape" aria-hidden="true">{shapeOf(s.state)}</span> <b>{s.name}</b> {s.state}: {s.error}
          {s.again && <span class="soft"> tried again at {clockTime(Date.parse(s.again))}</span>}
        </p>
      ))}
    </>
  );
}

function CountersLine(p: { plugin: Plugin }) {
  return (
    <p class="counters" aria-label="Counters">
      {countersOf(p.plugin).map((c) => <span key={c.name} data-bad={c.bad}>{c.name} <b>{count(c.n)}</b></span>)}
    </p>
  );
}

const keptTraces = 200;

// TraceBox subscribes while it is open: the bus publishes no trace without a subscriber.
function TraceBox(p: { id: string }) {
  const lines = useRef<(Trace & { n: number })[]>([]);
  const [, again] = useState(0);
  useEffect(() => {
    lines.current = [];
    let n = 0;
    let timer = 0;
    const stop = listen(p.id, (t) => {
      lines.current.unshift({ ...t, n: n++ });
      if (lines.current.length > keptTraces) lines.current.length = keptTraces;
      timer ||= window.setTimeout(() => {
        timer = 0;
        again((x) => x + 1);
      }, 120);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [p.id]);
  const list = lines.current;
  return (
    <div class="trace" role="log" aria-label={`Trace of ${p.id}`} tabIndex={0}>
      {list.length === 0 && <p class="soft">waiting for the next event of {p.id} …</p>}
      {list.map((t) => <TraceLine key={t.n} t={t} />)}
    </div>
  );
}

function TraceLine(p: { t: Trace }) {
  const at = Date.parse(p.t.time);
  const event = useMemo(() => (p.t.event === undefined ? "" : formatJSON(p.t.event)!), [p.t]);
  return (
    <div class="trace-line">
      <p><time title={exact(at)}>{clockTime(at)}</time> {event && <code title={event}>{event.length > 240 ? event.slice(0, 240) + " …" : event}</code>}</p>
      {p.t.verdicts.map((v, i) => (
        <p class="verdict" key={i}><span class="soft">{v.rule}{v.line ? `, line ${v.line}` : ""}:</span> {v.text}</p>
      ))}
    </div>
  );
}
