// This file shows one payload: formatted JSON, text, an image, or hex.

import { useEffect, useMemo, useState } from "preact/hooks";
import { count, size } from "../model/format";
import { show } from "../model/payload";

export function PayloadView(p: { payload: Uint8Array; size: number }) {
  const shown = useMemo(() => show(p.payload), [p.payload]);
  if (shown.kind === "empty") return <p class="soft">empty payload</p>;
  if (shown.kind === "image") {
    if (p.payload.length < p.size) return <p class="soft">an image of {size(p.size)}, too large to show here</p>;
    return <Picture payload={p.payload} type={shown.type} />;
  }
  const cut = shown.cut + (p.size - p.payload.length);
  return (
    <>
      <pre class={`payload ${shown.kind}`} tabIndex={0} aria-label="Payload">{shown.text}</pre>
      {cut > 0 && <p class="soft">and {count(cut)} bytes more</p>}
    </>
  );
}

function Picture(p: { payload: Uint8Array; type: string }) {
  const [url, set] = useState("");
  const [bad, setBad] = useState(false);
  useEffect(() => {
    const u = URL.createObjectURL(new Blob([p.payload as Uint8Array<ArrayBuffer>], { type: p.type }));
    set(u);
    setBad(false);
    return () => URL.revokeObjectURL(u);
  }, [p.payload]);
  if (!url) return null;
  if (bad) return <p class="soft">an image that cannot be read ({size(p.payload.length)})</p>;
  return <img class="payload" src={url} alt={`the payload, ${p.type}, ${size(p.payload.length)}`} onError={() => setBad(true)} />;
}
