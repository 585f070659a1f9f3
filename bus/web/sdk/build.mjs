// This file builds dist/: an ES module, a script for <script src>, and the types. The same source gives the
// same bytes. It fails when the module is larger than its bound.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const bound = 120 * 1000; // bytes after gzip
const here = (p) => fileURLToPath(new URL(p, import.meta.url));
const shims = { "process": "process.js", "process/": "process.js", "process-nextick-args": "process.js", "debug": "debug.js", "worker-timers": "worker-timers.js", "readable-stream": "stream.js" };

const options = {
  absWorkingDir: here("."),
  entryPoints: ["src/index.ts"],
  bundle: true,
  minify: true,
  target: "es2022",
  platform: "browser",
  mainFields: ["browser", "module", "main"],
  define: { global: "globalThis" },
  inject: ["shims/globals.js"],
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
  banner: { js: "/* postbus, Apache-2.0. With MQTT.js and others; their licenses are in postbus.licenses.txt beside this file. */" },
  plugins: [
    {
      name: "shims",
      setup(b) {
        b.onResolve({ filter: /^(process\/?|process-nextick-args|debug|worker-timers|readable-stream)$/ }, (a) => ({
          path: here(`shims/${shims[a.path]}`),
        }));
        // MQTT.js asks its package.json for its version, and all of that would come along.
        b.onLoad({ filter: /node_modules\/mqtt\/package\.json$/ }, (a) => ({
          loader: "json",
          contents: JSON.stringify({ version: JSON.parse(readFileSync(a.path, "utf8")).version }),
        }));
      },
    },
  ],
};

mkdirSync(here("dist"), { recursive: true });
const meta = await build({ ...options, format: "esm", outfile: "dist/postbus.js", metafile: true });
await build({ ...options, format: "iife", globalName: "postbus", outfile: "dist/postbus.global.js", define: { ...options.define, "import.meta.url": "undefined" } });

execFileSync(process.execPath, [here("node_modules/typescript/bin/tsc"), "-p", here(".")], { stdio: "inherit" });
const types = readFileSync(here(".cache/types/types.d.ts"), "utf8");
const index = readFileSync(here(".cache/types/index.d.ts"), "utf8").replace(/^(import|export \*).*\n/gm, "");
writeFileSync(here("dist/postbus.d.ts"), types + index);

// The licenses of what is bundled want to travel with it.
const inputs = Object.entries(Object.values(meta.metafile.outputs)[0].inputs).filter(([, i]) => i.bytesInOutput > 0);
const packages = new Set(inputs.map(([path]) => path.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean));
const licenses = [...packages].sort().map((dir) => {
  const { name, version, license } = JSON.parse(readFileSync(here(`${dir}/package.json`), "utf8"));
  const file = readdirSync(here(dir)).find((f) => /^licen[cs]e/i.test(f));
  if (!file && license !== "MIT") throw new Error(`${name} has no license file`);
  return `${name} ${version} (${license})\n\n${file ? readFileSync(here(`${dir}/${file}`), "utf8").trim() : "MIT, see its package.json"}\n`;
});
writeFileSync(here("dist/postbus.licenses.txt"), licenses.join(`\n${"-".repeat(72)}\n\n`).replace(/\r/g, ""));

if (process.argv.includes("--meta")) {
  const by = {};
  for (const [path, { bytesInOutput }] of inputs) {
    const name = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? path.split("/")[0];
    by[name] = (by[name] ?? 0) + bytesInOutput;
  }
  console.table(by);
}
for (const f of ["postbus.js", "postbus.global.js"]) {
  const bytes = readFileSync(here(`dist/${f}`));
  const zipped = gzipSync(bytes, { level: 9 }).length;
  console.log(`dist/${f}: ${bytes.length} bytes, ${zipped} after gzip (bound ${bound})`);
  if (zipped > bound) throw new Error(`${f} is too large`);
  if (/\beval\(|new Function\(/.test(bytes.toString())) throw new Error(`${f} has eval`);
}
