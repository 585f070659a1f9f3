// This file stands for the package worker-timers, which starts a worker from a blob: a strict CSP forbids it.
export const setInterval = globalThis.setInterval;
export const clearInterval = globalThis.clearInterval;
