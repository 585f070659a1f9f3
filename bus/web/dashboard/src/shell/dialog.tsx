// This file is the confirmation dialog, and small components.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ago, exact } from "../model/format";
import { store, useNow, useStore } from "../state/store";

interface Question {
  title: string;
  text: string;
  yes: string;
  answer: (yes: boolean) => void;
}

const question = store<Question | null>(null);

// confirm asks; it resolves with false if the dialog is closed in any other way.
export function confirm(title: string, text: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => question.set({ title, text, yes, answer: resolve }));
}

export function Questions() {
  const q = useStore(question);
  const ref = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    if (q) ref.current?.showModal();
  }, [q]);
  if (!q) return null;
  const close = (yes: boolean) => {
    ref.current?.close();
    question.set(null);
    q.answer(yes);
  };
  return (
    <dialog ref={ref} class="ask" aria-labelledby="ask-title" aria-describedby="ask-text" onCancel={(e) => { e.preventDefault(); close(false); }}>
      <h2 id="ask-title">{q.title}</h2>
      <p id="ask-text">{q.text}</p>
      <div class="buttons">
        <button type="button" onClick={() => close(false)} autofocus>Cancel</button>
        <button type="button" class="danger" onClick={() => close(true)}>{q.yes}</button>
      </div>
    </dialog>
  );
}

// Copy copies a text and confirms it.
export function Copy(p: { text: string; label?: string; what: string }) {
  const [done, set] = useState("");
  const copy = async () => {
    set((await write(p.text)) ? "copied" : "not allowed");
    setTimeout(() => set(""), 1500);
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`copy ${p.what}`}>
      <span aria-live="polite">{done || p.label || "copy"}</span>
    </button>
  );
}

// write falls back for pages that are not on https or localhost, where there is no clipboard.
async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

export function Ago(p: { at: number }) {
  const now = useNow();
  return <time title={exact(p.at)} dateTime={p.at ? new Date(p.at).toISOString() : undefined}>{p.at ? ago(p.at, now) : "–"}</time>;
}

export function Command(p: { text: string }) {
  return (
    <span class="command"><code>{p.text}</code><Copy text={p.text} what={`the command ${p.text}`} /></span>
  );
}

// Slow shows its children only after a moment, so that quick operations show no notice.
export function Slow(p: { children: ComponentChildren }) {
  const [late, set] = useState(false);
  useEffect(() => {
    const t = setTimeout(() => set(true), 300);
    return () => clearTimeout(t);
  }, []);
  return late ? <>{p.children}</> : null;
}
