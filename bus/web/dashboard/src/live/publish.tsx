// This file is the publish form, and its result: durable, or the error.

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { count, millis } from "../model/format";
import { api, words } from "../state/api";

interface Result {
  ok: boolean;
  text: string;
}

export function PublishBox(p: { topic: string; payload?: string }) {
  const id = useId();
  const [topic, setTopic] = useState(p.topic);
  const [payload, setPayload] = useState(p.payload ?? "");
  const [qos, setQos] = useState(1);
  const [retain, setRetain] = useState(false);
  const [result, setResult] = useState<Result | null>(null);
  const [busy, setBusy] = useState(false);

  // A changed suggestion does not overwrite the user's input.
  const touched = useRef(false);
  useEffect(() => {
    if (touched.current) return;
    setTopic(p.topic);
    setPayload(p.payload ?? "");
  }, [p.topic, p.payload]);

  const send = async (e?: Event) => {
    e?.preventDefault();
    if (busy) return;
    touched.current = true;
    setBusy(true);
    const from = performance.now();
    try {
      const { seq } = await api.publish({ topic, payload, qos, retain });
      const took = millis((performance.now() - from) / 1000);
      // A retained event is stored whatever its QoS.
      setResult({ ok: true, text: seq > 0 ? `durable: event ${count(seq)}, after ${took}` : "sent; events of QoS 0 are not stored" });
    } catch (err) {
      setResult({ ok: false, text: words(err) });
    } finally {
      setBusy(false);
    }
  };

  return (
    <form class="publish" onSubmit={send} onInput={() => (touched.current = true)} aria-label="Publish">
      <label class="wide" for={id + "t"}>
        <span>topic</span>
        <input id={id + "t"} value={topic} onInput={(e) => setTopic(e.currentTarget.value)} autocomplete="off" spellcheck={false} required placeholder="home/door" />
      </label>
      <label class="wide" for={id + "p"}>
        <span>payload</span>
        <textarea
          id={id + "p"}
          rows={2}
          value={payload}
          spellcheck={false}
          onInput={(e) => setPayload(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) void send(e);
          }}
        />
      </label>
      <div class="line">
        <label for={id + "q"}>
          <span>QoS</span>
          <select id={id + "q"} value={qos} onChange={(e) => setQos(Number(e.currentTarget.value))}>
            <option value={0}>0: at most once</option>
            <option value={1}>1: at least once</option>
            <option value={2}>2: once</option>
          </select>
        </label>
        <label class="check">
          <input type="checkbox" checked={retain} onChange={(e) => setRetain(e.currentTarget.checked)} />
          <span>retain</span>
        </label>
        <button type="submit" class="main" title="Ctrl Enter in the payload" disabled={busy}>Send</button>
      </div>
      <p class="result" role="status" data-ok={result?.ok}>
        {result && <><span aria-hidden="true">{result.ok ? "● " : "■ "}</span>{result.text}</>}
      </p>
    </form>
  );
}
