// This file is the view Sessions: online and offline sessions, their lag, and their losses.

import { useEffect, useState } from "preact/hooks";
import { count, duration, plural } from "../model/format";
import { api, words, type SessionInfo } from "../state/api";
import { clientId } from "../state/feed";
import { confirm, Slow } from "../shell/dialog";

const every = 2000;

// useSessions polls while the view is open and visible.
function useSessions(): { list: SessionInfo[] | null; trouble: string; again: () => void } {
  const [list, set] = useState<SessionInfo[] | null>(null);
  const [trouble, setTrouble] = useState("");
  const [turn, again] = useState(0);
  useEffect(() => {
    let on = true;
    const look = () => {
      if (document.hidden) return;
      api.sessions().then((l) => {
        if (!on) return;
        set(l.sort((a, b) => Number(b.online) - Number(a.online) || a.name.localeCompare(b.name, "en", { numeric: true })));
        setTrouble("");
      }, (e) => on && setTrouble(words(e)));
    };
    look();
    const t = setInterval(look, every);
    return () => {
      on = false;
      clearInterval(t);
    };
  }, [turn]);
  return { list, trouble, again: () => again((n) => n + 1) };
}

export function Sessions() {
  const { list, trouble, again } = useSessions();
  const [problem, setProblem] = useState("");
  const drop = async (s: SessionInfo) => {
    const what = s.lag > 0 ? `${plural(s.lag, "event")} in its backlog are lost` : "Its backlog is empty";
    if (!(await confirm(`Drop the session ${s.name}?`, `${what}, and its subscriptions end. A client that connects with this name starts with a new session.`, "Drop"))) return;
    try {
      await api.drop(s.name);
      setProblem("");
    } catch (e) {
      setProblem(`${s.name} was not dropped: ${words(e)}`);
    }
    again();
  };
  const disconnect = async (s: SessionInfo) => {
    if (!(await confirm(`Disconnect ${s.name}?`, "Its session stays and nothing is lost. Most clients connect again at once.", "Disconnect"))) return;
    try {
      await api.disconnect(s.name);
      setProblem("");
    } catch (e) {
      setProblem(`${s.name} was not disconnected: ${words(e)}`);
    }
    again();
  };
  return (
    <div class="page">
      <h2 class="off-screen">Sessions</h2>
      {(problem || trouble) && <p class="bad" role="alert"><span aria-hidden="true">■ </span>{problem || trouble}</p>}
      {!list && !trouble && <Slow><p class="soft">loading …</p></Slow>}
      {list && list.length === 0 && <p class="empty">No sessions. A client that connects appears here.</p>}
      {list && list.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Sessions, a table">
          <table class="sessions">
            <thead>
              <tr><th scope="col">session</th><th scope="col">state</th><th scope="col" class="num">lag</th><th scope="col" class="num">in flight</th><th scope="col">lost</th><th scope="col">filters</th><th scope="col">user</th><th scope="col"><span class="off-screen">action</span></th></tr>
            </thead>
            <tbody>{list.map((s) => <Line key={s.name} s={s} drop={() => void drop(s)} disconnect={() => void disconnect(s)} />)}</tbody>
          </table>
        </div>
      )}
      {list && list.some((s) => s.name.startsWith(clientId)) && <p class="soft small">{clientId} is this page.</p>}
    </div>
  );
}

// kind names the kind of consumer; consumers of the bus itself have reserved names.
function kind(s: SessionInfo): string {
  if (s.name.startsWith("@")) return "inside the bus";
  if (s.name.startsWith("$share/")) return "shared group";
  if (s.bridge) return "bridge to another broker";
  return s.persistent ? "" : "not persistent";
}

function Line(p: { s: SessionInfo; drop: () => void; disconnect: () => void }) {
  const s = p.s;
  const lost = Object.entries(s.lost ?? {});
  const mayDrop = !s.online && !s.name.startsWith("@");
  const mayDisconnect = s.online && !s.name.startsWith("@") && !s.name.startsWith("$share/");
  return (
    <tr>
      <th scope="row"><b>{s.name}</b>{kind(s) && <span class="soft small block">{kind(s)}</span>}</th>
      <td data-label="state" class={s.online ? "g0" : "away"}>
        <span class="shape" aria-hidden="true">{s.online ? "●" : "○"}</span> {s.online ? "online" : s.absent_seconds ? `offline ${duration(s.absent_seconds)}` : "offline"}
        {!s.online && s.expiry_seconds !== undefined && s.absent_seconds !== undefined && <span class="soft small block">expires in {duration(s.expiry_seconds - s.absent_seconds)}</span>}
      </td>
      <td data-label="lag" class="num">{s.lag === 0 ? "0" : <>{count(s.lag)}<span class="soft small block">{duration(s.lag_seconds)} behind</span></>}</td>
      <td data-label="in flight" class="num">{count(s.in_flight)}</td>
      <td data-label="lost" class={lost.length ? "g1" : ""}>{lost.length === 0 ? "0" : lost.map(([why, n]) => <span class="block" key={why}><span class="shape" aria-hidden="true">▲</span> {count(n)} {why}</span>)}</td>
      <td data-label="filters" class="filters">{s.filters?.slice(0, 6).map((f) => <code key={f}>{f}</code>)}{(s.filters?.length ?? 0) > 6 && <span class="soft">and {s.filters!.length - 6} more</span>}</td>
      <td data-label="user">{s.user || <span class="soft">–</span>}</td>
      <td class="act">{mayDrop && <button type="button" class="quiet" onClick={p.drop} aria-label={`drop the session ${s.name}`}>drop …</button>}
        {mayDisconnect && <button type="button" class="quiet" onClick={p.disconnect} aria-label={`disconnect ${s.name}`}>disconnect …</button>}</td>
    </tr>
  );
}
