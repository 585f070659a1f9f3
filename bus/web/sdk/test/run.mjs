// This file runs the unit tests: it bundles test/*.test.ts as the page's script is bundled, and hands them to
// node:test.

import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (p) => fileURLToPath(new URL(p, import.meta.url));
const out = here("../.cache/test");
rmSync(out, { recursive: true, force: true });
const names = readdirSync(here(".")).filter((f) => f.endsWith(".test.ts"));
await build({
  entryPoints: names.map((f) => here(f)),
  bundle: true,
  platform: "node",
  format: "esm",
  packages: "external",
  outdir: out,
  outExtension: { ".js": ".mjs" },
  logLevel: "warning",
});
const files = names.map((f) => `${out}/${f.replace(/\.ts$/, ".mjs")}`);
process.exit(spawnSync(process.execPath, ["--test", ...process.argv.slice(2), ...files], { stdio: "inherit" }).status ?? 1);
