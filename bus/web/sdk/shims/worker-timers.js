// This file stands for the package worker-timers, which starts a worker from a blob: a strict CSP forbids it.
exports.setInterval = globalThis.setInterval;
exports.clearInterval = globalThis.clearInterval;
