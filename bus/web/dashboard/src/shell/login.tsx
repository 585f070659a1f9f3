// This file is the login form, for a bus that asks for one.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { asked, dismissed, login, setLogin } from "../state/login";
import { start } from "../state/feed";
import { api, Problem, words } from "../state/api";
import { useStore } from "../state/store";

export function Login() {
  const why = useStore(asked);
  return why ? <Form why={why} /> : null;
}

function Form(p: { why: string }) {
  const ref = useRef<HTMLDialogElement>(null);
  const [user, setUser] = useState(login()?.user ?? "");
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useLayoutEffect(() => ref.current?.showModal(), []);
  const close = () => {
    ref.current?.close();
    asked.set("");
  };
  const enter = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    const before = login();
    setLogin({ user, password });
    try {
      await api.bus().catch((err: unknown) => {
        // A user without the right to see the bus's metrics may still see events.
        if (!(err instanceof Problem) || err.status !== 403) throw err;
      });
      close();
      start();
    } catch (err) {
      setLogin(before);
      setProblem(words(err));
      setBusy(false);
    }
  };
  return (
    <dialog ref={ref} class="ask login" aria-labelledby="login-title" onCancel={(e) => { e.preventDefault(); dismissed.set(true); close(); }}>
      <form onSubmit={enter}>
        <h2 id="login-title">Log in</h2>
        <p class="soft">{p.why}</p>
        <label><span>user</span><input name="user" value={user} autocomplete="username" autocapitalize="off" spellcheck={false} required autofocus onInput={(e) => setUser(e.currentTarget.value)} /></label>
        <label><span>password</span><input name="password" type="password" value={password} autocomplete="current-password" required onInput={(e) => setPassword(e.currentTarget.value)} /></label>
        {problem && <p class="bad" role="alert"><span aria-hidden="true">■ </span>{problem}</p>}
        <div class="buttons">
          <button type="button" onClick={() => { dismissed.set(true); close(); }}>Continue without login</button>
          <button type="submit" class="main" disabled={busy}>Log in</button>
        </div>
        <p class="soft small">Stored in this tab only, until you close it.</p>
      </form>
    </dialog>
  );
}
