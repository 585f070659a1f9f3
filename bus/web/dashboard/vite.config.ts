// This file is how the dashboard is built: one page, one script, one style sheet, all by relative
// addresses and nothing inline, as the bus's Content-Security-Policy wants it.

import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  test: { include: ["test/unit/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
