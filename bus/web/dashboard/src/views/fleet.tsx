// This file is the card Fleet of the view Bus: for each hub whether events are exchanged with it, and the other buses.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { count, plural } from "../model/format";
import { api, type Fleet, type FleetPeer } from "../state/api";
import { Ago } from "../shell/dialog";

const every = 2000;
const shownPeers = 100;

// useFleet polls while the view is open and visible. A bus in no fleet answers with an empty list.
function useFleet(): Fleet[] {
  const [list, set] = useState<Fleet[]>([]);
  useEffect(() => {
    let on = true;
    const look = () => {
      if (!document.hidden) api.fleet().then((l) => on && set(l), () => undefined); // the metrics beside it report the error
    };
    look();
    const t = setInterval(look, every);
    return () => {
      on = false;
      clearInterval(t);
    };
  }, []);
  return list;
}

export function FleetCard() {
  const list = useFleet();
  if (list.length === 0) return null;
  return (
    <section class="card full">
      <h2>fleet</h2>
      {list.map((f, i) => <Entry key={`${f.fleet} ${i}`} f={f} />)}
    </section>
  );
}

const shapes = { g0: "●", g1: "▲", g2: "■" };
const words: Record<string, string> = { conflict: "another bus has this name" };

function Entry(p: { f: Fleet }) {
  const f = p.f;
  const grade = f.state === "online" ? "g0" : f.state === "connecting" ? "g1" : "g2";
  const peers = Object.entries(f.peers).sort(([a, p], [b, q]) => Number(troubled(q)) - Number(troubled(p)) || a.localeCompare(b, "en", { numeric: true }));
  return (
    <div class="fleet">
      <p class={`state-line ${grade}`}>
        <span class="shape" aria-hidden="true">{shapes[grade]}</span> <b>{f.fleet}</b>: {words[f.state] ?? f.state}
        <span class="soft"> as <b>{f.bus}</b> at {(f.hub ?? []).join(", ")}</span>
      </p>
      {f.error && (
        <p class="bad why" role="alert">{f.error}{f.hint && <span class="block soft">{f.hint}</span>}</p>
      )}
      <p class="counters">
        <span title="records of the journal that are not on the hub yet"><b>{count(f.waiting)}</b> to send</span>
        <span title="messages on the hub that were not read yet"><b>{count(f.behind)}</b> to read</span>
        <span><b>{count(f.sent)}</b> sent</span>
        <span><b>{count(f.received)}</b> received</span>
      </p>
      {peers.length === 0 ? <p class="soft">No event of another bus yet.</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Other buses of the fleet ${f.fleet}, a table`}>
          <table class="sessions">
            <thead>
              <tr><th scope="col">bus</th><th scope="col">last event</th><th scope="col" class="num">events</th><th scope="col" class="num">lost</th><th scope="col" class="num">expired</th><th scope="col" class="num">refused</th></tr>
            </thead>
            <tbody>{peers.slice(0, shownPeers).map(([name, x]) => <Peer key={name} name={name} p={x} />)}</tbody>
          </table>
        </div>
      )}
      {peers.length > shownPeers && <p class="soft">and {plural(peers.length - shownPeers, "other bus", "other buses")}</p>}
    </div>
  );
}

function troubled(p: FleetPeer): boolean {
  return p.lost > 0 || p.refused > 0;
}

function Peer(p: { name: string; p: FleetPeer }) {
  const x = p.p;
  return (
    <tr>
      <th scope="row"><b>{p.name}</b>{x.problem && <span class="small block g1">{x.problem}</span>}</th>
      <td data-label="last event"><Ago at={x.last ? Date.parse(x.last) : 0} /></td>
      <td data-label="events" class="num">{count(x.events)}</td>
      <td data-label="lost" class="num">{amber(x.lost)}</td>
      <td data-label="expired" class="num">{count(x.expired)}</td>
      <td data-label="refused" class="num">{amber(x.refused)}</td>
    </tr>
  );
}

// amber marks a count that should be 0.
function amber(n: number): ComponentChildren {
  return n === 0 ? "0" : <span class="g1"><span class="shape" aria-hidden="true">▲</span> {count(n)}</span>;
}
