// This file serves dist/ with the bus's own Content-Security-Policy and passes everything else on to a
// bus: for a bus that was built without the dashboard, and for working on it.

import { createReadStream, existsSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { extname, join, normalize } from "node:path";

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; font-src 'self'; manifest-src 'self'";

export function serve(dist, busPort, port = 0) {
  const sockets = new Set();
  const server = http.createServer((q, a) => {
    const path = normalize(new URL(q.url, "http://x").pathname);
    const file = join(dist, path === "/" ? "index.html" : path);
    if (q.method === "GET" && existsSync(file) && types[extname(file)]) {
      a.writeHead(200, { "Content-Type": types[extname(file)], "Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff" });
      createReadStream(file).pipe(a);
      return;
    }
    const up = http.request({ host: "127.0.0.1", port: busPort, method: q.method, path: q.url, headers: q.headers }, (r) => {
      a.writeHead(r.statusCode, r.headers);
      r.pipe(a);
    });
    up.on("error", () => {
      a.writeHead(502);
      a.end();
    });
    q.pipe(up);
  });
  server.on("connection", (s) => {
    sockets.add(s);
    s.on("close", () => sockets.delete(s));
  });
  server.on("upgrade", (q, socket, head) => {
    const up = net.connect(busPort, "127.0.0.1", () => {
      let text = `GET ${q.url} HTTP/1.1\r\n`;
      for (let i = 0; i < q.rawHeaders.length; i += 2) text += `${q.rawHeaders[i]}: ${q.rawHeaders[i + 1]}\r\n`;
      up.write(text + "\r\n");
      up.write(head);
      socket.pipe(up).pipe(socket);
    });
    const end = () => {
      up.destroy();
      socket.destroy();
    };
    for (const s of [up, socket]) s.on("error", end).on("close", end);
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve({
    url: `http://127.0.0.1:${server.address().port}/`,
    close() {
      for (const s of sockets) s.destroy();
      return new Promise((done) => server.close(done));
    },
  })));
}

// node test/browser/serve.mjs PORT-OF-THE-BUS [PORT]
if (process.argv[1] === new URL(import.meta.url).pathname) {
  const s = await serve(new URL("../../dist", import.meta.url).pathname, Number(process.argv[2]), Number(process.argv[3] ?? 0));
  console.log(s.url);
}
