// This file is the input of an MQTT filter: it completes from known topics, and reports errors
// before it subscribes.

import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { complete, problem } from "../model/filter";
import { refusal, tree } from "../state/feed";
import { useStore } from "../state/store";

const idle = 500; // milliseconds of not typing

export function FilterBox(p: { filter: string; apply: (f: string) => void; down: () => void }) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(p.filter);
  const [options, setOptions] = useState<string[]>([]);
  const [at, setAt] = useState(-1);
  const refused = useStore(refusal);
  const timer = useRef(0);

  useLayoutEffect(() => setText(p.filter), [p.filter]); // before the next key, which would otherwise be undone
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      const el = e.target as HTMLElement;
      if (e.key !== "/" || e.ctrlKey || e.metaKey || el.closest("input, textarea, select, dialog")) return;
      e.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);

  const wrong = problem(text);
  const apply = (f: string) => {
    clearTimeout(timer.current);
    if (problem(f) === "") p.apply(f.trim());
  };
  const type = (f: string) => {
    setText(f);
    setAt(-1);
    setOptions(complete(f, (levels) => tree.below(levels)));
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => apply(f), idle);
  };
  const choose = (f: string) => {
    type(f);
    input.current?.focus();
    if (f.endsWith("#")) setOptions([]);
  };
  const key = (e: KeyboardEvent) => {
    const n = options.length;
    if (e.key === "ArrowDown" && n > 0) setAt((at + 1) % n);
    else if (e.key === "ArrowUp" && n > 0) setAt((at + n) % (n + 1) === n ? -1 : (at + n) % (n + 1));
    else if (e.key === "ArrowDown") p.down();
    else if (e.key === "Enter") {
      if (at >= 0) choose(options[at]!);
      else {
        setOptions([]);
        apply(text);
      }
    } else if (e.key === "Tab" && at >= 0) choose(options[at]!);
    else if (e.key === "Escape") {
      if (n > 0) setOptions([]);
      else if (text) choose("");
      else p.down();
    } else return;
    e.preventDefault();
  };

  const why = wrong || refused;
  return (
    <div class="filter" role="search">
      <label for={id}>filter</label>
      <div class="field">
        <input
          id={id}
          ref={input}
          value={text}
          placeholder="home/+/temperature"
          role="combobox"
          aria-expanded={options.length > 0}
          aria-controls={id + "l"}
          aria-autocomplete="list"
          aria-activedescendant={at >= 0 ? `${id}o${at}` : undefined}
          aria-invalid={wrong !== ""}
          aria-describedby={why ? id + "e" : undefined}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          onInput={(e) => type(e.currentTarget.value)}
          onFocus={() => setOptions(text === "" ? complete("", (l) => tree.below(l)) : [])}
          onBlur={() => setTimeout(() => setOptions([]), 150)}
          onKeyDown={key}
        />
        {text && <button type="button" class="quiet" aria-label="clear the filter" onClick={() => { setText(""); setOptions([]); apply(""); input.current?.focus(); }}>×</button>}
        <ul id={id + "l"} role="listbox" aria-label="Completions" hidden={options.length === 0}>
          {options.map((o, i) => (
            <li key={o} id={`${id}o${i}`} role="option" aria-selected={i === at} onMouseDown={(e) => { e.preventDefault(); choose(o); }}>{o}</li>
          ))}
        </ul>
      </div>
      {why && <p id={id + "e"} class="bad" role="alert"><span aria-hidden="true">■ </span>{why}</p>}
    </div>
  );
}
