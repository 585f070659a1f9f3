// This file is the bar that shows a lost connection and, after reconnecting, how much was
// missed. It overlays the page, so that nothing moves.

import { useEffect } from "preact/hooks";
import { count, duration, exact, clockTime } from "../model/format";
import { back, link as connection, retry } from "../state/feed";
import { useNow, useStore } from "../state/store";
import { Slow } from "./dialog";

const shownFor = 30_000;

export function Bar() {
  const l = useStore(connection);
  const b = useStore(back);
  const now = useNow();
  useEffect(() => {
    if (!b) return;
    const t = setTimeout(() => back.get() && back.set(null), shownFor);
    return () => clearTimeout(t);
  }, [b?.away]);
  return (
    <div class="bar-place" role="status" aria-live="polite">
      {l.state === "offline" && (
        <Slow>
          <div class="bar">
            <span><span class="shape g2" aria-hidden="true">■</span> Connection lost at <time title={exact(l.since)}>{clockTime(l.since)}</time>, <span aria-live="off">{duration((now - l.since) / 1000)} ago</span>. The page shows the values from then, and is reconnecting.</span>
            <button type="button" class="quiet" onClick={retry}>try now</button>
          </div>
        </Slow>
      )}
      {l.state === "online" && b && (
        <div class="bar">
          <span data-missed={b.missed}><span class="shape g0" aria-hidden="true">●</span> Reconnected after {b.away < 1500 ? "a moment" : duration(b.away / 1000)}{missed(b)}</span>
          <button type="button" class="quiet" onClick={() => back.set(null)} aria-label="dismiss">×</button>
        </div>
      )}
    </div>
  );
}

function missed(b: { missed: number; filled: boolean }): string {
  if (b.missed < 0) return ".";
  if (!b.filled) return `. About ${count(b.missed)} events were missed; the latest retained values are shown.`;
  if (b.missed === 0) return ". No event was missed.";
  return b.missed === 1 ? ". 1 missed event was loaded." : `. ${count(b.missed)} missed events were loaded.`;
}
