// This file stands for Node's process where MQTT.js and readable-stream ask for it. nextTick must not be a
// timer: those are throttled in a hidden tab.
export function nextTick(f, ...args) {
  queueMicrotask(() => f(...args));
}
export const env = {};
export const browser = true;
export const version = "v20";
export const versions = {};
export default { nextTick, env, browser, version, versions };
