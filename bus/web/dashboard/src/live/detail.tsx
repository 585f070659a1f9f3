// This file is the right half of Live: one topic with its plot, its last messages, its payload, and a
// box to publish.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { clockTime, count, exact, farOf, plural, shownSource, size, value } from "../model/format";
import { members, numberIn, numberText } from "../model/numeric";
import { loose, preview, textOf } from "../model/payload";
import type { Node } from "../model/tree";
import { api, payloadOf, words } from "../state/api";
import { journalOf, tree } from "../state/feed";
import { go, link, type Route } from "../state/route";
import { Ago, Copy, confirm, Slow } from "../shell/dialog";
import { History, ranges, timeOf, type Message } from "./history";
import { PayloadView } from "./payloadview";
import { Plot } from "./plot";
import { PublishBox } from "./publish";
import { Causes, Why } from "./why";

const drawEvery = 250;
const drawFirst = 40;
const history = new History();

// useHistory subscribes while the topic is shown, and draws at most four times a second.
function useHistory(topic: string, range: string, member: string): History {
  const [, again] = useState(0);
  const epoch = journalOf();
  useEffect(() => {
    let timer = 0;
    let wait = drawFirst;
    history.changed = () => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        if (history.total > 0) wait = drawEvery;
        again((n) => n + 1);
      }, wait);
    };
    history.show(topic, range, member);
    again((n) => n + 1);
    return () => clearTimeout(timer);
  }, [topic, range, member, epoch]);
  useEffect(() => () => history.hide(), []);
  // Relative times and the right edge of the plot move on without events.
  useEffect(() => {
    const t = setInterval(() => !document.hidden && again((n) => n + 1), 1000);
    return () => clearInterval(t);
  }, []);
  return history;
}

export async function clearRetained(topic: string): Promise<void> {
  if (!(await confirm("Clear the retained event?", `The bus deletes the retained value of ${topic}. New subscribers get no value until the next event.`, "Clear"))) return;
  try {
    await api.publish({ topic, payload: "", qos: 1, retain: true });
  } catch (e) {
    await confirm("Clearing failed", words(e), "Close");
  }
}

