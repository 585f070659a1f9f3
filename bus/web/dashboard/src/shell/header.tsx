// This file is the header: the host, the health of the bus with its reason, the event rate, and
// the tabs of the four views.

import { useEffect } from "preact/hooks";
import { count, millis, rate } from "../model/format";
import { spark } from "../model/ring";
import type { BusState } from "../state/api";
import { figures, lostOf, rateRing } from "../state/figures";
import { link as connection, loss } from "../state/feed";
import { login, setLogin } from "../state/login";
import { grave, plugins } from "../state/plugins";
import { go, link, views, type Route, type View } from "../state/route";
import { useNow, useStore } from "../state/store";
import { openSearch } from "./search";

const lossShown = 60_000; // milliseconds

interface Health {
  grave: 0 | 1 | 2;
  word: string;
  reason: string;
}

// useHealth returns the state of the bus in words, the most severe first.
function useHealth(): Health {
  const l = useStore(connection);
  const f = useStore(figures);
  const lost = useStore(loss);
  const now = useNow(5000);
  if (l.state === "refused") return { grave: 2, word: "not logged in", reason: l.reason };
  if (l.state === "offline") return { grave: 2, word: "offline", reason: l.reason || "the bus is not reachable" };
  if (f.bus && !f.bus.ready) return { grave: 2, word: "accepts no events", reason: f.bus.reason ?? "" };
  if (l.state === "connecting") return { grave: 1, word: "connecting", reason: "" };
  if (lost && now - lost.at < lossShown) return { grave: 1, word: "online", reason: lost.text };
  return { grave: 0, word: "online", reason: "" };
}

const names: Record<View, string> = { live: "Live", plugins: "Plugins", sessions: "Sessions", bus: "Bus" };
const shapes = ["●", "▲", "■"];

function lossTitle(b: BusState): string {
  const total = lostOf(b);
  if (total === 0) return "no acknowledged event was lost";
  return `${count(b.lost_last_hour)} lost in the last hour; since the start: ${Object.entries(b.lost).map(([why, n]) => `${count(n)} ${why}`).join(", ")}`;
}

export function Header(p: { route: Route }) {
  const h = useHealth();
  const f = useStore(figures);
  const list = useStore(plugins);
  const troubled = list.filter((x) => grave(x.state) > 0).length;
  const b = f.bus;
  useEffect(() => {
    const name = names[p.route.view];
    document.title = `${h.grave === 2 ? "■ " : ""}${name} · ${b?.host ?? "postbus"}`;
  }, [p.route.view, b?.host, h.grave]);

  const key = (e: KeyboardEvent) => {
    const i = views.indexOf(p.route.view);
    const to = e.key === "ArrowRight" ? i + 1 : e.key === "ArrowLeft" ? i - 1 : e.key === "Home" ? 0 : e.key === "End" ? 3 : NaN;
    if (Number.isNaN(to)) return;
    e.preventDefault();
    const v = views[(to + 4) % 4]!;
    go({ view: v });
    document.getElementById(`tab-${v}`)?.focus();
  };
  const lost = b?.lost_last_hour ?? 0; // older losses are in the view Bus
  return (
    <header class={`top g${h.grave}`}>
      <div class="status">
        <h1>postbus <b>{b?.host ?? ""}</b></h1>
        <p class="health" role="status" aria-live="polite" data-grave={h.grave}>
          <span class="shape" aria-hidden="true">{shapes[h.grave]}</span> <b>{h.word}</b>{h.reason && <>{" "}<span class="reason">{h.reason}</span></>}
        </p>
        {b && (
          <ul class="figures" aria-label="Figures">
            <li title="events accepted a second"><b>{rate(f.rate)}</b> ev/s
              <svg class="spark" viewBox="0 0 48 16" aria-hidden="true"><path d={spark(Math.min(rateRing.length, 30), (i) => rateRing.get(i + Math.max(0, rateRing.length - 30)), 48, 16)} /></svg>
            </li>
            <li class={lost ? "g1" : ""} title={lossTitle(b)}>
              {lost > 0 && <span class="shape" aria-hidden="true">▲</span>}<b>{count(lost)}</b> lost
            </li>
            <li title={`a disk sync takes less than ${millis(b.journal.sync_seconds.p50)} half of the time, ${millis(b.journal.sync_seconds.p99)} 99 times in 100`}>disk <b>{millis(b.journal.sync_seconds.p50)}</b></li>
          </ul>
        )}
      </div>
      <div class="tabs">
        <div role="tablist" aria-label="Views" onKeyDown={key}>
          {views.map((v) => (
            <a key={v} id={`tab-${v}`} role="tab" href={link({ view: v })} aria-selected={v === p.route.view} aria-controls="view" tabIndex={v === p.route.view ? 0 : -1}
              onClick={(e) => { if (e.ctrlKey || e.metaKey) return; e.preventDefault(); go({ view: v }); }}>
              {names[v]}
              {v === "plugins" && troubled > 0 && <span class="trouble" title={`${troubled} in trouble`}> {troubled}!<span class="off-screen"> in trouble</span></span>}
            </a>
          ))}
        </div>
        {login() && <button type="button" class="quiet" onClick={() => { setLogin(null); location.reload(); }}>log out {login()!.user}</button>}
        <button type="button" class="search-button" onClick={openSearch} aria-keyshortcuts="Control+K Meta+K"><kbd>{/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</kbd><span>search</span></button>
      </div>
    </header>
  );
}
