// This file assembles the page.

import { render } from "preact";
import { Bar } from "./shell/bar";
import { Questions } from "./shell/dialog";
import { Header } from "./shell/header";
import { Login } from "./shell/login";
import { Search } from "./shell/search";
import { setFilter, start as startFeed } from "./state/feed";
import { start as startFigures } from "./state/figures";
import { problem } from "./model/filter";
import { route } from "./state/route";
import { useStore } from "./state/store";
import { Bus } from "./views/bus";
import { Live } from "./views/live";
import { Plugins } from "./views/plugins";
import { Sessions } from "./views/sessions";

function App() {
  const r = useStore(route);
  return (
    <>
      <Header route={r} />
      <main>
        <div id="view" role="tabpanel" aria-labelledby={`tab-${r.view}`}>
          {r.view === "live" && <Live route={r} />}
          {r.view === "plugins" && <Plugins route={r} />}
          {r.view === "sessions" && <Sessions />}
          {r.view === "bus" && <Bus />}
        </div>
      </main>
      <Bar />
      <Search />
      <Questions />
      <Login />
    </>
  );
}

const first = route.get().filter;
setFilter(problem(first) ? "" : first);
startFeed();
startFigures();
render(<App />, document.getElementById("app")!);