// useRetained fetches the retained event when the tree has not got it, or not the whole of it.
function useRetained(topic: string, wanted: boolean): Message | null {
  const [got, set] = useState<{ topic: string; m: Message } | null>(null);
  useEffect(() => {
    if (!wanted || /[+#]/.test(topic)) return;
    let on = true;
    api.topics(topic).then((list) => {
      const e = list[0];
      if (!on || !e) return;
      const payload = payloadOf(e);
      set({ topic, m: { seq: e.seq, time: Date.parse(e.time), qos: e.qos, size: payload.length, retain: e.retain, source: e.source, there: timeOf(e.origin?.time), payload } });
    }, () => undefined);
    return () => {
      on = false;
    };
  }, [topic, wanted]);
  return got?.topic === topic ? got.m : null;
}

export function Detail(p: { route: Route; close: () => void }) {
  const { topic, range, member } = p.route;
  const node = tree.get(topic);
  if (node && !node.has) return <Branch node={node} close={p.close} />;
  return <Topic topic={topic} range={ranges[range] ? range : "10m"} member={member} node={node} close={p.close} />;
}

function Top(p: { topic: string; close: () => void }) {
  return (
    <div class="detail-top">
      <button type="button" class="quiet back" onClick={p.close} aria-label="back to the topics">‹</button>
      <h2 title={p.topic}>{p.topic}</h2>
      <Copy text={p.topic} what="the topic" />
      <button type="button" class="quiet close" onClick={p.close} aria-label="close">×</button>
    </div>
  );
}

function Branch(p: { node: Node; close: () => void }) {
  const n = p.node;
  const filter = n.path + "/#";
  return (
    <section class="detail" aria-label={`Branch ${n.path}`}>
      <Top topic={n.path} close={p.close} />
      <p>{plural(n.topics, "topic")} below it, none of its own.</p>
      <p class="buttons">
        <a class="button" href={link({ filter })} onClick={(e) => { e.preventDefault(); go({ filter }); }}>Show only {filter}</a>
        <Copy text={filter} label="copy the filter" what="the filter" />
      </p>
      <h3>publish</h3>
      <PublishBox key={n.path} topic={n.path + "/"} />
    </section>
  );
}

function Topic(p: { topic: string; range: string; member: string; node: Node | undefined; close: () => void }) {
  const h = useHistory(p.topic, p.range, p.member);
  const node = p.node;
  const retained = useRetained(p.topic, !node || node.size > node.payload.length);
  const newest: Message | null = useMemo(() => {
    const last = h.messages[0];
    if (last && (!node || last.time >= node.time)) return last;
    if (retained && (!node || retained.seq === node.seq)) return retained;
    if (!node) return null;
    return { seq: node.seq, time: node.time, qos: -1, size: node.size, retain: node.retained, source: node.source, payload: node.payload };
  }, [h.messages[0], retained, node?.version]);

  const text = useMemo(() => (newest && newest.payload.length <= 65_536 ? textOf(newest.payload) : null), [newest]);
  const paths = useMemo(() => (text ? members(text) : []), [text]);
  const number = text === null ? NaN : numberIn(text, p.member);
  const numeric = h.points.x.length > 0 || !Number.isNaN(number);
  const isRetained = node?.retained ?? retained !== null;
  return (
    <section class="detail" aria-label={`Topic ${p.topic}`}>
      <Top topic={p.topic} close={p.close} />
      {newest ? (
        <p class="now">
          <strong class="big">{(text !== null && numberText(text, p.member)) || preview(newest.payload, newest.size, 60)}</strong>
          {p.member && <span class="soft">{p.member}</span>}
          <span class="soft"><Ago at={newest.time} /></span>
          {isRetained && (
            <span class="retained">
              <span class="badge" aria-hidden="true">R</span> retained
              <button type="button" class="quiet" onClick={() => void clearRetained(p.topic)}>clear</button>
            </span>
          )}
        </p>
      ) : (
        h.standing && (
          <>
            <p class="soft">No event of this topic yet{h.reason ? `: ${h.reason}` : "."}</p>
            <Why topic={p.topic} />
          </>
        )
      )}
      {newest && <Who key={p.topic} source={newest.source} there={newest.there} seq={newest.seq} />}
      {numeric && <PlotBox h={h} range={p.range} member={p.member} paths={paths} node={node} />}
      {newest && (
        <>
          <div class="title"><h3>payload</h3><Copy text={text ?? loose(newest.payload)} what="the payload" /></div>
          <PayloadView payload={newest.payload} size={newest.size} />
        </>
      )}
      <Messages h={h} range={p.range} />
      <h3>publish</h3>
      <PublishBox key={p.topic} topic={p.topic} />
    </section>
  );
}

// Who shows the publisher of an event; for a plugin it links to its trace.
function Who(p: { source: string; there: number | undefined; seq: number }) {
  const plugin = p.source.startsWith("plugin:") ? p.source.slice(7) : "";
  if (plugin) {
    const to = { view: "plugins" as const, plugin, trace: "1" };
    return (
      <>
        <p class="who">published by plugin <b>{plugin}</b>{" "}
          <a href={link(to)} onClick={(e) => { e.preventDefault(); go(to); }}>→ trace</a>
        </p>
        {p.seq > 0 && <Causes seq={p.seq} />}
      </>
    );
  }
  if (!p.source) return null;
  return <p class="who soft">published by {who(p.source)}{p.there && <>, accepted there <Ago at={p.there} /></>}</p>;
}

function who(source: string): string {
  const far = farOf(source);
  if (far) return `${who(far.source)} at ${far.bus}`;
  if (source === "http") return "the web (HTTP)";
  if (source.startsWith("http:")) return `${source.slice(5)} (HTTP)`;
  return source === "bus" ? "the bus itself" : source;
}

function PlotBox(p: { h: History; range: string; member: string; paths: string[]; node: Node | undefined }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [said, say] = useState("");
  const span = ranges[p.range]!;
  useEffect(() => {
    plot.current = new Plot(place.current!, span, say);
    return () => plot.current?.end();
  }, [p.range]);
  useEffect(() => plot.current?.show(p.h.points, span));
  const { x, y, thinned } = p.h.points;
  const low = y.length ? value(y.reduce((a, b) => Math.min(a, b))) : "–";
  const high = y.length ? value(y.reduce((a, b) => Math.max(a, b))) : "–";
  const choose = (member: string) => {
    if (p.node) tree.choose(p.node, member);
    go({ member }, true);
  };
  return (
    <div class="plot">
      <div class="plot-top">
        <div class="choice" role="group" aria-label="Range">
          {Object.keys(ranges).map((r) => (
            <button type="button" key={r} aria-pressed={r === p.range} onClick={() => go({ range: r }, true)}>{r}</button>
          ))}
        </div>
        {p.paths.length > 1 && (
          <label class="member"><span class="soft">of</span>
            <select value={p.member || p.paths[0]} onChange={(e) => choose(e.currentTarget.value)} aria-label="Number that is plotted">
              {p.paths.map((m) => <option key={m} value={m}>{m}</option>)}
            </select>
          </label>
        )}
        <span class="soft said">{said || `${plural(x.length, "point")}${thinned ? ", thinned" : ""}, ${low} to ${high}`}</span>
      </div>
      <div ref={place} class="canvas" role="img" aria-label={`Plot of the last ${p.range}: ${plural(x.length, "point")}, from ${low} to ${high}`} data-points={x.length} data-total={p.h.total - p.h.texts} />
    </div>
  );
}

const shownMessages = 20;

function Messages(p: { h: History; range: string }) {
  const list = p.h.messages.slice(0, shownMessages);
  return (
    <>
      <div class="title">
        <h3>last messages</h3>
        <span class="soft" title={exact(p.h.from)}>{p.h.total > 0 && `${count(p.h.total)} since ${clockTime(p.h.from)}`}</span>
      </div>
      {p.h.reason && <p class="bad"><span aria-hidden="true">■ </span>{p.h.reason}</p>}
      {!p.h.standing && <Slow><p class="soft">reading the journal …</p></Slow>}
      {p.h.standing && list.length === 0 && !p.h.reason && <p class="soft">None in the last {p.range}. QoS 0 is not kept: only what comes now is seen.</p>}
      {list.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Last messages">
          <table class="messages">
            <thead><tr><th scope="col" class="num">seq</th><th scope="col">time</th><th scope="col" class="num">QoS</th><th scope="col" class="num">size</th><th scope="col">who</th><th scope="col">value</th></tr></thead>
            <tbody>
              {list.map((m) => (
                <tr key={m.seq ? `${m.seq}` : `t${m.time}`}>
                  <td class="num">{m.seq || "–"}</td>
                  <td title={exact(m.time)}>{clockTime(m.time)}</td>
                  <td class="num">{m.qos}{m.retain && <span class="badge" title="published with retain">R</span>}</td>
                  <td class="num">{size(m.size)}</td>
                  <td class="who-cell" title={m.there ? `${m.source}, accepted there ${exact(m.there)}` : m.source}>{shownSource(m.source)}</td>
                  <td class="value-cell">{preview(m.payload, m.size, 80)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
