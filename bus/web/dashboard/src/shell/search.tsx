// This file is the search over views, topics, plugins and sessions (Ctrl-K).

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { api } from "../state/api";
import { tree } from "../state/feed";
import { plugins } from "../state/plugins";
import { go, views, type Route } from "../state/route";
import { store, useStore } from "../state/store";

const open = store(false);
const limit = 30;

export function openSearch(): void {
  open.set(true);
}

interface Hit {
  kind: string;
  text: string;
  to: Partial<Route>;
}

function find(text: string, sessions: string[]): Hit[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (s: string) => words.every((w) => s.toLowerCase().includes(w));
  const out: Hit[] = [];
  for (const v of views) if (fits(v)) out.push({ kind: "view", text: v[0]!.toUpperCase() + v.slice(1), to: { view: v } });
  for (const p of plugins.get()) if (fits(p.id)) out.push({ kind: "plugin", text: p.id, to: { view: "plugins", plugin: p.id, trace: "" } });
  for (const s of sessions) if (words.length > 0 && fits(s)) out.push({ kind: "session", text: s, to: { view: "sessions" } });
  if (words.length > 0) for (const n of tree.search(words, limit)) out.push({ kind: "topic", text: n.path, to: { view: "live", topic: n.path, member: n.member } });
  return out.slice(0, limit + 10);
}

export function Search() {
  const shown = useStore(open);
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (e.key.toLowerCase() === "k" && (e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey) {
        e.preventDefault();
        open.set(!open.get());
      }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  return shown ? <Box /> : null;
}

function Box() {
  const ref = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [sessions, setSessions] = useState<string[]>([]);
  useLayoutEffect(() => ref.current?.showModal(), []);
  useEffect(() => {
    api.sessions().then((l) => setSessions(l.map((s) => s.name)), () => undefined);
  }, []);
  const hits = find(text, sessions);
  const close = () => {
    ref.current?.close();
    open.set(false);
  };
  const jump = (h: Hit | undefined) => {
    if (!h) return;
    close();
    go(h.to);
  };
  const key = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown") setAt(Math.min(at + 1, hits.length - 1));
    else if (e.key === "ArrowUp") setAt(Math.max(at - 1, 0));
    else if (e.key === "Enter") jump(hits[at]);
    else return;
    e.preventDefault();
  };
  useEffect(() => ref.current?.querySelector(`#hit-${at}`)?.scrollIntoView({ block: "nearest" }), [at]);
  return (
    <dialog ref={ref} class="search" aria-label="Search" onCancel={(e) => { e.preventDefault(); close(); }} onClick={(e) => e.target === ref.current && close()}>
      <input value={text} placeholder="topic, plugin, session or view" role="combobox" aria-label="Search" aria-expanded="true" aria-controls="hits" aria-activedescendant={hits[at] ? `hit-${at}` : undefined}
        autocomplete="off" spellcheck={false} autofocus onInput={(e) => { setText(e.currentTarget.value); setAt(0); }} onKeyDown={key} />
      <ul id="hits" role="listbox" aria-label="Hits">
        {hits.map((h, i) => (
          <li key={h.kind + h.text} id={`hit-${i}`} role="option" aria-selected={i === at} onClick={() => jump(h)}><span class="soft kind">{h.kind}</span>{h.text}</li>
        ))}
      </ul>
      {hits.length === 0 && <p class="soft none" role="status">No match.</p>}
    </dialog>
  );
}
