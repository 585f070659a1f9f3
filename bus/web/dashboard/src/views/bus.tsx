// This file is the view Bus: rates, latency, journal, memory, the fleet, and the last warnings.

import type { ComponentChildren } from "preact";
import { count, duration, exact, millis, rate, size } from "../model/format";
import { spark } from "../model/ring";
import type { BusState, Quantiles } from "../state/api";
import { figures, lostOf, rateRing } from "../state/figures";
import { useNow, useStore } from "../state/store";
import { Ago, Slow } from "../shell/dialog";
import { FleetCard } from "./fleet";

export function Bus() {
  const f = useStore(figures);
  if (!f.bus) {
    return (
      <div class="page">
        {f.trouble ? <p class="bad" role="alert"><span aria-hidden="true">■ </span>{f.trouble}</p> : <Slow><p class="soft">loading …</p></Slow>}
      </div>
    );
  }
  return <Figures bus={f.bus} rate={f.rate} />;
}

function Card(p: { title: string; children: ComponentChildren }) {
  return <section class="card"><h2>{p.title}</h2>{p.children}</section>;
}

function Pairs(p: { of: [string, ComponentChildren, string?][] }) {
  return <dl>{p.of.map(([k, v, title]) => <div key={k} title={title}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

// bad shows a count that should be 0.
function bad(n: number): ComponentChildren {
  return n === 0 ? "0" : <span class="g2"><span class="shape" aria-hidden="true">■</span> {count(n)}</span>;
}

function per(n: number, events: number, form: (n: number) => string): string {
  return events > 0 ? form(n / events) : "–";
}

function retention(j: BusState["journal"]): string {
  const parts = [];
  if (j.retention_age_seconds) parts.push(duration(j.retention_age_seconds));
  if (j.retention_bytes) parts.push(size(j.retention_bytes));
  return parts.join(" or ") || "–";
}

function Figures(p: { bus: BusState; rate: number }) {
  const { bus: b } = p;
  const j = b.journal;
  const now = useNow();
  const width = 280;
  const lost = Object.entries(b.lost);
  return (
    <div class="page bus" tabIndex={0} role="region" aria-label="Metrics of the bus">
      <Card title="events">
        <p class="huge">{rate(p.rate)} <span class="soft">ev/s</span></p>
        <svg class="spark wide" viewBox={`0 0 ${width} 48`} preserveAspectRatio="none" role="img" aria-label="events a second, the last four minutes">
          <path d={spark(rateRing.length, (i) => rateRing.get(i), width, 48)} />
        </svg>
        <Pairs of={[
          ["accepted", count(b.published)],
          ["dropped at QoS 0", count(b.dropped), "deliveries dropped because the client's buffer was full"],
          ["lost", lostOf(b) === 0 ? "0" : <span class="g1"><span class="shape" aria-hidden="true">▲</span> {lost.map(([why, n]) => `${count(n)} ${why}`).join(", ")}</span>],
          ["retained", `${count(b.retained)}, ${size(b.retained_bytes)}`],
        ]} />
      </Card>
      <Card title="latency">
        <table class="quantiles">
          <thead><tr><th scope="col"><span class="off-screen">what</span></th><th scope="col" class="num">median</th><th scope="col" class="num">90 %</th><th scope="col" class="num">99 %</th></tr></thead>
          <tbody>
            <QuantilesRow name="acknowledgement" q={j.commit_seconds} />
            <QuantilesRow name="disk sync" q={j.sync_seconds} />
          </tbody>
        </table>
        <p class="soft small">percentiles since the start</p>
        <Pairs of={[
          ["syncs per event", per(j.syncs, j.records, (n) => n.toFixed(n < 0.1 ? 3 : 2)), "one sync covers all waiting events"],
          ["written per event", per(j.written_bytes, j.records, size), "a measure of disk wear"],
        ]} />
      </Card>
      <Card title="journal">
        <Pairs of={[
          ["size", `${size(j.disk_bytes)} in ${count(j.segments)} ${j.segments === 1 ? "segment" : "segments"}`],
          ["retention", retention(j), "and all events that a session has not acknowledged"],
          ["records", `${count(j.first)} to ${count(j.last)}`],
          ["written", `${size(j.written_bytes)}, ${count(j.syncs)} syncs`],
          ["free on disk", size(j.free_bytes)],
          ["damaged", bad(j.damaged)],
          ["missing", bad(j.missing)],
        ]} />
      </Card>
      <Card title="connections">
        <Pairs of={[
          ...Object.entries(b.connections).map(([l, n]): [string, string] => [l, count(n)]),
          ["sessions", `${count(b.sessions)}, ${count(b.online)} online`],
          ["subscriptions", count(b.subscriptions)],
        ]} />
      </Card>
      <Card title="process">
        <Pairs of={[
          ["memory", `${size(b.memory.heap_bytes)} of ${size(b.memory.system_bytes)}`, "heap, of the memory that the process has from the system"],
          ["goroutines", count(b.memory.goroutines)],
          ["version", b.version],
          ["host", b.host],
          ["uptime", <span title={exact(Date.parse(b.started))}>{duration((now - Date.parse(b.started)) / 1000)}</span>],
        ]} />
      </Card>
      <FleetCard />
      <section class="card full">
        <h2>last warnings</h2>
        {b.warnings.length === 0 ? <p class="soft">None since the start.</p> : (
          <ul class="warnings">
            {b.warnings.map((w, i) => (
              <li key={`${w.time}${i}`} class={w.level === "ERROR" ? "g2" : "g1"}>
                <span class="shape" aria-hidden="true">{w.level === "ERROR" ? "■" : "▲"}</span>
                <span class="level">{w.level.toLowerCase()}</span>
                <span class="text">{w.text}</span>
                <span class="soft"><Ago at={Date.parse(w.time)} /></span>
              </li>
            ))}
          </ul>
        )}
      </section>
    </div>
  );
}

function QuantilesRow(p: { name: string; q: Quantiles }) {
  return <tr><th scope="row">{p.name}</th><td class="num">{millis(p.q.p50)}</td><td class="num">{millis(p.q.p90)}</td><td class="num">{millis(p.q.p99)}</td></tr>;
}
