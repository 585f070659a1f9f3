// This file is the view Live: the filter, the tree, and one topic beside it.

import { useEffect, useRef, useState } from "preact/hooks";
import { plural } from "../model/format";
import { link as connection, refusal, setFilter, tree } from "../state/feed";
import { problem } from "../model/filter";
import { go, wandered, type Route } from "../state/route";
import { useEscape, useStore } from "../state/store";
import { clearRetained, Detail } from "../live/detail";
import { FilterBox } from "../live/filterbox";
import { PublishBox } from "../live/publish";
import { TreeView } from "../live/treeview";
import { Command, Slow } from "../shell/dialog";

// useCounts polls the tree, which changes too often for a subscription.
function useCounts(): { topics: number; user: number; refused: number } {
  const read = () => ({ topics: tree.topics, user: tree.topics - ofTheBus(), refused: tree.refused });
  const [c, set] = useState(read);
  useEffect(() => {
    const t = setInterval(() => {
      const now = read();
      set((was) => (was.topics === now.topics && was.user === now.user && was.refused === now.refused ? was : now));
    }, 300);
    return () => clearInterval(t);
  }, []);
  return c;
}

function ofTheBus(): number {
  return tree.root.children.reduce((n, c) => n + (c.name.startsWith("$") ? c.topics : 0), 0);
}

export function Live(p: { route: Route }) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<TreeView | null>(null);
  const sought = useRef(""); // a selection from the address that is not in the tree yet
  const { filter, topic } = p.route;
  const counts = useCounts();

  useEffect(() => setFilter(problem(filter) ? "" : filter), [filter]);
  useEffect(() => {
    const v = new TreeView({
      tree,
      select: (n) => go({ topic: n.path, member: n.member }, topicNow() !== ""),
      clear: (n) => void clearRetained(n.path).then(() => v.focus()),
      leave: () => close(),
    });
    view.current = v;
    place.current!.append(v.el);
    if (topic && wandered && document.activeElement === document.body) v.focus(); // who jumped here
    return () => {
      v.end();
      v.el.remove();
    };
  }, []);
  useEffect(() => {
    const v = view.current!;
    v.select(topic);
    sought.current = topic && !v.show(topic) ? topic : "";
    const n = tree.get(topic);
    if (n && p.route.member) tree.choose(n, p.route.member);
  }, [topic]);
  useEffect(() => {
    if (sought.current && view.current!.show(sought.current)) {
      view.current!.select(sought.current);
      sought.current = "";
    }
  }, [counts]);

  const topicNow = () => new URLSearchParams(location.hash.split("?")[1] ?? "").get("topic") ?? "";
  const close = () => {
    if (topicNow() === "") return;
    go({ topic: "", member: "" });
    view.current?.focus();
  };
  useEscape(close);
  const isEmpty = counts.user === 0 && (filter === "" || counts.topics === 0);
  return (
    <div class="live" data-detail={topic !== ""}>
      <div class="tree-pane">
        <FilterBox filter={filter} apply={(f) => go({ filter: f }, true)} down={() => view.current?.focus()} />
        {counts.refused > 0 && <p class="notice"><span aria-hidden="true">▲ </span>The tree holds 50,000 topics and is full. Set a filter to see the others.</p>}
        {isEmpty && <Slow><Empty filter={filter} /></Slow>}
        <div ref={place} class="tree-place" />
        <p class="foot soft">{plural(counts.topics, "topic")}<span class="keys"><kbd>/</kbd> filter <kbd>↑</kbd><kbd>↓</kbd> move <kbd>Enter</kbd> open <kbd>Esc</kbd> close</span></p>
      </div>
      <div class="detail-pane" id="detail">
        {topic ? <Detail key="d" route={p.route} close={close} /> : <Hint empty={isEmpty} />}
      </div>
    </div>
  );
}

function Empty(p: { filter: string }) {
  const state = useStore(connection).state;
  const refused = useStore(refusal);
  if (refused || state !== "online") return null;
  return (
    <div class="empty">
      {p.filter ? (
        <p>No event matches <code>{p.filter}</code> yet.</p>
      ) : (
        <>
          <p><b>No events yet.</b> Publish the first one:</p>
          <Command text="postbus pub -t home/door -m open" />
          <p class="soft">or from any MQTT client, at the address that <code>postbus run</code> prints.</p>
        </>
      )}
    </div>
  );
}

function Hint(p: { empty: boolean }) {
  return (
    <section class="detail" aria-label="No topic">
      <p class="soft">{p.empty ? "Publish something from here:" : "Choose a topic to see its plot, its last messages and its payload. Or publish something:"}</p>
      <PublishBox topic={p.empty ? "home/door" : ""} payload={p.empty ? "open" : ""} />
    </section>
  );
}
